"""The real backend behind the server, without a socket in between."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from interlock import Backend
from interlock.engine import Engine
from interlock.engine.made import arrived
from interlock.errors import MountError, StorageUnavailable
from interlock.server.binding import DispatcherService
from interlock.server.service import ANONYMOUS, Answer, Credentials, Failure, OutcomeUnknown, QueryResult, ServerSettings, SnapshotGone
from interlock.testing.virtual_clock import VirtualClock

START_MS = 1_800_000_000_000.0
ADA = Credentials({"issuer": "i", "subject": "ada", "tokenIdentifier": "i|ada"})
BOB = Credentials({"issuer": "i", "subject": "bob", "tokenIdentifier": "i|bob"})
FILES = {
    "app.py": "from interlock import App\napp = App()\n",
    "schema.py": """
from interlock import Schema, Table

schema = Schema(rows=Table({"n": float}).index("by_n", "n"))
""",
    "f.py": """
from typing import Any

from interlock import AppError, MutationCtx, Page, PaginationOptions, QueryCtx, action, mutation, query

runs: dict[str, int] = {}


def ran(name: str) -> None:
    runs[name] = runs.get(name, 0) + 1


@mutation
async def put(ctx: MutationCtx, n: float) -> None:
    await ctx.db.insert("rows", {"n": n})


@query
async def count(ctx: QueryCtx) -> int:
    ran("count")
    ctx.log.info("counting")
    return len(await ctx.db.query("rows").collect())


@query
async def mine(ctx: QueryCtx) -> Any:
    identity = await ctx.auth.identity()
    return identity and identity.subject


@query
async def now(ctx: QueryCtx) -> float:
    ran("now")
    return ctx.now()


@query
async def fails(ctx: QueryCtx, over: int) -> None:
    ran("fails")
    if len(await ctx.db.query("rows").collect()) >= over:
        raise AppError({"over": over})
    raise ValueError("secret detail")


@query
async def page(ctx: QueryCtx, pagination_opts: PaginationOptions) -> Page[dict[str, Any]]:
    return await ctx.db.query("rows").index("by_n").paginate(pagination_opts)


@query
async def odd(ctx: QueryCtx, text: str = "") -> None:
    ctx.log.info("a file called \\udcff")
    raise ValueError("no such file: \\udcff")


@mutation
async def odd_write(ctx: MutationCtx) -> None:
    ctx.log.info("a file called \\udcff")


@query(internal=True)
async def hidden(ctx: QueryCtx) -> str:
    return "hidden"


@action
async def acts(ctx: Any) -> str:
    return "acted"
""",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "bound_app"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "bound_app"]:
        del sys.modules[name]


class Bound:
    def __init__(self, backend: Backend, clock: VirtualClock, service: DispatcherService) -> None:
        self.backend, self.clock, self.service = backend, clock, service

    @property
    def engine(self) -> Engine:
        return self.backend.engine

    async def call(self, kind: Any, path: str, credentials: Credentials = ANONYMOUS, **args: Any) -> Any:
        """The value; of a failure its text."""
        outcome = await self.service.call(kind, path, args, credentials=credentials, request_id="r" * 16, source="http")
        return json.loads(outcome.json) if isinstance(outcome, Answer) else outcome.message

    def watch(self, path: str, credentials: Credentials = ANONYMOUS, journal: str | None = None, **args: Any) -> Watched:
        return Watched(self, path, args, credentials, journal)


class Watched:
    def __init__(self, bound: Bound, path: str, args: dict[str, Any], credentials: Credentials, journal: str | None) -> None:
        self.service = bound.service
        self.wakes = 0
        self.live = self.service.open_query(path, args, journal, credentials=credentials, component_path="", wake=self.wake)

    def wake(self) -> None:
        self.wakes += 1

    async def result(self) -> QueryResult:
        snapshot = self.service.pin()
        try:
            return await arrived(self.live.at(snapshot.place))
        finally:
            self.service.unpin(snapshot)

    async def value(self) -> Any:
        outcome = (await self.result()).outcome
        assert isinstance(outcome, Answer), outcome
        return json.loads(outcome.json)

    async def failure(self) -> Failure:
        outcome = (await self.result()).outcome
        assert isinstance(outcome, Failure)
        return outcome


@asynccontextmanager
async def bound(folder: Path, *, dev: bool = False) -> AsyncIterator[Bound]:
    clock = VirtualClock(START_MS)
    async with Backend(folder, data=":memory:", clock=clock, seed=1) as backend:
        settings = ServerSettings(backend.instance_name, backend.secret)
        yield Bound(backend, clock, DispatcherService(backend.engine, backend.dispatcher, settings, dev=dev))


def runs(name: str) -> int:
    count: int = sys.modules["bound_app.f"].runs.get(name, 0)
    return count


async def test_a_query_is_run_once_until_what_it_read_has_changed(folder: Path) -> None:
    async with bound(folder) as here:
        assert [await here.call("query", "f:count") for _ in range(3)] == [0.0] * 3 and runs("count") == 1
        await here.call("mutation", "f:put", n=1.0)
        assert [await here.call("query", "f:count") for _ in range(3)] == [1.0] * 3 and runs("count") == 2
        watched = here.watch("f:count")
        assert await watched.value() == 1.0 and runs("count") == 2
        await here.call("mutation", "f:put", n=2.0)
        here.service.newest()
        assert watched.wakes == 1
        assert await watched.value() == 2.0 and await here.call("query", "f:count") == 2.0 and runs("count") == 3


async def test_nobody_is_given_what_was_made_for_another(folder: Path) -> None:
    async with bound(folder) as here:
        for credentials, who in ((ADA, "ada"), (BOB, "bob"), (ANONYMOUS, None), (ADA, "ada")):
            assert await here.call("query", "f:mine", credentials) == who
            assert await here.watch("f:mine", credentials).value() == who
        admin = Credentials(admin=True)
        assert await here.call("query", "f:hidden", admin) == "hidden"
        assert "Could not find" in await here.call("query", "f:hidden")
        assert await here.watch("f:hidden", admin).value() == "hidden"
        assert "Could not find" in (await here.watch("f:hidden").failure()).message


async def test_a_result_that_looked_at_the_time_is_given_to_others_for_a_while_only(folder: Path) -> None:
    async with bound(folder) as here:
        watched = here.watch("f:now")
        assert await watched.value() == START_MS
        here.clock.move_to(START_MS + 16_000)
        assert await here.call("query", "f:now") == START_MS and await here.watch("f:now").value() == START_MS
        here.clock.move_to(START_MS + 18_000)
        assert await here.call("query", "f:now") == START_MS + 18_000
        assert await here.watch("f:now").value() == START_MS + 18_000
        assert await watched.value() == START_MS, "who has it keeps it"
        assert runs("now") == 2


async def test_a_failure_is_told_as_the_mode_says_and_is_the_same_text_after_a_rerun(folder: Path) -> None:
    async with bound(folder) as here:
        watched = here.watch("f:fails", over=2)
        first = await watched.failure()
        assert "secret" not in first.message and first.data is None
        await here.call("mutation", "f:put", n=1.0)
        here.service.newest()
        assert watched.wakes == 1 and await watched.failure() == first
        await here.call("mutation", "f:put", n=1.0)
        assert json.loads((await watched.failure()).data or b"") == {"over": 2.0}
        before = runs("fails")
        assert "Server Error" in await here.call("query", "f:fails", over=9)
        assert "Server Error" in await here.call("query", "f:fails", over=9)
        assert runs("fails") == before + 2, "failures are not kept"
    async with bound(folder, dev=True) as here:
        assert "secret detail" in await here.call("query", "f:fails", over=9)
        assert list((await here.watch("f:count").result()).outcome.log_lines) == ["[INFO] counting"]


async def test_pages_keep_their_ends_for_those_who_have_them_and_not_for_others(folder: Path) -> None:
    async with bound(folder) as here:
        for n in (1.0, 2.0, 3.0, 4.0):
            await here.call("mutation", "f:put", n=n)
        options = {"numItems": 2, "cursor": None}

        async def ranks(watched: Watched) -> list[float]:
            return [row["n"] for row in (await watched.value())["page"]]

        early = here.watch("f:page", paginationOpts=options)
        assert await ranks(early) == [1.0, 2.0]
        journal = (await early.result()).journal
        assert journal is not None
        await here.call("mutation", "f:put", n=1.5)
        late = here.watch("f:page", paginationOpts=options)
        assert await ranks(early) == [1.0, 1.5, 2.0] and await ranks(late) == [1.0, 1.5]
        again = here.watch("f:page", journal=journal, paginationOpts=options)
        assert await ranks(again) == [1.0, 1.5, 2.0]
        await here.call("mutation", "f:put", n=1.7)
        assert (await ranks(early), await ranks(late), await ranks(again)) == ([1.0, 1.5, 1.7, 2.0], [1.0, 1.5], [1.0, 1.5, 1.7, 2.0])


async def test_an_offered_timestamp_can_be_read_at_for_half_a_minute(folder: Path) -> None:
    async with bound(folder) as here:

        async def count_at(ts: int) -> Any:
            outcome = await here.service.query_at(ts, "f:count", {}, credentials=ANONYMOUS, request_id="r" * 16)
            assert isinstance(outcome, Answer)
            return json.loads(outcome.json)

        await here.call("mutation", "f:put", n=0.0)
        offered = here.service.offer_ts()
        for n in range(20):
            here.clock.move_to(here.clock.now_ms() + 1_500)
            await here.call("mutation", "f:put", n=float(n))
        assert await count_at(offered) == 1.0 and await count_at(here.service.offer_ts()) == 21.0
        here.clock.move_to(here.clock.now_ms() + 36_000)
        await here.call("mutation", "f:put", n=99.0)
        await here.call("mutation", "f:put", n=99.0)
        for gone in (offered, here.service.offer_ts() + 1):
            with pytest.raises(SnapshotGone):
                await count_at(gone)


async def test_changed_code_wakes_those_who_watch(folder: Path) -> None:
    async with bound(folder) as here:
        watched = here.watch("f:mine")
        assert await watched.value() is None and await here.call("query", "f:mine") is None
        (folder / "f.py").write_text(FILES["f.py"].replace("return identity and identity.subject", 'return "new"'))
        await here.backend.reload()
        assert watched.wakes and await watched.value() == "new" and await here.call("query", "f:mine") == "new"


async def test_a_mutation_with_a_session_is_done_once(folder: Path) -> None:
    async with bound(folder) as here:
        for _ in range(3):
            outcome = await here.service.call(
                "mutation", "f:put", {"n": 1.0}, credentials=ANONYMOUS, request_id="r" * 16, source="client", session=("s", 7)
            )
            assert isinstance(outcome, Answer) and outcome.ts <= here.service.newest().ts
        assert await here.call("query", "f:count") == 1.0
        assert await here.call(None, "f:acts") == "acted" and await here.call(None, "f:count") == 1.0


async def test_nothing_stays_behind_when_subscribers_have_gone(folder: Path) -> None:
    async with bound(folder) as here:
        watched = [here.watch("f:count") for _ in range(5)] + [here.watch("f:mine", ADA)]
        await asyncio.gather(*(each.value() for each in watched))
        for each in watched:
            each.live.close()
        await here.call("mutation", "f:put", n=1.0)
        here.service.newest()
        assert all(each.wakes == 0 for each in watched)
        assert not here.service._shared._by_key and not here.engine.log._pins


async def test_half_a_character_in_a_log_line_or_an_error_is_shown_as_what_it_is(folder: Path) -> None:
    async with bound(folder, dev=True) as here:
        failure = await here.watch("f:odd").failure()
        assert "no such file: \\udcff" in failure.message and failure.log_lines == ["[INFO] a file called \\udcff"]
        answer = await here.service.call(
            "mutation", "f:odd_write", {}, credentials=ANONYMOUS, request_id="0", source="client", session=("s", 0)
        )
        again = await here.service.call(
            "mutation", "f:odd_write", {}, credentials=ANONYMOUS, request_id="0", source="client", session=("s", 0)
        )
        assert isinstance(answer, Answer) and answer == again and list(answer.log_lines) == ["[INFO] a file called \\udcff"]


@pytest.mark.parametrize("data", ["web", "web/data", "sqlite:///web/data.db"])
async def test_data_among_the_files_that_are_served_are_refused(tmp_path: Path, data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    app = tmp_path / "served_app"
    (app / "web").mkdir(parents=True)
    (app / "app.py").write_text('from interlock import App\napp = App(static="web")\n')
    monkeypatch.chdir(app)
    with pytest.raises(MountError, match="served to everybody"):
        await Backend(app, data=data).open()
    assert not list((app / "web").iterdir())


async def test_a_query_without_its_data_says_so_and_a_live_one_is_tried_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with bound(folder) as here:
        await here.call("mutation", "f:put", n=1.0)
        offered = here.service.offer_ts()
        for table in here.engine.catalog.by_number.values():
            table.memory = None

        async def fail(*_: object) -> Any:
            raise StorageUnavailable("The disk is gone.", "Find it.")

        with monkeypatch.context() as broken:
            broken.setattr(here.engine.storage, "scan", fail)
            watched = here.watch("f:count")
            assert (await watched.failure()).code == "StorageUnavailable"
            assert "The disk is gone. Find it." in await here.call("query", "f:count")
            at = await here.service.query_at(offered, "f:count", {}, credentials=ANONYMOUS, request_id="r" * 16)
            assert isinstance(at, Failure) and at.code == "StorageUnavailable"
            here.clock.move_to(here.clock.now_ms() + 2_000)
            assert watched.wakes == 1
            assert (await watched.failure()).code == "StorageUnavailable"
        assert await here.call("query", "f:count") == 1.0
        here.clock.move_to(here.clock.now_ms() + 2_000)
        assert watched.wakes == 2
        assert await watched.value() == 1.0
        here.clock.move_to(here.clock.now_ms() + 60_000)
        assert watched.wakes == 2


async def test_a_mutation_whose_outcome_nobody_knows_is_not_answered_where_it_can_be_asked_again(folder: Path) -> None:
    async with bound(folder) as here:

        async def fail(*_: object) -> Any:
            raise OSError("The disk has said nothing.")

        here.engine.storage.append = fail  # type: ignore[method-assign]
        call = partial(here.service.call, "mutation", "f:put", {"n": 1.0}, credentials=ANONYMOUS, request_id="r" * 16)
        with pytest.raises(OutcomeUnknown):
            await call(source="client", session=("s", 1))
        with pytest.raises(OutcomeUnknown):  # it may have been done before
            await call(source="client", session=("s", 0))
        failure = await call(source="http")
        assert isinstance(failure, Failure) and failure.code == "StorageUnavailable"
