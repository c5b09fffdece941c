from interlock import App

app = App()
app.use("workflow", isolation="inline")
