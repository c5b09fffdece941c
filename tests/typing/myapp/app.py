"""Section 1: the config file."""

from interlock import App, OIDC, secret  # noqa: I001 - as the contract has it

app = App(
    env={"EMBED_KEY": str, "DEBUG": str | None},
    auth=[OIDC("https://login.example", audience="myapp")],
    static="web",
)
app.use("sharded_counter")
app.use("aggregate", name="leaderboard")
app.use("aggregate", name="by_player")
app.use("rate_limiter", isolation="inline")
app.use(
    "mailer",
    env={"API_KEY": secret(app.env.EMBED_KEY)},
    allow=["net:api.mail.example"],
    http_prefix="/mail",
)
