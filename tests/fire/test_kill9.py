"""`kill -9`, again and again, at the real server.

`INTERLOCK_TORTURE=1000 pytest tests/fire/test_kill9.py` kills a thousand times; `--interlock-seed` begins elsewhere.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from interlock.testing.seeds import seeds

from .torture import Torture, torture

KILLS = max(30, int(os.environ.get("INTERLOCK_TORTURE", "30")))
AT_ONCE = 2
_KILLS_A_DIRECTORY = 15
_SECONDS_A_KILL = 6.0


async def test_a_server_that_is_killed_keeps_what_it_has_answered_and_does_everything_once(tmp_path: Path) -> None:
    told: list[Torture] = []
    waiting = list(range(-(-KILLS // _KILLS_A_DIRECTORY)))

    async def one_after_the_other() -> None:
        while waiting:
            number = waiting.pop()
            told.append(await torture(tmp_path / f"data {number}", seed=seeds.session * 1_000 + number, kills=_KILLS_A_DIRECTORY))

    async with asyncio.timeout(KILLS * _SECONDS_A_KILL), asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(one_after_the_other())
    assert sum(one.kills for one in told) >= KILLS
    assert sum(one.kills_at_start for one in told) > 0
    assert sum(one.answered for one in told) > 10 * KILLS
    assert sum(one.resent for one in told) > KILLS
    assert sum(one.jobs for one in told) > KILLS
    assert sum(one.looks for one in told) > 0
