"""The app that the official clients are tested against."""

import os

from interlock import JWT, App

from .shelf import component

app = App(
    auth=[JWT("https://login.example", key=os.environ["LOGIN_KEY"], audience="clients")],
)
app.use(component, isolation="inline")
