from interlock import App

app = App()
for name in ("items", "scores"):
    app.use("aggregate", name=name, isolation="inline")
app.use("rate_limiter", isolation="inline")
app.use("action_cache", isolation="inline")
