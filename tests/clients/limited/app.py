"""An app with a rate limit, for the official hook that shows what is left of it."""

from interlock import App

app = App()
app.use("rate_limiter", isolation="inline")
