"""A server under attack, seen from outside: it answers or closes, others do not notice, and it does not grow.

`make fuzz ATTACKS=20000 SEED=7` for longer. A failure names seed and attack: `attack(url, seed, number)` does it again alone.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from interlock.testing.seeds import seeds

from .fuzz import Fuzz, fuzz, settled
from .server import GIVES_MEMORY_BACK, PROGRAMS, Server

ATTACKS = max(250, int(os.environ.get("INTERLOCK_FUZZ_ATTACKS", "250")))
AT_ONCE = 6
GROWTH_MAX = 24 * 2**20
CODE_MAX = 100


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
async def test_whatever_is_sent_is_answered_or_ends_its_connection_and_nobody_else_notices(tmp_path: Path) -> None:
    """Every attack is made twice. What the first time leaves behind are caches; the second time nothing comes on top."""
    told = Fuzz()
    async with Server.handled(PROGRAMS / "wall", tmp_path / "data", env=GIVES_MEMORY_BACK) as server:
        untouched = server.footprint
        footprints, alive = [], []
        for _ in range(2):
            await fuzz(server, seed=seeds.session, numbers=range(ATTACKS), at_once=AT_ONCE, told=told)
            footprints.append(await settled(server, untouched))
            alive.append(await server.alive())
        print(told, f"untouched: {untouched}", *footprints, *alive, sep="\n")
        first, second = footprints
        assert second.memory - first.memory < GROWTH_MAX, f"it has grown from {first} to {second}"
        assert second.threads <= first.threads
        code, connections = zip(*alive, strict=True)
        assert max(connections) <= AT_ONCE, f"{connections} objects of connections stay"
        assert code[1] - code[0] < CODE_MAX
        assert await server.end(signal.SIGTERM) == 0
    assert told.witnessed > 50
