"""Section 1 of the contract, with the component that this version ships."""

from interlock import OIDC, App

app = App(
    env={"EMBED_KEY": str, "DEBUG": str | None},
    auth=[OIDC("https://login.example", audience="myapp")],
)
app.use("sharded_counter", isolation="inline")
app.use("sharded_counter", name="by_player", isolation="inline")
