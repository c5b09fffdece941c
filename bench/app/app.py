from interlock import App

app = App()
app.use("sharded_counter", isolation="inline")
app.use("sharded_counter", name="sealed_counter")
