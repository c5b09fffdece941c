"""A departure board over every flight that left New York City in 2013, with one component: a sharded counter.

`schema` has the table, `flights` the functions, `web/` the page at /. `_load.py` fills the table.
"""

from interlock import App

app = App(static="web")
app.use("sharded_counter")
