"""Whole backends in a simulated world: every workload under every kind of fault, some hundred seeds.

`make simulate SEEDS=1000` runs so many of each.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from interlock import Component
from interlock.testing import FAULTS, Faults, Workload, simulate

from .functions_app import fire
from .simulated_apps import bank, errands, feed
from .simulated_workloads import Errands, Lists, Messages, Transfers

WORKLOADS: list[tuple[Component, type[Workload]]] = [(fire, Lists), (bank, Transfers), (errands, Errands), (feed, Messages)]
SEEDS = 6  # of each workload under each kind of fault: more than 200 together

matrix = pytest.mark.parametrize(("app", "workload"), WORKLOADS, ids=[workload.__name__ for _, workload in WORKLOADS])


def test_there_are_more_than_two_hundred_simulations() -> None:
    assert len(WORKLOADS) * len(FAULTS) * SEEDS >= 200


@matrix
@pytest.mark.parametrize("faults", FAULTS, ids=str)
def test_whatever_goes_wrong_every_promise_is_kept(app: Component, workload: type[Workload], faults: Faults) -> None:
    histories = simulate(app, workload, faults=faults, seeds=SEEDS)
    met: Counter[str] = Counter()
    for history in histories:
        met.update(history.met, crash_every=history.crashes)
        assert history.calls == workload.clients * workload.rounds
        assert history.results_compared > 0
    meant = [name for name in ("refused", "lost_syncs", "crash_every", "cut", "slow_reader") if getattr(faults, name)]
    meant += ["power_loss"] if faults.crash_every and faults.power_loss else []
    meant += ["torn"] if faults.torn and workload is Errands else []  # others are in each other's way: their batches are one commit
    if len(histories) >= SEEDS:  # fewer, as `make simulate` may be told, need not meet everything
        assert all(met[name] for name in meant), f"of {meant} this is all that happened: {met}"


@matrix
def test_one_seed_run_twice_gives_one_history(app: Component, workload: type[Workload]) -> None:
    first, second = (simulate(app, workload, seeds=[3, 4]) for _ in range(2))
    assert first == second
    assert first[0].digest != first[1].digest


def test_one_seed_gives_one_history_in_every_process() -> None:
    """Nothing of it comes from the machine: not from addresses, not from the order of sets, not from the clock."""
    program = """
from fire.test_simulation import WORKLOADS
from interlock.testing import simulate

for app, workload in WORKLOADS:
    print(workload.__name__, *(history.digest for history in simulate(app, workload, seeds=[1, 2])))
"""
    said = []
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=Path(__file__).parent.parent,
            env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": "."},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    assert said[0] == said[1]
    assert said[0].startswith("Lists ")


class Few(Transfers):
    """Few enough for a crash at each step."""

    clients, rounds = 2, 2


@pytest.mark.parametrize("power_loss", [False, True], ids=["killed", "power loss"])
def test_a_crash_at_every_step_breaks_no_promise(power_loss: bool) -> None:
    """Each time that anything waits for anything is a step of the loop, so between any two of them the server dies once."""
    at = 0
    while True:
        at += 1
        [history] = simulate(bank, Few, faults=Faults("one crash", crash_at=at, power_loss=power_loss, disk_ms=5.0), seeds=[0])
        if not history.crashes:
            break
    assert at > 100
