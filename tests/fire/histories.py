"""Random histories: what varies from one to the next, and how many there are in a test run.

`pytest tests/fire --interlock-seed N` takes others than the usual ones; `INTERLOCK_FIRE=10` ten times as many.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

from interlock.testing.seeds import seeds

from .elle import Txn, check, shown
from .faulty_storage import Disk, Faults, memory_disk, sqlite_disk
from .functions_workload import FunctionsRun
from .workload import Mix, Run

MORE = max(1, int(os.environ.get("INTERLOCK_FIRE", "1")))
PROGRAMS, FUNCTIONS_PROGRAMS = 200, 100
MakeDisk = Callable[[random.Random, Faults, Callable[[], int]], Disk]


def seeds_of(count: int) -> range:
    """The seeds of one test."""
    start = seeds.session * 1_000_000
    return range(start, start + count * MORE)


def disk_in(directory: Path | None) -> MakeDisk:
    """A disk in memory, or in a directory."""
    return memory_disk if directory is None else partial(sqlite_disk, directory)


def random_run(seed: int, directory: Path | None, *, programs: int = PROGRAMS) -> Run:
    """Transactions on an engine, under circumstances that the seed decides."""
    chance = random.Random(f"circumstances of {seed}")
    every = Mix().keys
    some = tuple(key for key in every if key[0] in chance.sample("drnug", 3))
    mix = Mix(
        keys=chance.choice((every, every, some, ("r0", "g0", "u0"))),
        steps_max=chance.choice((2, 4, 4, 8)),
        pause=chance.choice((0.2, 0.5, 0.8)),
        layer=chance.choice((0.1, 0.3)),
        fails=chance.choice((0.0, 0.05, 0.2)),
        prefill=chance.choice((0, 0, 0, 40)),
    )
    return Run(
        seed,
        clients=chance.choice((2, 4, 8, 24)),
        programs=programs,
        mix=mix,
        faults=_faults(chance),
        crash=chance.choice((0.0, 0.02)),
        is_cold=chance.random() < 0.5,
        cools=chance.choice((0.0, 0.0, 0.02)),
        deploys=chance.choice((0.0, 0.0, 0.02)),
        make_disk=disk_in(directory),
    )


def random_functions_run(seed: int, directory: Path | None, *, programs: int = FUNCTIONS_PROGRAMS) -> FunctionsRun:
    """Calls of functions, under circumstances that the seed decides."""
    chance = random.Random(f"circumstances of {seed}")
    return FunctionsRun(
        seed,
        clients=chance.choice((2, 6, 12)),
        programs=programs,
        faults=_faults(chance),
        crash=chance.choice((0.0, 0.03, 0.03)),
        is_cold=chance.random() < 0.5,
        make_disk=disk_in(directory),
    )


def _faults(chance: random.Random) -> Faults:
    return Faults(
        delay=chance.choice((0, 3, 6, 6, 20)),
        refused=chance.choice((0.0, 0.0, 0.05)),
        unknown=chance.choice((0.0, 0.0, 0.01)),
    )


def verified(run: Run | FunctionsRun) -> list[Txn]:
    """The history of a run, in which nothing is wrong."""
    described = repr(run)
    history = run.history()
    if run.errors:
        raise AssertionError(f"{described}\n{len(run.errors)} errors, the first of them: {run.errors[0]}") from run.errors[0]
    anomalies = [*run.anomalies, *check(history)]
    assert not anomalies, f"{described}\n{shown(anomalies)}"
    return history
