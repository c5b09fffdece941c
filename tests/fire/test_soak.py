"""Under a mixed load and with code that changes all the time, a server holds no more after hours than after minutes.

`make soak MINUTES=120 SEED=1` for longer.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from statistics import median

import pytest

from interlock.testing.seeds import seeds

from .soak import HISTORY_S, soak

SECONDS = max(45.0, 60 * float(os.environ.get("INTERLOCK_SOAK_MINUTES", "0.75")))
RELOADS = max(200, round(SECONDS / 0.25))
MEMORY_MAX = 3 * 2**20
DATABASE_MAX = 4 * 2**20
CODE_MAX = 150
CLIENTS = 4


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
async def test_nothing_grows_under_a_load_with_reloads(tmp_path: Path) -> None:
    told = await soak(tmp_path, seed=seeds.session, seconds=SECONDS, reloads=RELOADS, clients=CLIENTS)
    print(told)
    third = len(told.samples) // 3
    warm, late = told.samples[third : 2 * third], told.samples[-third:]
    memory = [median(sample.footprint.memory for sample in samples) for samples in (warm, late)]
    assert memory[1] - memory[0] < MEMORY_MAX, told
    for held in ("descriptors", "threads"):
        assert max(getattr(sample.footprint, held) for sample in late) <= max(getattr(sample.footprint, held) for sample in warm) + 1, told
    assert max(sample.database for sample in late) - max(sample.database for sample in warm) < DATABASE_MAX, told
    for sample in [*warm, *late]:
        at_least, at_most = sample.window_s
        assert at_least < HISTORY_S + 2 and at_most > HISTORY_S - 1, told
    code = [median(sample.code for sample in samples) for samples in (warm, late)]
    assert code[1] - code[0] < CODE_MAX, told
    assert max(sample.connections for sample in told.samples) <= 8 * CLIENTS, told
    assert told.reloads >= 200
    assert told.calls.total() > 5 * SECONDS
