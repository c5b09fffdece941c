from interlock import App

app = App()
app.use("migrations", isolation="inline")
