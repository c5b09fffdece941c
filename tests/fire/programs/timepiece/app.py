"""The app whose clock is set: marks that say when, jobs and a cron that make them."""

from interlock import App

from . import marks

app = App()
app.cron("tick", every=1, args={"kind": "tick"})(marks.mark)
