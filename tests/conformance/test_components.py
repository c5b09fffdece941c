"""engine.md section 10, "Sub-transactions and components": cases 51 to 73."""

from __future__ import annotations

from typing import Any

import pytest
from tests.placed import placed, replaced

from interlock import (
    ActionCtx,
    AppError,
    ArgumentError,
    CallRefused,
    Component,
    ContextError,
    DocumentNotFound,
    FunctionNotFound,
    MountError,
    MutationCtx,
    PaginationOptions,
    QueryCtx,
    Request,
    Response,
    ReturnError,
    Schema,
    Table,
    WrongFunctionKind,
    components,
)
from interlock.cli import facts
from interlock.testing import TestBackend

from . import board
from .deployments import Deployment, ask
from .interleaving import Pause
from .pile import pile as pile_of_the_tests
from .wire import served

pytestmark = pytest.mark.usefixtures("both_isolations")
pile = replaced(pile_of_the_tests)


def nesting() -> Component:
    """An app whose mutations call each other: `write_and_fail` always raises."""
    app = Component("app", schema=Schema(notes=Table({"text": str})))

    @app.mutation
    async def write(ctx: MutationCtx, text: str) -> str:
        return await ctx.db.insert("notes", {"text": text})

    @app.mutation
    async def write_and_fail(ctx: MutationCtx, text: str) -> None:
        await ctx.db.insert("notes", {"text": text})
        await ctx.scheduler.run_after(0, write, text="scheduled")
        raise AppError("failed")

    @app.mutation
    async def catch(ctx: MutationCtx) -> None:
        await ctx.db.insert("notes", {"text": "A"})
        try:
            await ctx.run_mutation(write_and_fail, text="B")
        except AppError:
            pass

    @app.mutation
    async def do_not_catch(ctx: MutationCtx) -> None:
        await ctx.db.insert("notes", {"text": "A"})
        await ctx.run_mutation(write_and_fail, text="B")

    @app.mutation
    async def fail_afterwards(ctx: MutationCtx) -> None:
        await ctx.run_mutation(write, text="A")
        raise AppError("failed")

    @app.mutation
    async def middle(ctx: MutationCtx) -> None:
        await ctx.db.insert("notes", {"text": "middle"})
        try:
            await ctx.run_mutation(write_and_fail, text="innermost")
        except AppError:
            pass

    @app.mutation
    async def outer(ctx: MutationCtx) -> None:
        await ctx.db.insert("notes", {"text": "outer"})
        await ctx.run_mutation(middle)

    @app.mutation
    async def read_and_fail(ctx: MutationCtx, id: str) -> None:
        await ctx.db.get(id)
        raise AppError("failed")

    @app.query
    async def texts(ctx: QueryCtx) -> list[str]:
        return [row["text"] for row in await ctx.db.query("notes").collect()]

    return app


async def test_051_a_nested_mutation_that_raises_and_is_caught_is_undone_with_its_jobs() -> None:
    async with TestBackend(placed(nesting)) as t:
        await t.mutation("catch")
        assert await t.finish_scheduled() == []
        assert await t.query("texts") == ["A"]


async def test_052_a_nested_mutation_that_raises_and_is_not_caught_undoes_its_caller_too() -> None:
    async with TestBackend(placed(nesting)) as t:
        with pytest.raises(AppError):
            await t.mutation("do_not_catch")
        assert await t.finish_scheduled() == []
        assert await t.query("texts") == []


async def test_053_a_caller_that_raises_undoes_what_it_has_called() -> None:
    async with TestBackend(placed(nesting)) as t:
        with pytest.raises(AppError):
            await t.mutation("fail_afterwards")
        assert await t.query("texts") == []


async def test_054_of_three_levels_only_the_one_that_raised_is_undone() -> None:
    async with TestBackend(placed(nesting)) as t:
        await t.mutation("outer")
        assert await t.query("texts") == ["outer", "middle"]


async def test_055_what_a_nested_mutation_read_counts_although_it_was_undone() -> None:
    async with TestBackend(placed(nesting)) as t:
        id = await t.mutation("write", text="A")
        pause = Pause()

        async def catch_and_write(ctx: MutationCtx) -> None:
            with pytest.raises(AppError):
                await ctx.run_mutation("read_and_fail", id=id)
            await pause()
            await ctx.db.insert("others", {})

        await pause.meanwhile(t.run(catch_and_write), t.run(lambda ctx: ctx.db.patch(id, {"text": "B"})))
        assert pause.runs == 2


def with_pile(*mounts: str) -> Component:
    """An app with a table `notes` and the component `pile`, which has one of that name too, under one or several names."""
    app = Component("app", schema=Schema(notes=Table({"n": int})))
    for name in mounts or ("pile",):
        app.use(pile, name=name, isolation="inline")
    return app


async def test_056_a_nested_query_sees_its_callers_writes_and_a_components_query_none_of_its_tables() -> None:
    app = with_pile()

    @app.query
    async def numbers(ctx: QueryCtx) -> list[int]:
        return [row["n"] for row in await ctx.db.query("notes").collect()]

    @app.mutation
    async def write_and_ask(ctx: MutationCtx) -> Any:
        await ctx.db.insert("notes", {"n": 1})
        return [await ctx.run_query(numbers), await ctx.run_query(components.pile.numbers)]

    async with TestBackend(app) as t:
        assert await t.mutation("write_and_ask") == [[1], []]


def callers() -> Component:
    """An app whose functions call what they may, and what they may not."""
    app = Component("app")

    @app.mutation
    async def write(ctx: MutationCtx) -> None:
        pass

    @app.action
    async def act(ctx: ActionCtx) -> None:
        pass

    @app.query
    async def call_a_mutation(ctx: QueryCtx) -> None:
        await ctx.run_mutation(write)  # type: ignore[attr-defined]

    @app.query
    async def call_a_mutation_as_a_query(ctx: QueryCtx) -> None:
        await ctx.run_query(write)

    @app.mutation
    async def call_an_action(ctx: MutationCtx) -> None:
        await ctx.run_action(act)  # type: ignore[attr-defined]

    @app.mutation
    async def deep(ctx: MutationCtx, levels: int) -> int:
        return 0 if not levels else 1 + await ctx.run_mutation(deep, levels=levels - 1)

    return app


async def test_057_who_may_call_whom_and_how_deep() -> None:
    async with TestBackend(placed(callers)) as t:
        with pytest.raises(ContextError, match="run_mutation"):
            await t.query("call_a_mutation")
        with pytest.raises(WrongFunctionKind):
            await t.query("call_a_mutation_as_a_query")
        with pytest.raises(ContextError, match="run_action"):
            await t.mutation("call_an_action")
        assert await t.mutation("deep", levels=8) == 8
        with pytest.raises(CallRefused, match="at most 8 deep"):
            await t.mutation("deep", levels=9)


async def test_058_a_nested_mutation_whose_result_is_refused_is_undone() -> None:
    """The original checks the result after the layer was merged: caught, the writes of the nested mutation stay (weakness 2).

    Here the result is checked first, so a nested mutation that raises anything at all in its caller has written nothing.
    """

    @placed
    def app() -> Component:
        app = Component("app")

        @app.mutation
        async def promise_a_number(ctx: MutationCtx) -> int:
            await ctx.db.insert("notes", {"text": "B"})
            return "none"  # type: ignore[return-value]

        @app.mutation
        async def catch(ctx: MutationCtx) -> None:
            await ctx.db.insert("notes", {"text": "A"})
            try:
                await ctx.run_mutation(promise_a_number)
            except ReturnError:
                await ctx.db.insert("notes", {"text": "C"})

        return app

    async with TestBackend(app) as t:
        await t.mutation("catch")
        assert [row["text"] for row in await t.run(lambda ctx: ctx.db.query("notes").collect())] == ["A", "C"]


async def test_059_two_mounts_of_one_component_have_nothing_in_common() -> None:
    """In the original two tables of different mounts may have one number, so that an id may fit a stranger's table (weakness 6).

    Here no two tables of one backend have the same number.
    """
    async with TestBackend(with_pile("one", "two")) as t:
        one, two = t.component("one"), t.component("two")
        id = await one.mutation("put", n=1)
        assert (await one.query("numbers"), await two.query("numbers")) == ([1], [])
        assert await two.query("get", id=id) is None
        assert await two.run(lambda ctx: ctx.db.normalize_id("notes", id)) is None
        assert await one.run(lambda ctx: ctx.db.normalize_id("notes", id)) == id


async def test_060_an_id_of_the_app_is_a_plain_string_to_a_component() -> None:
    app = with_pile()

    @app.mutation
    async def show(ctx: MutationCtx) -> list[Any]:
        id = await ctx.db.insert("notes", {"n": 1})
        return [await ctx.run_query(components.pile.echo, id=id), id, await ctx.run_query(components.pile.get, id=id)]

    async with TestBackend(app) as t:
        crossed, id, found = await t.mutation("show")
        assert crossed == id
        assert found is None
        with pytest.raises(DocumentNotFound):
            await t.run(lambda ctx: ctx.db.delete(id), component="pile")


async def test_061_what_a_caller_may_not_reach_is_not_found() -> None:
    async def call_internal(ctx: MutationCtx) -> None:
        await ctx.run_mutation(components.pile.clear)

    async def call_grandchild(ctx: MutationCtx) -> None:
        await ctx.run_query(components.crumb.taste)

    async with TestBackend(board.app) as t, served(t) as server:
        for call in (call_internal, call_grandchild):
            with pytest.raises(FunctionNotFound):
                await t.run(call)
        said = set()
        for name in ("board:missing", "board:hidden", "pile/mod:put", "pile:put"):
            answer = await server.call("mutation", name)
            assert answer["status"] == "error" and "FunctionNotFound" in answer["errorMessage"]
            said.add(answer["errorMessage"].partition("FunctionNotFound")[2].splitlines()[0].replace(name, "…"))
        assert said == {": Could not find public function for '…'."}
        assert await t.component("pile/crumb").query("taste") == "dry"


async def test_062_arguments_that_a_component_does_not_take_are_refused_before_anything_is_written() -> None:
    app = with_pile()

    @app.mutation
    async def call_with_too_much(ctx: MutationCtx) -> None:
        with pytest.raises(ArgumentError):
            await ctx.run_mutation(components.pile.put, n=1, colour="red")
        await ctx.db.insert("notes", {"n": 2})

    async with TestBackend(app) as t:
        await t.mutation("call_with_too_much")
        assert await t.component("pile").query("numbers") == []
        assert await t.run(lambda ctx: ctx.db.query("notes").count()) == 1


async def test_063_an_app_error_of_a_component_arrives_with_its_data() -> None:
    app = with_pile()
    data = {"why": ["full", None, 1.5], "when": b"now"}

    @app.mutation
    async def catch(ctx: MutationCtx) -> Any:
        with pytest.raises(AppError) as raised:
            await ctx.run_mutation(components.pile.put_and_fail, n=1, data=data)
        return raised.value.data

    async with TestBackend(app) as t:
        assert await t.mutation("catch") == data


async def test_064_module_globals_of_an_inline_component_are_those_of_this_process() -> None:
    """In the original every call has fresh globals, so a count kept in one is 1 each time.

    Here a module's globals may vanish between calls and may not: nobody may build on either. A mount that says
    isolation="inline" runs in this process, where they stay; what a call must never do, sharing them with another instance, is
    what the sandbox is for.
    """
    async with TestBackend(with_pile()) as t:
        first = await t.component("pile").mutation("count_calls")
        assert await t.component("pile").mutation("count_calls") == first + 1


def reading_env() -> Component:
    component = Component("reader", env={"APP_VAR": str})

    @component.query
    async def read(ctx: QueryCtx) -> Any:
        return ctx.env["APP_VAR"]

    @component.query
    async def read_another(ctx: QueryCtx) -> Any:
        return ctx.env["OTHER_VAR"]

    return component


async def test_065_a_component_sees_the_variables_that_it_declares_and_that_are_bound() -> None:
    """In the original variables are settings of the deployment, and a change of one re-runs what read it.

    Here they are the variables of the process: a reload takes changed ones over, and runs every subscription again.
    """
    app = Component("app", env={"APP_VAR": str, "OTHER_VAR": str})
    app.use(placed(reading_env), env={"APP_VAR": app.env.APP_VAR}, isolation="inline")

    @app.query
    async def read(ctx: QueryCtx) -> Any:
        return await ctx.run_query(components.reader.read)

    env = {"APP_VAR": "first", "OTHER_VAR": "of the app alone"}
    async with TestBackend(app, env=env) as t:
        with pytest.raises(KeyError):
            await t.component("reader").query("read_another")
        watched = t.subscribe("read")
        assert await anext(watched) == "first"
        env["APP_VAR"] = "second"
        await (await t.opened()).reload()
        assert await anext(watched) == "second"
        assert await t.query("read") == "second"


async def test_066_variables_that_do_not_fit_are_refused_by_name() -> None:
    async def start(app: Component) -> None:
        async with TestBackend(app, env={}):
            pass

    unbound = Component("app")
    unbound.use(placed(reading_env), isolation="inline")
    undeclared = Component("app")
    undeclared.use(placed(reading_env), env={"APP_VAR": "x", "COLOUR": "red"}, isolation="inline")
    optional = Component("app", env={"MAYBE": str | None})
    optional.use(placed(reading_env), env={"APP_VAR": optional.env.MAYBE}, isolation="inline")
    for app, named in ((unbound, "APP_VAR"), (undeclared, "COLOUR"), (optional, "MAYBE")):
        with pytest.raises(MountError, match=named):
            await start(app)


def caller() -> Component:
    """Is given a handle, keeps it, and calls by it."""
    caller = Component("caller")

    @caller.mutation
    async def keep(ctx: MutationCtx, handle: str) -> None:
        await ctx.db.insert("handles", {"handle": handle})

    @caller.mutation
    async def call(ctx: MutationCtx) -> Any:
        row = await ctx.db.query("handles").first()
        assert row is not None
        return await ctx.run_mutation(row["handle"])

    @caller.mutation
    async def schedule(ctx: MutationCtx) -> None:
        row = await ctx.db.query("handles").first()
        assert row is not None
        await ctx.scheduler.run_after(60, row["handle"])

    return caller


def with_callback(*, has_ping: bool) -> Component:
    """An app that gives a component a handle of its internal function `ping`."""
    app = Component("app")
    app.use(placed(caller), isolation="inline")
    if has_ping:

        @app.mutation(internal=True)
        async def ping(ctx: MutationCtx) -> str:
            await ctx.db.insert("pings", {})
            return "pong"

        @app.mutation
        async def give_handle(ctx: MutationCtx) -> None:
            await ctx.run_mutation(components.caller.keep, handle=await ctx.function_handle(ping))

    @app.query
    async def pings(ctx: QueryCtx) -> int:
        return await ctx.db.query("pings").count()

    return app


async def test_067_a_handle_lets_a_component_call_back_as_long_as_the_function_is_there(deployment: Deployment) -> None:
    async with deployment.start(with_callback(has_ping=True)) as backend:
        await ask(backend, "give_handle")
        assert await ask(backend, "call", "caller") == "pong"
        await ask(backend, "schedule", "caller")
        await deployment.pass_time(backend, 60)
        assert await ask(backend, "pings") == 2
    async with deployment.start(with_callback(has_ping=False)) as backend:
        with pytest.raises(FunctionNotFound) as missing:
            await ask(backend, "call", "caller")
        assert missing.value.code == "FunctionHandleNotFound"
    async with deployment.start(with_callback(has_ping=True)) as backend:
        assert await ask(backend, "call", "caller") == "pong"


async def test_068_what_a_component_schedules_is_undone_with_its_caller() -> None:
    app = with_pile()

    @app.mutation
    async def schedule_and_fail(ctx: MutationCtx) -> None:
        await ctx.run_mutation(components.pile.put_later, n=1, seconds=60)
        raise AppError("failed")

    @app.mutation
    async def schedule(ctx: MutationCtx) -> None:
        await ctx.run_mutation(components.pile.put_later, n=2, seconds=60)

    async with TestBackend(app) as t:
        with pytest.raises(AppError):
            await t.mutation("schedule_and_fail")
        await t.mutation("schedule")
        assert [job.args for job in await t.advance(60)] == [{"n": 2}]
        assert await t.component("pile").query("numbers") == [2]


async def test_069_a_component_reads_pages_like_anybody_else() -> None:
    """The original has no paginate in components (weakness 4)."""
    app = with_pile()

    @app.query
    async def page(ctx: QueryCtx, options: PaginationOptions) -> Any:
        return await ctx.run_query(components.pile.page, options=options)

    async with TestBackend(app) as t:
        for n in range(5):
            await t.component("pile").mutation("put", n=n)
        first = await t.query("page", options=PaginationOptions(3))
        assert (first["page"], first["isDone"]) == ([0, 1, 2], False)
        second = await t.query("page", options=PaginationOptions(3, first["continueCursor"]))
        assert (second["page"], second["isDone"]) == ([3, 4], True)


def nosy() -> Component:
    """Looks whether it is told who is calling."""
    nosy = Component("nosy")

    @nosy.query
    async def in_query(ctx: QueryCtx) -> bool:
        return hasattr(ctx, "auth")

    @nosy.mutation
    async def in_mutation(ctx: MutationCtx) -> bool:
        return hasattr(ctx, "auth")

    @nosy.action
    async def in_action(ctx: ActionCtx) -> bool:
        return hasattr(ctx, "auth")

    return nosy


async def test_070_a_component_is_never_told_who_is_calling() -> None:
    """In the original a component called from a mutation sees the user, against its own documentation (weakness 1)."""
    app = Component("app")
    app.use(placed(nosy), isolation="inline")

    @app.mutation
    async def from_mutation(ctx: MutationCtx) -> list[Any]:
        identity = await ctx.auth.identity()
        assert identity is not None
        return [identity.subject, await ctx.run_query(components.nosy.in_query), await ctx.run_mutation(components.nosy.in_mutation)]

    @app.action
    async def from_action(ctx: ActionCtx) -> list[Any]:
        identity = await ctx.auth.identity()
        assert identity is not None
        nosy = components.nosy
        seen = [await ctx.run_query(nosy.in_query), await ctx.run_mutation(nosy.in_mutation), await ctx.run_action(nosy.in_action)]
        return [identity.subject, *seen]

    async with TestBackend(app) as t:
        ada = t.with_identity(subject="ada")
        assert await ada.mutation("from_mutation") == ["ada", False, False]
        assert await ada.action("from_action") == ["ada", False, False, False]


async def test_071_an_unmounted_component_keeps_its_data_until_it_is_mounted_again(deployment: Deployment) -> None:
    """In the original a renamed mount is a new one, and its data cannot be moved (weakness 21). Here was= takes it along."""

    def app(**mount: Any) -> Component:
        app = Component("app")
        if mount:
            app.use(pile, isolation="inline", **mount)
        return app

    async with deployment.start(app(name="pile")) as backend:
        await ask(backend, "put", "pile", n=1)
    async with deployment.start(app()) as backend:
        for function in ("put", "numbers"):
            with pytest.raises(FunctionNotFound):
                await ask(backend, function, "pile", n=2)
        [unmounted] = [mount for mount in facts.mounts(backend) if mount["path"] == "pile"]
        assert (unmounted["state"], unmounted["documents"]) == ("unmounted", 1)
        assert [row["n"] for row in await facts.documents(backend, "pile", "notes", 10)] == [1]
    async with deployment.start(app(name="pile")) as backend:
        assert await ask(backend, "numbers", "pile") == [1]
    async with deployment.start(app(name="heap")) as backend:
        assert await ask(backend, "numbers", "heap") == []
    async with deployment.start(app(name="stack", was="pile")) as backend:
        assert await ask(backend, "numbers", "stack") == [1]


async def test_072_two_mounts_of_one_name_are_refused_and_two_names_of_one_component_are_fine() -> None:
    twice = Component("app")
    twice.use(pile, isolation="inline")
    twice.use(pile, isolation="inline")
    with pytest.raises(MountError, match="under this name"):
        async with TestBackend(twice):
            pass
    async with TestBackend(with_pile("one", "two")) as t:
        await t.component("two").mutation("put", n=1)
        assert await t.component("one").query("numbers") == []


def doors(*paths: str) -> Component:
    """Each of its routes answers with the component's first path."""
    component = Component("doors", permissions=["http"])

    async def answer(ctx: ActionCtx, request: Request) -> Response:
        return Response(f"doors {paths[0]}")

    for path in paths:
        component.http("GET", path)(answer)
    return component


async def test_073_a_request_goes_to_the_exact_route_of_the_app_or_to_the_longest_prefix() -> None:
    """No prefix: 404. With one, the component answers below it, but for exact routes of the app; the longest prefix counts."""
    app = Component("app", permissions=["http"])
    app.use(placed(doors, "/hello", "/own", "/y/hello", "/y/only"), name="x", http_prefix="/x/")
    app.use(placed(doors, "/deep", "/hello"), name="y", http_prefix="/x/y")
    app.use(placed(doors, "/", "/hidden"), name="root", http_prefix="/z")

    @app.http("GET", "/x/own")
    async def own(ctx: ActionCtx, request: Request) -> Response:
        return Response("app")

    async with TestBackend(app) as t, served(t) as server:

        async def get(path: str) -> tuple[int, str]:
            answer = await server.http.get(path)
            return answer.status_code, answer.text

        assert await get("/http/x/hello") == (200, "doors /hello")
        assert await get("/http/x/own") == (200, "app")
        assert await get("/http/x/y/hello") == (200, "doors /deep")
        assert await get("/http/x/y/only") == (404, "There is no HTTP route for GET /x/y/only.\n")
        assert await get("/http/xy/hello") == (404, "There is no HTTP route for GET /xy/hello.\n")
        assert await get("/http/hello") == (404, "There is no HTTP route for GET /hello.\n")
        assert await get("/http/z") == await get("/http/z/") == (200, "doors /")
