"""Thousands of transactions at the same time, under faults and crashes, and one order that explains every answer.

And the other way round: an engine from which one of its rules was taken out is found out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from interlock import AppError
from interlock.engine import Engine, LiveQueries, Transaction
from interlock.engine.committer import Committer, Lost
from interlock.engine.read_set import ReadSet
from interlock.engine.transaction import LayerMark
from interlock.engine.write_log import Correction, WriteLog
from interlock.functions.requests import KeptAnswer
from interlock.scheduler.running import RunningJob

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


# Engines with a rule taken out. What is left of each method is written here as somebody might have written it.

MakeRun = Callable[[int], Run | FunctionsRun]
Break = Callable[[pytest.MonkeyPatch], None]


def validation_is_switched_off(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(WriteLog, "find_conflict", lambda *_: None)


def a_sub_transactions_reads_go_with_its_layer(patch: pytest.MonkeyPatch) -> None:
    begin_layer, drop_layer = Transaction.begin_layer, Transaction.drop_layer
    read_before: dict[LayerMark, ReadSet] = {}

    def begin(self: Transaction) -> LayerMark:
        # Marks are tuples, and two of them may be equal: one made of lists is only equal to itself.
        mark = _Mark(begin_layer(self))
        read_before[mark] = ReadSet()
        read_before[mark].update(self.read_set)
        return mark

    def drop(self: Transaction, mark: LayerMark) -> None:
        drop_layer(self, mark)
        self.read_set = read_before[mark]

    patch.setattr(Transaction, "begin_layer", begin)
    patch.setattr(Transaction, "drop_layer", drop)


class _Mark(LayerMark):
    def __new__(cls, mark: LayerMark) -> _Mark:
        return super().__new__(cls, *mark)

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


def an_answer_does_not_wait_for_what_it_read(patch: pytest.MonkeyPatch) -> None:
    wait_durable = Committer.wait_durable

    async def wait(self: Committer, place: int, read_set: ReadSet | None) -> None:
        if read_set is None:
            await wait_durable(self, place, None)

    patch.setattr(Committer, "wait_durable", wait)


def an_answer_stands_though_what_it_read_was_taken_back(patch: pytest.MonkeyPatch) -> None:
    wait_durable = Committer.wait_durable

    async def wait(self: Committer, place: int, read_set: ReadSet | None) -> None:
        try:
            await wait_durable(self, place, read_set)
        except Lost:
            if read_set is None:
                raise

    patch.setattr(Committer, "wait_durable", wait)


def what_is_not_on_disk_yet_is_missed(patch: pytest.MonkeyPatch) -> None:
    def redo(*_: Any) -> None:
        pass

    patch.setattr(Correction, "redo", redo)


def what_is_on_disk_already_is_seen_too_early(patch: pytest.MonkeyPatch) -> None:
    def undo(*_: Any) -> None:
        pass

    patch.setattr(Correction, "undo", undo)


def ranges_are_not_recorded(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Transaction, "_record", lambda *_: None)


def queries_see_what_is_not_on_disk(patch: pytest.MonkeyPatch) -> None:
    query = Engine.query

    def early(self: Engine, run: Any, **more: Any) -> Awaitable[Any]:
        return query(self, run, **{"at": self.log.validated, **more})

    patch.setattr(Engine, "query", early)


def live_queries_never_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LiveQueries, "catch_up", lambda *_: None)


def requests_are_not_remembered(patch: pytest.MonkeyPatch) -> None:
    async def forgotten(*_: Any) -> None:
        pass

    patch.setattr(KeptAnswer, "before", forgotten)
    patch.setattr(KeptAnswer, "after", forgotten)


def a_job_is_marked_behind_its_transaction(patch: pytest.MonkeyPatch) -> None:
    async def run_mutation(self: RunningJob, args: dict[str, Any], *_: Any) -> None:
        try:
            await self._call("mutation", args)
        except AppError as error:
            self.error = error
        self._is_run = await self._end("pending", "failed" if self.error else "success")

    patch.setattr(RunningJob, "_run_mutation", run_mutation)


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
    (validation_is_switched_off, hot, CYCLES),
    (validation_is_switched_off, cold, CYCLES),
    (a_sub_transactions_reads_go_with_its_layer, layered, CYCLES),
    (an_answer_does_not_wait_for_what_it_read, crashing, CYCLES),
    (an_answer_stands_though_what_it_read_was_taken_back, refusing, CYCLES | {"G1a"}),
    (what_is_not_on_disk_yet_is_missed, cold, CYCLES),
    (what_is_on_disk_already_is_seen_too_early, hot, CYCLES),
    (what_is_on_disk_already_is_seen_too_early, cold, CYCLES),
    (ranges_are_not_recorded, hot, CYCLES),
    (queries_see_what_is_not_on_disk, crashing, CYCLES),
    (live_queries_never_end, live, CYCLES),
    (requests_are_not_remembered, crashing_functions, {"duplicate"}),
    (a_job_is_marked_behind_its_transaction, crashing_jobs, {"job run twice"}),
]


@pytest.mark.parametrize(
    ("break_engine", "make_run", "kinds"), BROKEN, ids=[f"{broken.__name__} ({run.__name__})" for broken, run, _ in BROKEN]
)
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
