"""A word to be guessed by meaning: who comes nearest? A guess is one transaction over the game and its components.

`schema` has the tables; `players` who plays, `guesses` what they guess, `words` what is to be guessed, `rounds` the day's word from
its choice to the results, `hints` what is told meanwhile; `embeddings` where words lie, `standings` leaderboards and counters, `upkeep`
a migration. `web/` is the page at /.
"""

from interlock import JWT, App

from .tokens import ALGORITHM, AUDIENCE, ISSUER, KEY

app = App(static="web", auth=[JWT(ISSUER, key=KEY, algorithm=ALGORITHM, audience=AUDIENCE)])
app.use("aggregate", name="global_leaderboard")
app.use("aggregate", name="round_leaderboard")
app.use("sharded_counter")
app.use("rate_limiter")
app.use("action_cache")
app.use("migrations")
app.use("workflow")
app.use("crons")
app.use("action_retrier")
