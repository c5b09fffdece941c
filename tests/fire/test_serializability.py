"""Thousands of transactions at the same time, under faults and crashes, and one order that explains every answer.

And the other way round: an engine from which one of its rules was taken out is found out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from . import broken_engines as broken
from .broken_engines import Break
from .elle import Append, Count, Get, Layer, Op, Put, ReadLast, ReadList, Status, Txn, check
from .faulty_storage import Faults
from .functions_workload import FunctionsRun
from .histories import FUNCTIONS_PROGRAMS, PROGRAMS, random_functions_run, random_run, seeds_of, verified
from .workload import Mix, Run

ENGINE_RUNS, FUNCTIONS_RUNS = 40, 20  # on each kind of storage; together at least 10,000 transactions


@dataclass
class Met:
    """What has happened in some histories, so that it can be asserted that it has."""

    transactions: int = 0  # a request counts once, however often it was sent
    statuses: Counter[Status] = field(default_factory=Counter)
    read_only: int = 0
    layers: int = 0
    folded: int = 0
    registers: int = 0
    lists: int = 0
    triggered: int = 0

    def add(self, history: Sequence[Txn]) -> None:
        self.transactions += len({txn.request or txn.name for txn in history})
        for txn in history:
            ops = list(flat(txn.ops))
            self.statuses[txn.status] += 1
            self.read_only += all(isinstance(op, ReadList | ReadLast | Count | Get) for op in ops)
            self.layers += any(isinstance(op, Layer) and op.is_dropped for op in ops)
            self.folded += any(isinstance(op, Layer) and not op.is_dropped for op in ops)
            self.registers += any(isinstance(op, Put | Get) for op in ops)
            self.lists += any(isinstance(op, Append | ReadList) for op in ops)
            self.triggered += any(isinstance(op, Append) and op.key[0] == "t" for op in ops)

    def check(self, *, at_least: int) -> None:
        assert self.transactions >= at_least
        assert min(self.read_only, self.layers, self.folded, self.registers, self.lists) > at_least // 50, self
        assert all(self.statuses[status] > at_least // 100 for status in Status), f"failed and lost answers are part of it: {self}"


def flat(ops: Sequence[Op]) -> Iterator[Op]:
    for op in ops:
        yield op
        if isinstance(op, Layer):
            yield from flat(op.ops)


on_each_storage = pytest.mark.parametrize("is_on_disk", [False, True], ids=["memory", "SQLite"])


def directory_of(seed: int, tmp_path: Path, is_on_disk: bool) -> Path | None:
    if not is_on_disk:
        return None
    directory = tmp_path / str(seed)
    directory.mkdir()
    return directory


@on_each_storage
def test_whatever_an_engine_answers_is_serializable(tmp_path: Path, is_on_disk: bool) -> None:
    met, clashes, reruns, crashes = Met(), 0, 0, 0
    for seed in seeds_of(ENGINE_RUNS):
        run = random_run(seed, directory_of(seed, tmp_path, is_on_disk))
        met.add(verified(run))
        clashes, reruns, crashes = clashes + run.clashes, reruns + run.reruns, crashes + run.crashes
    met.check(at_least=ENGINE_RUNS * PROGRAMS)
    assert clashes > ENGINE_RUNS * PROGRAMS // 50 and reruns > clashes // 2, "conflicts were forced"
    assert crashes > ENGINE_RUNS // 2


@on_each_storage
def test_whatever_functions_answer_is_serializable_and_every_job_runs_once(tmp_path: Path, is_on_disk: bool) -> None:
    met, jobs, resent, crashes, told = Met(), 0, 0, 0, Counter[bool]()
    for seed in seeds_of(FUNCTIONS_RUNS):
        run = random_functions_run(seed, directory_of(seed, tmp_path, is_on_disk))
        met.add(verified(run))
        jobs, resent, crashes = jobs + run.jobs, resent + run.resent, crashes + run.crashes
        told.update(count > 1 for count in run.told)
    met.check(at_least=FUNCTIONS_RUNS * FUNCTIONS_PROGRAMS)
    assert met.triggered > 2 * FUNCTIONS_RUNS
    assert min(told[False], told[True]) > FUNCTIONS_RUNS, f"of one change and of several at once: {told}"
    assert jobs > 10 * FUNCTIONS_RUNS
    assert resent > FUNCTIONS_RUNS
    assert crashes > FUNCTIONS_RUNS // 2


def test_on_each_storage_there_are_at_least_ten_thousand_transactions() -> None:
    """What the two tests above have counted is not less than this."""
    assert ENGINE_RUNS * PROGRAMS + FUNCTIONS_RUNS * FUNCTIONS_PROGRAMS >= 10_000


def test_one_seed_run_twice_gives_one_history() -> None:
    for seed in seeds_of(2):
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


def functions(seed: int) -> FunctionsRun:
    return FunctionsRun(seed)


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
    (broken.a_list_of_changes_is_told_at_the_end_alone, functions, {"internal"}),
    (broken.a_list_of_changes_is_forgotten_at_the_end, functions, CYCLES),
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
