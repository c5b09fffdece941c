"""Thousands of transactions at the same time, under faults and crashes, and one order that explains every answer.

And the other way round: an engine from which one of its rules was taken out is found out.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from . import broken_engines as broken
from .broken_engines import Break
from .elle import Status, check
from .faulty_storage import Faults
from .functions_workload import FunctionsRun
from .histories import FUNCTIONS_PROGRAMS, PROGRAMS, random_functions_run, random_run, seeds_of, verified
from .workload import Mix, Run

ENGINE_IN_MEMORY, ENGINE_ON_DISK = 40, 12
FUNCTIONS_IN_MEMORY, FUNCTIONS_ON_DISK = 24, 6
TOGETHER = (ENGINE_IN_MEMORY + ENGINE_ON_DISK) * PROGRAMS + (FUNCTIONS_IN_MEMORY + FUNCTIONS_ON_DISK) * FUNCTIONS_PROGRAMS


def test_there_are_more_than_ten_thousand_transactions() -> None:
    assert TOGETHER >= 10_000


def test_whatever_an_engine_in_memory_answers_is_serializable() -> None:
    histories = [verified(random_run(seed, None)) for seed in seeds_of(ENGINE_IN_MEMORY)]
    assert sum(map(len, histories)) >= ENGINE_IN_MEMORY * PROGRAMS
    statuses = [txn.status for history in histories for txn in history]
    assert all(statuses.count(status) > 100 for status in Status), "failed and lost answers are part of it"


@pytest.mark.parametrize("seed", seeds_of(ENGINE_ON_DISK))
def test_whatever_an_engine_on_disk_answers_is_serializable(tmp_path: Path, seed: int) -> None:
    assert len(verified(random_run(seed, tmp_path))) >= PROGRAMS


def test_whatever_functions_answer_is_serializable_and_every_job_runs_once() -> None:
    jobs = resent = crashes = 0
    for seed in seeds_of(FUNCTIONS_IN_MEMORY):
        run = random_functions_run(seed, None)
        assert len(verified(run)) >= FUNCTIONS_PROGRAMS
        jobs, resent, crashes = jobs + run.jobs, resent + run.resent, crashes + run.crashes
    assert jobs > 10 * FUNCTIONS_IN_MEMORY
    assert resent > FUNCTIONS_IN_MEMORY
    assert crashes > FUNCTIONS_IN_MEMORY // 2


@pytest.mark.parametrize("seed", seeds_of(FUNCTIONS_ON_DISK))
def test_whatever_functions_answer_on_disk_is_serializable_and_every_job_runs_once(tmp_path: Path, seed: int) -> None:
    assert len(verified(random_functions_run(seed, tmp_path))) >= FUNCTIONS_PROGRAMS


def test_one_seed_run_twice_gives_one_history() -> None:
    for seed in seeds_of(3):
        assert random_run(seed, None).history() == random_run(seed, None).history()
        assert random_functions_run(seed, None).history() == random_functions_run(seed, None).history()


# Engines with a rule taken out: see broken_engines.py.

MakeRun = Callable[[int], Run | FunctionsRun]
CYCLES = {"G0", "G1c", "G-single", "G2", "G0-realtime", "G1c-realtime", "G-single-realtime", "G2-realtime"}


def hot(seed: int) -> Run:
    return Run(seed)


def cold(seed: int) -> Run:
    return Run(seed, is_cold=True)


def layered(seed: int) -> Run:
    return Run(seed, mix=Mix(layer=0.3))


def crashing(seed: int) -> Run:
    return Run(seed, crash=0.03, faults=Faults(delay=12))


def refusing(seed: int) -> Run:
    return Run(seed, faults=Faults(delay=12, refused=0.1))


def live(seed: int) -> Run:
    return Run(seed, mix=Mix(live=0.4))


def crashing_functions(seed: int) -> FunctionsRun:
    return FunctionsRun(seed, crash=0.05)


def crashing_jobs(seed: int) -> FunctionsRun:
    return FunctionsRun(seed, crash=0.05, plans=0.5, faults=Faults(delay=12))


BROKEN: list[tuple[Break, MakeRun, set[str]]] = [
    (broken.validation_is_switched_off, hot, CYCLES),
    (broken.validation_is_switched_off, cold, CYCLES),
    (broken.a_sub_transactions_reads_go_with_its_layer, layered, CYCLES),
    (broken.an_answer_does_not_wait_for_what_it_read, crashing, CYCLES),
    (broken.an_answer_stands_though_what_it_read_was_taken_back, refusing, CYCLES | {"G1a"}),
    (broken.what_is_not_on_disk_yet_is_missed, cold, CYCLES),
    (broken.what_is_on_disk_already_is_seen_too_early, hot, CYCLES),
    (broken.what_is_on_disk_already_is_seen_too_early, cold, CYCLES),
    (broken.ranges_are_not_recorded, hot, CYCLES),
    (broken.queries_see_what_is_not_on_disk, crashing, CYCLES),
    (broken.live_queries_never_end, live, CYCLES),
    (broken.requests_are_not_remembered, crashing_functions, {"duplicate"}),
    (broken.a_job_is_marked_behind_its_transaction, crashing_jobs, {"job run twice"}),
]


@pytest.mark.parametrize(("break_engine", "make_run", "kinds"), BROKEN, ids=[f"{one.__name__} ({run.__name__})" for one, run, _ in BROKEN])
def test_an_engine_is_found_out_when(break_engine: Break, make_run: MakeRun, kinds: set[str]) -> None:
    """It shows within a few histories, which are sound as soon as the rule is back."""
    found: set[str] = set()
    for seed in range(20):
        with pytest.MonkeyPatch.context() as patch:
            break_engine(patch)
            run = make_run(seed)
            history = run.history()
        found |= {anomaly.kind for anomaly in [*run.anomalies, *check(history)]}
        if found & kinds:
            verified(make_run(seed))
            return
    raise AssertionError(f"{break_engine.__name__}: not found in 20 histories, only {found}")
