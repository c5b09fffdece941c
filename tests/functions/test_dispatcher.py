"""Calls from outside: names, visibility, arguments, answers, the query cache, mutations that are sent twice."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence
from typing import Annotated, Any

import pytest
from tests.placed import placed

from interlock import (
    UNSET,
    ActionCtx,
    AppError,
    ArgumentError,
    CommitTimestamp,
    Component,
    FunctionNotFound,
    Id,
    Int64,
    MutationCtx,
    Page,
    PaginationOptions,
    QueryCtx,
    ReturnError,
    Schema,
    StorageUnavailable,
    Table,
    WrongFunctionKind,
)
from interlock.engine.made import arrived
from interlock.functions.caller import Answer, Caller, log_lines_of
from interlock.functions.requests import KEPT_MS
from interlock.hooks import Call, Outcome, hookimpl
from interlock.mounting import build_tree
from interlock.storage.memory import MemoryStorage
from interlock.storage.protocol import Commit, NothingWritten
from interlock.values import loads

from .rooms import Rooms, running

ADA = {"subject": "ada", "issuer": "https://login.example", "tokenIdentifier": "https://login.example|ada"}
BOB = {"subject": "bob", "issuer": "https://login.example", "tokenIdentifier": "https://login.example|bob"}


class Full(MemoryStorage):
    """While `is_full`, nothing is written."""

    is_full = False

    async def append(self, commits: Sequence[Commit]) -> None:
        if self.is_full:
            raise NothingWritten("There is no space left.", "Free some.")
        await super().append(commits)


def app() -> Component:
    made = Component("app", schema=Schema(notes=Table({"n": int}), marks=Table({"at": CommitTimestamp(), "n": int})))
    made.runs = 0  # type: ignore[attr-defined]

    @made.mutation
    async def add(ctx: MutationCtx, n: int = 1) -> int:
        ctx.log.info("adding", n)
        await ctx.db.insert("notes", {"n": n})
        return len(await ctx.db.query("notes").collect())

    @made.mutation(internal=True)
    async def secret_add(ctx: MutationCtx) -> None:
        await ctx.db.insert("notes", {"n": -1})

    @made.query
    async def submit_many(ctx: QueryCtx, page_opts: dict[str, int], **rest: Any) -> Any:
        return [page_opts, rest]

    @made.query
    async def total(ctx: QueryCtx) -> int:
        made.runs += 1  # type: ignore[attr-defined]
        return sum([row["n"] async for row in ctx.db.query("notes")])

    @made.query
    async def clock(ctx: QueryCtx) -> float:
        made.runs += 1  # type: ignore[attr-defined]
        return ctx.now()

    @made.query
    async def whoami(ctx: QueryCtx) -> str | None:
        made.runs += 1  # type: ignore[attr-defined]
        subject: str | None = await ctx.run_query("inner_whoami")
        return subject

    @made.query
    async def inner_whoami(ctx: QueryCtx) -> str | None:
        identity = await ctx.auth.identity()
        return identity.subject if identity else None

    @made.query
    async def numbers(ctx: QueryCtx) -> list[Any]:
        return [1, 1.0, Int64(1), float("inf"), b"\x00", None]

    @made.query
    async def typed(ctx: QueryCtx) -> dict[str, float]:
        return {"whole": 2}

    @made.query
    async def of_table(ctx: QueryCtx, id: Annotated[str, Id("later")]) -> str:
        return id

    @made.query
    async def fail(ctx: QueryCtx) -> None:
        ctx.log.error("about to fail")
        raise AppError({"why": "because"})

    @made.mutation
    async def fail_after_writing(ctx: MutationCtx) -> None:
        made.runs += 1  # type: ignore[attr-defined]
        await ctx.db.insert("notes", {"n": 1})
        raise AppError("no")

    @made.mutation
    async def mark(ctx: MutationCtx) -> Any:
        id = await ctx.db.insert("marks", {"at": CommitTimestamp(), "n": 1})
        return {"at": CommitTimestamp(), "list": [CommitTimestamp()], "id": id}

    @made.query
    async def placeholder(ctx: QueryCtx) -> Any:
        return CommitTimestamp()

    @made.mutation
    async def big(ctx: MutationCtx) -> str:
        await ctx.db.insert("notes", {"n": 1})
        return "é" * 1_500_000

    @made.action
    async def relay(ctx: ActionCtx) -> list[Any]:
        ctx.log.info("relaying")
        before = await ctx.run_query("total")
        return [before, await ctx.run_mutation("add", n=5), await ctx.run_query("total"), await ctx.run_action("leaf")]

    @made.action
    async def leaf(ctx: ActionCtx) -> str:
        ctx.log.info("leaf")
        return "leaf"

    @made.action
    async def dig(ctx: ActionCtx) -> Any:
        return await ctx.run_action("dig")

    @made.query
    async def page(ctx: QueryCtx, pagination_opts: PaginationOptions) -> Page[int]:
        return (await ctx.db.query("notes").paginate(pagination_opts)).map(lambda row: row["n"])

    return made


app_component = placed(app)


@pytest.mark.usefixtures("both_isolations")
class TestNames:
    async def test_clients_may_write_camel_case_and_python_may_not(self) -> None:
        async with running(app_component) as rooms:
            answer = await rooms.client("query", "submitMany", {"pageOpts": {"innerName": 1}, "freeName": 2})
            assert answer.value == [{"innerName": 1}, {"freeName": 2}]
            assert (await rooms.client("query", "submit_many", {"page_opts": {}})).value == [{}, {}]
            with pytest.raises(ArgumentError, match="both"):
                await rooms.client("query", "submitMany", {"pageOpts": {}, "page_opts": {}})
            with pytest.raises(FunctionNotFound):
                await rooms.query("submitMany", page_opts={})

    async def test_what_is_internal_is_not_there_for_clients(self) -> None:
        async with running(app_component) as rooms:
            with pytest.raises(FunctionNotFound) as internal:
                await rooms.client("mutation", "secret_add")
            with pytest.raises(FunctionNotFound) as missing:
                await rooms.client("mutation", "secret_sub")
            assert str(internal.value) == str(missing.value).replace("sub", "add")
            await rooms.mutation("secret_add")
            assert await rooms.values("notes") == [-1]

    async def test_a_function_is_called_as_what_it_is(self) -> None:
        async with running(app_component) as rooms:
            for kind, name in (("query", "add"), ("mutation", "total"), ("action", "add")):
                with pytest.raises(WrongFunctionKind) as refused:
                    await rooms.client(kind, name)
                assert kind in str(refused.value)
            assert (await rooms.client(None, "add")).value == 1
            assert (await rooms.client(None, "total")).value == 1


@pytest.mark.usefixtures("both_isolations")
class TestAnswers:
    async def test_values_come_back_as_they_were_promised(self) -> None:
        async with running(app_component) as rooms:
            numbers = await rooms.query("numbers")
            assert [type(number) for number in numbers] == [int, int, Int64, float, bytes, type(None)]
            whole = (await rooms.query("typed"))["whole"]
            assert (whole, type(whole)) == (2.0, float)

    async def test_a_mutation_answers_with_its_commit_and_a_read_with_its_snapshot(self) -> None:
        async with running(app_component) as rooms:
            first = await rooms.client("mutation", "add")
            assert first.ts == rooms.engine.durable_ts
            rooms.clock.move_to(rooms.clock.now_ms() + 1)
            read = await rooms.client("query", "total")
            assert read.ts == first.ts
            assert first.log_lines == ["[INFO] adding 1"]

    async def test_commit_timestamps_are_filled_in_and_refused_where_there_is_no_commit(self) -> None:
        async with running(app_component) as rooms:
            answer = await rooms.client("mutation", "mark")
            assert answer.value["at"] == answer.value["list"][0] == Int64(answer.ts)
            assert type(answer.value["at"]) is Int64
            assert await rooms.values("marks", "at") == [answer.ts]
            with pytest.raises(ReturnError):
                await rooms.query("placeholder")

    async def test_an_action_is_made_of_transactions(self) -> None:
        async with running(app_component) as rooms:
            answer = await rooms.client("action", "relay")
            assert answer.value == [0, 1, 5, "leaf"]
            assert answer.log_lines == ["[INFO] relaying", "[INFO] adding 5", "[INFO] leaf"]
            assert answer.ts == 0

    async def test_actions_do_not_call_themselves_for_ever(self) -> None:
        async with running(app_component) as rooms:
            with pytest.raises(Exception, match="8 deep"):
                await rooms.action("dig")

    async def test_an_error_carries_what_was_logged(self) -> None:
        async with running(app_component) as rooms:
            for _ in range(2):
                with pytest.raises(AppError) as failed:
                    await rooms.client("query", "fail")
                assert log_lines_of(failed.value) == ["[ERROR] about to fail"]
                assert failed.value.data == {"why": "because"}

    async def test_unset_arguments_are_left_out(self) -> None:
        async with running(app_component) as rooms:
            assert (await rooms.ask("mutation", "add", {"n": UNSET})).value == 1
            assert await rooms.values("notes") == [1]


@pytest.mark.one_isolation("inline", "the host keeps results; the functions count their runs in its memory")
class TestQueryCache:
    async def test_one_run_serves_all_until_something_that_was_read_changes(self) -> None:
        made = app()
        async with running(made) as rooms:
            for _ in range(3):
                assert await rooms.query("total") == 0
            assert made.runs == 1  # type: ignore[attr-defined]
            await rooms.on_the_spot(lambda ctx: ctx.db.insert("elsewhere", {"n": 1}))
            await rooms.query("total")
            assert made.runs == 1  # type: ignore[attr-defined]
            await rooms.mutation("add", n=4)
            assert await rooms.query("total") == 4
            assert made.runs == 2  # type: ignore[attr-defined]

    async def test_results_are_copies(self) -> None:
        async with running(app()) as rooms:
            (await rooms.query("numbers")).append("mine")
            assert len(await rooms.query("numbers")) == 6

    async def test_what_looked_at_the_time_is_shared_for_seventeen_seconds(self) -> None:
        made = app()
        async with running(made) as rooms:
            first = await rooms.query("clock")
            rooms.clock.move_to(rooms.clock.now_ms() + 16_000)
            assert await rooms.query("clock") == first
            rooms.clock.move_to(rooms.clock.now_ms() + 2_000)
            assert await rooms.query("clock") == first + 18_000
            assert made.runs == 2  # type: ignore[attr-defined]

    async def test_what_looked_at_the_identity_is_shared_by_nobody_else(self) -> None:
        made = app()
        async with running(made) as rooms:
            for identity, subject in ((ADA, "ada"), (BOB, "bob"), (None, None), (ADA, "ada"), (BOB, "bob")):
                assert (await rooms.client("query", "whoami", identity=identity)).value == subject
            assert made.runs == 3  # type: ignore[attr-defined]
            for identity in (ADA, BOB, None):
                await rooms.client("query", "total", identity=identity)
            assert made.runs == 4  # type: ignore[attr-defined]

    async def test_errors_are_not_kept(self) -> None:
        async with running(app()) as rooms:
            before = rooms.engine.live.runs
            for _ in range(2):
                with pytest.raises(AppError):
                    await rooms.query("fail")
            assert rooms.engine.live.runs == before + 2


def watch(rooms: Rooms, name: str, woken: list[str], identity: Any = None, **args: Any) -> Any:
    return rooms.dispatcher.live_query(name, args, caller=Caller(identity, source="client"), wake=lambda: woken.append(name))


async def look(rooms: Rooms, live: Any) -> Any:
    await asyncio.sleep(0)
    entry = await arrived(live.at(rooms.engine.durable))
    if entry.error is not None:
        raise entry.error
    return loads(entry.value.json)


@pytest.mark.one_isolation("inline", "the host watches what was read; the functions count their runs in its memory")
class TestLiveQueries:
    async def test_subscribers_share_runs_and_are_woken_by_what_they_read(self) -> None:
        made = app()
        async with running(made) as rooms:
            woken: list[str] = []
            watches = [watch(rooms, "total", woken) for _ in range(5)]
            assert [await look(rooms, live) for live in watches] == [0] * 5
            assert made.runs == 1  # type: ignore[attr-defined]
            await rooms.mutation("add", n=2)
            assert [await look(rooms, live) for live in watches] == [2] * 5
            assert (made.runs, woken) == (2, ["total"] * 5)  # type: ignore[attr-defined]
            watches[0].close()
            await rooms.mutation("add", n=2)
            await asyncio.sleep(0)
            assert len(woken) == 9

    async def test_a_query_that_raises_is_woken_like_any_other(self) -> None:
        made = app()

        @made.query
        async def at_least(ctx: QueryCtx, n: int) -> int:
            count = len(await ctx.db.query("notes").collect())
            if count < n:
                raise AppError(f"only {count}")
            return count

        async with running(made) as rooms:
            woken: list[str] = []
            live = watch(rooms, "at_least", woken, n=1)
            with pytest.raises(AppError):
                await look(rooms, live)
            await rooms.mutation("add")
            assert await look(rooms, live) == 1
            assert woken == ["at_least"]

    async def test_an_id_of_a_table_that_comes_to_be_becomes_valid(self) -> None:
        async with running(app()) as rooms:
            woken: list[str] = []
            number = rooms.engine.catalog.next_number
            from interlock.values import encode_id

            live = watch(rooms, "of_table", woken, id=encode_id(number, bytes(16)))
            with pytest.raises(ArgumentError):
                await look(rooms, live)
            await rooms.on_the_spot(lambda ctx: ctx.db.insert("later", {"n": 1}))
            await asyncio.sleep(0)
            assert woken == ["of_table"]
            await look(rooms, live)

    async def test_what_is_not_there_is_an_error_of_the_subscription(self) -> None:
        async with running(app()) as rooms:
            for name, error in (("nothing", FunctionNotFound), ("secret_add", FunctionNotFound), ("add", WrongFunctionKind)):
                with pytest.raises(error):
                    await look(rooms, watch(rooms, name, []))

    async def test_other_code_runs_every_query_again(self) -> None:
        before = app()
        after = Component("app")

        @after.query
        async def nothing(ctx: QueryCtx) -> str:
            return "now there"

        @after.query
        async def total(ctx: QueryCtx) -> int:
            return 42

        async with running(before) as rooms:
            woken: list[str] = []
            known, missing = watch(rooms, "total", woken), watch(rooms, "nothing", woken)
            assert await look(rooms, known) == 0
            with pytest.raises(FunctionNotFound):
                await look(rooms, missing)
            rooms.dispatcher.adopt(build_tree(after, env={}, isolation="inline"))
            assert set(woken) == {"total", "nothing"}
            assert [await look(rooms, known), await look(rooms, missing)] == [42, "now there"]
            assert await rooms.query("total") == 42


@pytest.mark.one_isolation("inline", "the host keeps answers of requests, whatever ran")
class TestRequests:
    """A mutation that is sent twice is run once: engine.md 49, protocol.md 2.14."""

    async def test_the_answer_is_kept_and_given_again(self) -> None:
        made = app()
        async with running(made) as rooms:
            first = await rooms.client("mutation", "add", {"n": 3}, session=("s", 0))
            rooms.clock.move_to(rooms.clock.now_ms() + 5)
            await rooms.client("mutation", "add", {"n": 4}, session=("s", 1))
            again = await rooms.client("mutation", "add", {"n": 3}, session=("s", 0))
            assert again == first
            assert first == Answer(1, first.ts, ["[INFO] adding 3"])
            assert await rooms.values("notes") == [3, 4]
            storage = rooms.engine.storage
        async with running(made, storage=storage) as rooms:
            assert await rooms.client("mutation", "add", {"n": 3}, session=("s", 0)) == first
            await rooms.client("mutation", "add", {"n": 3}, session=("t", 0))
            assert await rooms.values("notes") == [3, 4, 3]

    async def test_sent_twice_at_once_it_runs_once(self) -> None:
        async with running(app()) as rooms:
            answers = await asyncio.gather(*(rooms.client("mutation", "add", session=("s", 0)) for _ in range(8)))
            assert len({(answer.value, answer.ts) for answer in answers}) == 1
            assert await rooms.values("notes") == [1]

    async def test_sent_again_while_the_disk_is_full_it_is_told_that_it_stands(self) -> None:
        """It was refused before it could look, and who is told of a failure does not ask again."""
        storage = Full()
        async with running(app(), storage=storage) as rooms:
            first = await rooms.client("mutation", "add", session=("s", 0))
            storage.is_full = True
            for request in (1, 2):
                with pytest.raises(StorageUnavailable):
                    await rooms.client("mutation", "add", session=("s", request))
            assert await rooms.client("mutation", "add", session=("s", 0)) == first
            storage.is_full = False

    async def test_sent_again_while_it_runs_it_is_told_what_becomes_of_it(self) -> None:
        """Not of a failure of its own: the first attempt, of a connection that is gone perhaps, may still come to stand."""
        made, gate, begun = app(), asyncio.Event(), asyncio.Event()

        @made.mutation
        async def slow(ctx: MutationCtx) -> str:
            if not begun.is_set():
                begun.set()
                await gate.wait()
            elif not await ctx.db.query("notes").first():
                raise AppError("too early")
            await ctx.db.insert("notes", {"n": 1})
            return "done"

        async with running(made) as rooms:
            first = asyncio.ensure_future(rooms.client("mutation", "slow", session=("s", 0)))
            await begun.wait()
            again = [asyncio.ensure_future(rooms.client("mutation", "slow", session=("s", 0))) for _ in range(2)]
            for _ in range(20):
                await asyncio.sleep(0)
            again.pop().cancel()
            gate.set()
            assert await first == await again[0]
            assert await rooms.values("notes") == [1]

    async def test_failures_are_not_kept(self) -> None:
        made = app()
        async with running(made) as rooms:
            for _ in range(2):
                with pytest.raises(AppError):
                    await rooms.client("mutation", "fail_after_writing", session=("s", 0))
            assert made.runs == 2  # type: ignore[attr-defined]

    async def test_a_large_answer_and_a_commit_timestamp_come_back_as_they_were(self) -> None:
        async with running(app()) as rooms:
            for name in ("big", "mark"):
                first = await rooms.client("mutation", name, session=(name, 0))
                assert await rooms.client("mutation", name, session=(name, 0)) == first
            assert len(await rooms.values("notes")) == 1

    async def test_the_record_costs_the_function_nothing(self) -> None:
        made = app()

        @made.mutation
        async def measure(ctx: MutationCtx) -> Any:
            await ctx.db.insert("notes", {"n": 1})
            return dict(ctx.metrics().used)

        async with running(made) as rooms:
            plain = (await rooms.client("mutation", "measure")).value
            assert (await rooms.client("mutation", "measure", session=("s", 0))).value == plain

    async def test_kept_answers_are_dropped_in_the_end(self) -> None:
        async with running(app()) as rooms:
            for request in range(3):
                await rooms.client("mutation", "add", session=("s", request))
            rooms.clock.move_to(rooms.clock.now_ms() + KEPT_MS / 2)
            await rooms.client("mutation", "add", session=("s", 3))
            assert await rooms.dispatcher.forget_requests() == 0
            rooms.clock.move_to(rooms.clock.now_ms() + KEPT_MS / 2 + 1)
            assert await rooms.dispatcher.forget_requests() == 3
            await rooms.client("mutation", "add", session=("s", 3))
            assert len(await rooms.values("notes")) == 4
            await rooms.client("mutation", "add", session=("s", 0))
            assert len(await rooms.values("notes")) == 5


@pytest.mark.one_isolation("inline", "the app's own function logs; a component's lines are in test_redaction, both ways")
async def test_many_log_lines_and_long_ones_are_cut() -> None:
    made = Component("app")

    @made.query
    async def chatter(ctx: QueryCtx, lines: int) -> None:
        for n in range(lines):
            ctx.log.info("é" * 50_000 if n == 0 else str(n))

    async with running(made) as rooms:
        few = (await rooms.ask("query", "chatter", {"lines": 256})).log_lines
        assert len(few) == 256
        assert len(few[0].encode()) <= 32 * 1024 + 10
        assert few[0].endswith("(cut: the line was too long)")
        many = (await rooms.ask("query", "chatter", {"lines": 300})).log_lines
        assert len(many) == 257
        assert "dropped" in many[-1]


@pytest.mark.one_isolation("inline", "the app's own function waits in the test")
async def test_a_mutation_that_runs_again_logs_once() -> None:
    made = app()
    gate = asyncio.Event()

    @made.mutation
    async def contended(ctx: MutationCtx, note: str) -> None:
        ctx.log.info("trying")
        await ctx.db.get(note)
        await gate.wait()
        await ctx.db.patch(note, {"n": 9})

    async with running(made) as rooms:
        note = await rooms.on_the_spot(lambda ctx: ctx.db.insert("notes", {"n": 1}))
        task = asyncio.ensure_future(rooms.ask("mutation", "contended", {"note": note}))
        await asyncio.sleep(0)
        await rooms.on_the_spot(lambda ctx: ctx.db.patch(note, {"n": 2}))
        gate.set()
        assert (await task).log_lines == ["[INFO] trying"]


@pytest.mark.one_isolation("inline", "the host tells its observers, whatever ran")
async def test_observers_are_told_of_every_call() -> None:
    told: list[Any] = []

    class Watcher:
        @hookimpl
        def call_started(self, call: Call) -> None:
            told.append(("started", call.function.name, call.source, call.depth))

        @hookimpl
        def call_finished(self, call: Call, outcome: Outcome) -> None:
            told.append(("finished", call.function.name, outcome.ok, outcome.commit_ts is not None))

    made = app()

    @made.mutation
    async def outer(ctx: MutationCtx) -> Any:
        return await ctx.run_mutation("add")

    async with running(made) as rooms:
        rooms.dispatcher.adopt(build_tree(made, env={}, isolation="inline", plugins={"watcher": Watcher()}))
        await rooms.client("mutation", "outer")
        with pytest.raises(AppError):
            await rooms.client("query", "fail")
        await rooms.action("relay")
    assert told[6:8] == [("started", "relay", "test", 0), ("started", "total", "function", 1)]
    assert told[-3:] == [("started", "leaf", "function", 1), ("finished", "leaf", True, False), ("finished", "relay", True, False)]
    assert told[:6] == [
        ("started", "outer", "client", 0),
        ("started", "add", "function", 1),
        ("finished", "add", True, False),
        ("finished", "outer", True, True),
        ("started", "fail", "client", 0),
        ("finished", "fail", False, False),
    ]


@pytest.mark.parametrize("kind", ["mutation", "action"])
@pytest.mark.one_isolation("inline", "the garbage of the host")
async def test_a_call_that_failed_leaves_nothing_for_the_collector(kind: Any) -> None:
    """The server lets the collector come seldom: what a client can provoke again and again has to go by itself."""
    component = Component("failing")

    @getattr(component, kind)
    async def fail(ctx: Any) -> None:
        raise AppError("no")

    async def attempt(rooms: Rooms) -> None:
        try:
            await rooms.client(kind, "fail")
        except AppError:
            pass

    async with running(component) as rooms:
        await attempt(rooms)
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                await attempt(rooms)
            assert gc.collect() < 20
        finally:
            gc.enable()
