from interlock import App

app = App()
app.use("migrations", isolation="inline")
app.use("aggregate", name="delays", isolation="inline")
