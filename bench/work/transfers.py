"""Transfers between a thousand accounts: picked uniformly, and so that a few are in nearly all of them."""

from __future__ import annotations

import random

from bench.rows import Figures, Row, Run, Work
from bench.servers import INTERLOCK, Servers
from bench.work.http import figures, interlock_body

ACCOUNTS, BALANCE, LISTED = 1_000, 1_000_000, 20_000
UNIFORM, SKEWED = "uniform", "Zipf 1.5"


def transfers(exponent: float) -> list[str]:
    """Requests whose accounts have these odds: 1 / rank ** exponent."""
    picked = random.Random(1)
    weights = [1 / rank**exponent for rank in range(1, ACCOUNTS + 1)]
    bodies: list[str] = []
    while len(bodies) < LISTED:
        source, target = picked.choices(range(ACCOUNTS), weights, k=2)
        if source != target:
            bodies.append(interlock_body("accounts:transfer", source=source, target=target, amount=1))
    return bodies


def transfer(exponent: float) -> Run:
    """One load. Every answer is a success, else the load ends with an error."""
    bodies = transfers(exponent)

    def run(servers: Servers, seconds: float) -> Figures:
        server = servers.get(INTERLOCK)
        if server.call("query", "accounts:total") == 0:
            server.call("mutation", "accounts:open_all", count=ACCOUNTS, balance=BALANCE)
        report = server.load("/api/mutation", bodies, 64, seconds, expected='"success"')
        money = server.call("query", "accounts:total")
        assert isinstance(money, float)
        return {**figures(report), "money missing": ACCOUNTS * BALANCE - money}

    return run


WORKS = [
    Work(
        "transfers between 1,000 accounts, 64 callers",
        {UNIFORM: transfer(0.0), SKEWED: transfer(1.5)},
        [
            Row(f"{SKEWED} : {UNIFORM}", "per_second", of=SKEWED, over=UNIFORM, at_least=0.85),
            Row("money missing, uniform", "money missing", of=UNIFORM, at_most=0, decimals=0),
            Row("money missing, skewed", "money missing", of=SKEWED, at_most=0, decimals=0),
        ],
    )
]
