"""`kill -9`, again and again, at the real server.

`make torture KILLS=1000` kills a thousand times, `make torture MINUTES=60` for an hour; `SEED` begins elsewhere.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from time import monotonic

from interlock.testing.seeds import seeds

from .torture import Torture, torture

KILLS = max(30, int(os.environ.get("INTERLOCK_TORTURE_KILLS", "30")))
MINUTES = float(os.environ.get("INTERLOCK_TORTURE_MINUTES", "0"))
AT_ONCE = 2
_KILLS_A_DIRECTORY = 15
_SECONDS_A_KILL = 18.0


async def test_a_server_that_is_killed_keeps_what_it_has_answered_and_does_everything_once(tmp_path: Path) -> None:
    told: list[Torture] = []
    begun = 0
    until = monotonic() + MINUTES * 60

    async def one_after_the_other() -> None:
        nonlocal begun
        while begun * _KILLS_A_DIRECTORY < KILLS or monotonic() < until:
            number, begun = begun, begun + 1
            data = tmp_path / f"data {number}"
            told.append(await torture(data, seed=seeds.session * 100_000 + number, kills=_KILLS_A_DIRECTORY))

    async with asyncio.timeout(KILLS * _SECONDS_A_KILL + 2 * MINUTES * 60), asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(one_after_the_other())
    kills = sum(one.kills for one in told)
    print(f"{kills} kills, {sum(one.answered for one in told)} requests, {sum(one.jobs for one in told)} jobs")
    assert kills >= KILLS
    assert sum(one.kills_at_start for one in told) > 0
    assert sum(one.answered for one in told) > 10 * kills
    assert sum(one.resent for one in told) > kills
    assert sum(one.jobs for one in told) > kills
    assert sum(one.looks for one in told) > 0
