"""Calls between instances: who reaches whom, what crosses, and what each may use. engine.md section 10, cases 59 to 70."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from tests.placed import placed

from interlock import (
    ActionCtx,
    AppError,
    ArgumentError,
    Component,
    DocumentNotFound,
    FunctionNotFound,
    Id,
    LimitExceeded,
    Limits,
    MutationCtx,
    QueryCtx,
    Schema,
    SchemaError,
    Table,
    WrongFunctionKind,
    components,
)

from .rooms import running

pytestmark = pytest.mark.usefixtures("both_isolations")

ADA = {"subject": "ada", "issuer": "https://login.example", "tokenIdentifier": "https://login.example|ada"}


class Full(AppError):
    """What a face would make of an error of its component."""


deep = Component("deep")


@deep.query
async def here(ctx: QueryCtx) -> str:
    return ctx.function.component_path


def store() -> Component:
    """A component with a table of its own, an internal function, and a child."""
    component = Component("store", schema=Schema(items=Table({"n": int}).index("by_n", "n")))
    component.use(deep)

    @component.mutation
    async def put(ctx: MutationCtx, n: int) -> str:
        return await ctx.db.insert("items", {"n": n})

    @component.query
    async def all(ctx: QueryCtx) -> list[int]:
        return [row["n"] for row in await ctx.db.query("items").index("by_n").collect()]

    @component.query
    async def get(ctx: QueryCtx, id: str) -> Any:
        return await ctx.db.get(id)

    @component.mutation
    async def patch(ctx: MutationCtx, id: str) -> None:
        await ctx.db.patch(id, {"n": 0})

    @component.query
    async def typed(ctx: QueryCtx, id: Annotated[str, Id("items")]) -> str:
        return id

    @component.mutation
    async def put_and_fail(ctx: MutationCtx, n: int) -> None:
        await ctx.db.insert("items", {"n": n})
        raise Full({"n": n, "when": ["now"]})

    @component.mutation(internal=True)
    async def hidden(ctx: MutationCtx) -> str:
        return "hidden"

    @component.mutation
    async def call_hidden(ctx: MutationCtx) -> Any:
        return await ctx.run_mutation("hidden")

    @component.query
    async def whoami(ctx: QueryCtx) -> list[Any]:
        # Past the context, which has no auth here: as a worker could ask.
        return [await ctx._host.identity(), hasattr(ctx, "auth"), ctx.function.component_path]

    @component.query
    async def wrong(ctx: QueryCtx) -> None:
        raise ValueError("inside")

    @component.query
    async def pages(ctx: QueryCtx, cursor: str | None = None) -> Any:
        return await ctx.db.query("items").index("by_n").paginate({"num_items": 2, "cursor": cursor})

    return component


def app(**mount: Any) -> Component:
    app = Component("app", schema=Schema(notes=Table({"n": int})), env={"SECRET": str | None, "REGION": str | None})
    made = placed(store)
    app.use(made, name="first", isolation="inline", **mount)
    app.use(made, name="second", isolation="inline")

    @app.mutation
    async def both(ctx: MutationCtx) -> None:
        await ctx.run_mutation(components.first.put, n=1)
        await ctx.run_mutation(components.second.put, n=2)
        await ctx.run_mutation(components.second.put, n=3)

    @app.query
    async def read(ctx: QueryCtx) -> list[Any]:
        return [await ctx.run_query(components.first.all), await ctx.run_query(components.second.all)]

    @app.query
    async def call(ctx: QueryCtx, mount: str, name: str, args: dict[str, Any]) -> Any:
        return await ctx.run_query(components[mount][name], **args)

    @app.mutation
    async def mutate(ctx: MutationCtx, mount: str, name: str, args: dict[str, Any]) -> Any:
        return await ctx.run_mutation(components[mount][name], **args)

    @app.action
    async def act(ctx: ActionCtx, kind: str, mount: str, name: str, args: dict[str, Any]) -> Any:
        run = ctx.run_query if kind == "query" else ctx.run_mutation
        return await run(components[mount][name], **args)

    @app.query
    async def whoami(ctx: QueryCtx) -> list[Any]:
        identity = await ctx.auth.identity()
        return [identity and identity.subject, await ctx.run_query(components.first.whoami)]

    return app


async def test_two_mounts_of_one_component_share_nothing(both_isolations: str) -> None:
    async with running(app()) as rooms:
        pools = [rooms.dispatcher.runners.pool(path) for path in ("first", "second", "first/deep")]
        assert [pool is not None for pool in pools] == [both_isolations == "sandbox"] * 3
        await rooms.mutation("both")
        assert await rooms.query("read") == [[1], [2, 3]]
        numbers = [table.number for table in rooms.engine.catalog.by_number.values()]
        assert len(numbers) == len(set(numbers))


async def test_a_function_of_a_mount_is_called_as_what_it_is() -> None:
    """As the typed `components` have it: `await components.first.put(ctx, n=1)`."""
    made = app()

    @made.mutation
    async def put_and_read(ctx: MutationCtx) -> Any:
        await components.first.put(ctx, n=1)
        with pytest.raises(AppError):
            await components.first.put_and_fail(ctx, n=2)
        return await components.first.all(ctx)

    @made.query
    async def look(ctx: QueryCtx, name: str) -> Any:
        return await components["first"][name](ctx)

    @made.action
    async def outside(ctx: ActionCtx) -> Any:
        await components.first.put(ctx, n=3)
        return await components.first.all(ctx)

    async with running(made) as rooms:
        assert await rooms.mutation("put_and_read") == [1]
        assert await rooms.query("look", name="all") == [1]
        assert await rooms.action("outside") == [1, 3]
        with pytest.raises(WrongFunctionKind, match="first/put as query, but it is defined as mutation"):
            await rooms.query("look", name="put")
        with pytest.raises(ArgumentError):
            await rooms.on_the_spot(lambda ctx: components.first.put(ctx, m=1))


async def test_an_id_of_another_instance_is_a_plain_string() -> None:
    async with running(app()) as rooms:
        note = await rooms.on_the_spot(lambda ctx: ctx.db.insert("notes", {"n": 1}))
        item = await rooms.mutation("mutate", mount="first", name="put", args={"n": 1})
        for foreign in (note, item):
            assert await rooms.query("call", mount="second", name="get", args={"id": foreign}) is None
            with pytest.raises(DocumentNotFound):
                await rooms.mutation("mutate", mount="second", name="patch", args={"id": foreign})
            with pytest.raises(ArgumentError):
                await rooms.query("call", mount="second", name="typed", args={"id": foreign})
        assert await rooms.query("call", mount="first", name="typed", args={"id": item}) == item
        assert await rooms.on_the_spot(lambda ctx: ctx.db.get(item)) is None


async def test_a_caller_reaches_its_own_and_the_public_functions_of_its_children() -> None:
    async with running(app()) as rooms:
        assert await rooms.mutation("mutate", mount="first", name="call_hidden", args={}) == "hidden"
        with pytest.raises(FunctionNotFound) as internal:
            await rooms.mutation("mutate", mount="first", name="hidden", args={})
        with pytest.raises(FunctionNotFound) as missing:
            await rooms.mutation("mutate", mount="first", name="missing", args={})
        for refused in (internal, missing):
            assert str(refused.value).startswith("Could not find public function for 'first/")
        with pytest.raises(FunctionNotFound, match="Did you mean first"):
            await rooms.mutation("mutate", mount="frist", name="put", args={})
        for name in ("deep/here", "first/deep:here"):
            with pytest.raises(FunctionNotFound):
                await rooms.query("call", mount="first", name=name, args={})


async def test_clients_never_reach_a_component_and_are_not_told_that_it_is_there() -> None:
    async with running(app()) as rooms:
        answers = []
        for name, path in (("put", "first"), ("first/put", ""), ("first:put", ""), ("nothing", ""), ("put", "nowhere")):
            with pytest.raises(FunctionNotFound) as refused:
                await rooms.client("mutation", name, component_path=path)
            answers.append(str(refused.value).replace(name, "it"))
        assert len(set(answers)) == 1
        assert await rooms.query("all", component_path="first") == []  # an admin does


async def test_errors_of_a_component_undo_its_writes_and_keep_their_data() -> None:
    outer = app()

    @outer.mutation
    async def catch(ctx: MutationCtx) -> list[Any]:
        try:
            await ctx.run_mutation(components.first.put_and_fail, n=7)
        except AppError as error:
            return [type(error).__name__, error.data]
        return []

    async with running(outer) as rooms:
        assert await rooms.mutation("catch") == ["AppError", {"n": 7, "when": ["now"]}]
        assert await rooms.query("read") == [[], []]
        with pytest.raises(AppError) as caught:
            await rooms.action("act", kind="mutation", mount="first", name="put_and_fail", args={"n": 1})
        assert type(caught.value) is AppError
        with pytest.raises(ValueError, match="inside"):
            await rooms.query("call", mount="first", name="wrong", args={})


async def test_arguments_are_validated_before_the_component_is_run() -> None:
    async with running(app()) as rooms:
        with pytest.raises(ArgumentError) as refused:
            await rooms.mutation("mutate", mount="first", name="put", args={"n": 1, "more": 2})
        assert (refused.value.function, refused.value.path) == ("first/put", ".more")
        assert await rooms.query("read") == [[], []]


async def test_the_identity_stays_in_the_app() -> None:
    async with running(app()) as rooms:
        answer = await rooms.client("query", "whoami", identity=ADA)
        assert answer.value == ["ada", [None, False, "first"]]
        answer = await rooms.client("action", "act", {"kind": "query", "mount": "first", "name": "whoami", "args": {}}, identity=ADA)
        assert answer.value[0] is None


async def test_pages_work_inside_a_component() -> None:
    async with running(app()) as rooms:
        for n in range(3):
            await rooms.mutation("mutate", mount="first", name="put", args={"n": n})
        first = await rooms.query("call", mount="first", name="pages", args={})
        second = await rooms.query("call", mount="first", name="pages", args={"cursor": first["continueCursor"]})
        assert [[row["n"] for row in page["page"]] for page in (first, second)] == [[0, 1], [2]]
        with pytest.raises(Exception, match="InvalidCursor"):
            await rooms.query("call", mount="second", name="pages", args={"cursor": first["continueCursor"]})


def bound() -> Component:
    child = Component("child", env={"KEY": str, "OTHER": str | None})

    @child.query
    async def env(ctx: QueryCtx) -> dict[str, Any]:
        return dict(ctx.env)

    return child


async def test_a_component_sees_the_variables_that_its_mount_binds() -> None:
    outer = Component("outer", env={"REGION": str, "SECRET": str})
    outer.use(placed(bound), isolation="inline", env={"KEY": outer.env.REGION})

    @outer.query
    async def both(ctx: QueryCtx) -> list[Any]:
        return [dict(ctx.env), await ctx.run_query(components.child.env)]

    async with running(outer, env={"REGION": "eu", "SECRET": "s", "HOME": "/"}) as rooms:
        assert await rooms.query("both") == [{"REGION": "eu", "SECRET": "s"}, {"KEY": "eu", "OTHER": None}]


async def test_a_mount_has_its_share_of_a_transaction_however_often_it_is_called() -> None:
    outer = app(limits=Limits(documents_written=3, logs=2))

    @outer.mutation
    async def many(ctx: MutationCtx, count: int) -> Any:
        for n in range(count):
            await ctx.run_mutation(components.first.put, n=n)
            await ctx.run_mutation(components.second.put, n=n)
            await ctx.db.insert("notes", {"n": n})
        return ctx.metrics().used["documents_written"]

    async with running(outer) as rooms:
        assert await rooms.mutation("many", count=3) == 9
        with pytest.raises(LimitExceeded, match="documents_written"):
            await rooms.mutation("many", count=4)
        assert len(await rooms.rows("notes")) == 3


def talker() -> Component:
    child = Component("child")

    @child.query
    async def talk(ctx: QueryCtx) -> None:
        ctx.log.warning("inside")

    return child


async def test_log_lines_of_a_component_say_whose_they_are() -> None:
    outer = Component("outer")
    outer.use(placed(talker), isolation="inline")

    @outer.query
    async def ask(ctx: QueryCtx) -> None:
        ctx.log.info("before")
        await ctx.run_query(components.child.talk)

    async with running(outer) as rooms:
        assert (await rooms.ask("query", "ask", {})).log_lines == ["[INFO] before", "[WARN] child: inside"]


async def test_components_make_tables_of_their_own_only() -> None:
    async with running(app()) as rooms:
        await rooms.on_the_spot(lambda ctx: ctx.db.insert("notes", {"n": 1}), "second")
        assert await rooms.rows("notes") == []
        assert await rooms.values("notes", component_path="second") == [1]
        with pytest.raises(SchemaError):
            await rooms.on_the_spot(lambda ctx: ctx.db.insert("first/items", {"n": 1}))
