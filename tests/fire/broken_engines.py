"""Engines with a rule taken out, for tests that have to find that out.

What is left of each method is written here as somebody might have written it who did not know better.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import pytest

from interlock import AppError
from interlock.engine import Engine, LiveQueries, Transaction
from interlock.engine.committer import Committer, Lost
from interlock.engine.live import Entry
from interlock.engine.read_set import ReadSet
from interlock.engine.transaction import LayerMark
from interlock.engine.write_log import Correction, WriteLog
from interlock.functions.caller import Answer, Caller
from interlock.functions.dispatcher import Dispatcher
from interlock.functions.requests import KeptAnswer, RequestKey
from interlock.functions.scope import Callee
from interlock.functions.transaction_host import TransactionHost
from interlock.limits import Limits
from interlock.scheduler.running import RunningJob
from interlock.server.binding import DispatcherService
from interlock.server.service import OutcomeUnknown, Snapshot
from interlock.server.subscription import Subscription as SessionSubscription
from interlock.server.sync_session import SyncSession
from interlock.storage.protocol import Commit
from interlock.testing.simulation.disk import Platter, SimulatedStorage

Break = Callable[[pytest.MonkeyPatch], None]


def validation_is_switched_off(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(WriteLog, "find_conflict", lambda *_: None)


def a_sub_transactions_reads_go_with_its_layer(patch: pytest.MonkeyPatch) -> None:
    begin_layer, drop_layer = Transaction.begin_layer, Transaction.drop_layer
    read_before: dict[LayerMark, ReadSet] = {}  # a mark is only equal to itself

    def begin(self: Transaction) -> LayerMark:
        mark = begin_layer(self)
        read_before[mark] = ReadSet()
        read_before[mark].update(self.read_set)
        return mark

    def drop(self: Transaction, mark: LayerMark) -> None:
        drop_layer(self, mark)
        self.read_set = read_before[mark]

    patch.setattr(Transaction, "begin_layer", begin)
    patch.setattr(Transaction, "drop_layer", drop)


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
    patch.setattr(Transaction, "record", lambda *_: None)


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


def a_list_of_changes_is_told_at_the_end_alone(patch: pytest.MonkeyPatch) -> None:
    tell = TransactionHost.tell

    async def late(self: TransactionHost, *, at_end: bool = False) -> None:
        if at_end:
            await tell(self, at_end=True)

    patch.setattr(TransactionHost, "tell", late)


def a_list_of_changes_is_forgotten_at_the_end(patch: pytest.MonkeyPatch) -> None:
    tell = TransactionHost.tell

    async def early(self: TransactionHost, *, at_end: bool = False) -> None:
        if not at_end:
            await tell(self)

    patch.setattr(TransactionHost, "tell", early)


def a_job_is_marked_behind_its_transaction(patch: pytest.MonkeyPatch) -> None:
    async def run_mutation(self: RunningJob, args: dict[str, Any], *_: Any) -> None:
        try:
            await self._call("mutation", args)
        except AppError as error:
            self.error = error
        self._is_run = await self._end("pending", "failed" if self.error else "success")

    patch.setattr(RunningJob, "_run_mutation", run_mutation)


def attempts_of_one_request_do_not_know_of_each_other(patch: pytest.MonkeyPatch) -> None:
    async def request(
        self: Dispatcher, key: RequestKey, callee: Callee, args: Mapping[str, Any], caller: Caller, limits: Limits | None
    ) -> Answer:
        return await self._mutation(callee, args, caller, KeptAnswer(key), limits, None)

    patch.setattr(Dispatcher, "_request", request)


def a_mutation_of_unknown_outcome_is_said_to_have_failed(patch: pytest.MonkeyPatch) -> None:
    call = DispatcherService.call

    async def tell(self: DispatcherService, *args: Any, **options: Any) -> Any:
        try:
            return await call(self, *args, **options)
        except OutcomeUnknown as unknown:
            assert isinstance(unknown.__cause__, Exception)
            return self.describe(unknown.__cause__, options["request_id"])

    patch.setattr(DispatcherService, "call", tell)


def an_action_begins_before_that_is_on_disk(patch: pytest.MonkeyPatch) -> None:
    async def run_action(self: RunningJob, args: dict[str, Any]) -> None:
        self._is_run = True
        try:
            await self._call("action", args)
        except Exception as error:
            self.error = error
        await self._mutate(self._begin)
        await self._end("running", "success" if self.error is None else "failed")

    patch.setattr(RunningJob, "_run_action", run_action)


def a_result_is_kept_whatever_was_committed_while_it_was_found(patch: pytest.MonkeyPatch) -> None:
    def store(self: LiveQueries, key: Any, entry: Entry) -> None:
        self._register(entry)
        self._replace(key, entry)

    patch.setattr(LiveQueries, "_store", store)


def a_client_is_told_of_what_is_not_on_disk(patch: pytest.MonkeyPatch) -> None:
    wait_durable = Committer.wait_durable

    async def wait(self: Committer, place: int, read_set: ReadSet | None) -> None:
        if read_set is not None:
            await wait_durable(self, place, read_set)

    patch.setattr(Committer, "wait_durable", wait)


def a_disk_says_that_it_has_synced(patch: pytest.MonkeyPatch) -> None:
    append = SimulatedStorage.append

    async def lie(self: SimulatedStorage, commits: Sequence[Commit]) -> None:
        with pytest.MonkeyPatch.context() as unsynced:
            unsynced.setattr(Platter, "sync", lambda _: None)
            await append(self, commits)

    patch.setattr(SimulatedStorage, "append", lie)


def subscribers_look_at_what_is_not_on_disk(patch: pytest.MonkeyPatch) -> None:
    def newest(self: DispatcherService) -> Snapshot:
        self._engine.live.catch_up()
        return Snapshot(self._engine.log.validated, self._newest_ts())

    patch.setattr(DispatcherService, "newest", newest)


def a_power_loss_leaves_half_of_a_commit(patch: pytest.MonkeyPatch) -> None:
    lose_unsynced = Platter.lose_unsynced

    def halve(self: Platter, count: int) -> None:
        for commit in self._log[len(self._log) - count :]:
            commit.writes = commit.writes[::2]
        lose_unsynced(self, count)

    patch.setattr(Platter, "lose_unsynced", halve)


def a_woken_client_is_forgotten_while_it_is_told_something(patch: pytest.MonkeyPatch) -> None:
    wake = SessionSubscription.wake

    def forget(self: SessionSubscription) -> None:
        session = self.subscriber
        assert isinstance(session, SyncSession)
        if session._pumping is None:
            wake(self)

    patch.setattr(SessionSubscription, "wake", forget)
