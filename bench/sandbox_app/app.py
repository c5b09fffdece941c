from interlock import App, Limits

from .attacks import hostile
from .modelled import modelled
from .quiet import quiet

app = App()
app.use(quiet)
app.use(quiet, name="open", isolation="inline")
app.use(modelled)
app.use(hostile)
app.use(hostile, name="short", limits=Limits(deadline=0.2))
