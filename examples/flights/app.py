"""A departure board over every flight that left New York City in 2013, with two components: a sharded counter and an aggregate.

`schema` has the table, `flights` the functions, `delays` the leaderboard, `web/` the page at /. `_load.py` fills the table.
"""

from interlock import App

app = App(static="web")
app.use("sharded_counter")
app.use("aggregate", name="delays")
