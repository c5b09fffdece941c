"""engine.md section 10, "Pagination, subscriptions": cases 84 to 95."""

from __future__ import annotations

from typing import Any

import pytest
from tests.placed import placed

from interlock import Component, MutationCtx, QueryCtx, Schema, Table
from interlock.testing import TestBackend

from . import board
from .wire import Server, served, settle

pytestmark = pytest.mark.usefixtures("both_isolations")


def opts(num_items: int, cursor: str | None = None) -> dict[str, Any]:
    """Arguments of `board:page` as clients send them."""
    return {"paginationOpts": {"numItems": float(num_items), "cursor": cursor}}


async def pages(server: Server, *sizes: int) -> list[dict[str, Any]]:
    """Pages that follow each other, as one-shot queries."""
    found: list[dict[str, Any]] = []
    for size in sizes:
        found.append(await server.value("query", "board:page", opts(size, found[-1]["continueCursor"] if found else None)))
    return found


def tens(start: int, stop: int) -> list[float]:
    return [float(n) for n in range(start, stop, 10)]


async def test_084_twenty_five_rows_are_pages_of_ten_ten_and_five() -> None:
    async with TestBackend(board.app) as t, served(t) as server:
        await t.mutation("board:fill", count=25)
        found = await pages(server, 10, 10, 10)
        assert [page["page"] for page in found] == [tens(0, 100), tens(100, 200), tens(200, 250)]
        assert [page["isDone"] for page in found] == [False, False, True]


async def test_085_a_page_that_is_watched_keeps_its_bounds() -> None:
    async with TestBackend(board.app) as t, served(t) as server, server.socket() as socket:
        await t.mutation("board:fill", count=25)
        await socket.subscribe((0, "board:page", opts(10)))
        first = socket.values[0]
        await t.mutation("board:add", n=55)
        await settle()
        second = socket.values[0]
        assert second["page"] == sorted([*tens(0, 100), 55.0])
        assert second["continueCursor"] == first["continueCursor"]
        told = len(socket.transitions)
        await t.mutation("board:add", n=95)
        await settle()
        assert socket.values[0] == second
        assert [change for transition in socket.transitions[told:] for change in transition["modifications"]] == []


async def test_086_a_page_whose_rows_are_gone_is_empty_and_its_neighbours_stay() -> None:
    async with TestBackend(board.app) as t, served(t) as server, server.socket() as socket:
        await t.mutation("board:fill", count=25)
        first, second, _ = await pages(server, 10, 10, 10)
        cursors = (None, first["continueCursor"], second["continueCursor"])
        await socket.subscribe(*((id, "board:page", opts(10, cursor)) for id, cursor in enumerate(cursors)))
        before = dict(socket.values)
        await t.mutation("board:remove", low=100, high=200)
        await settle()
        assert socket.values[1]["page"] == []
        assert socket.values[1]["continueCursor"] == before[1]["continueCursor"]
        assert (socket.values[0], socket.values[2]) == (before[0], before[2])
        await t.mutation("board:add", n=150)
        await settle()
        assert [socket.values[id]["page"] for id in range(3)] == [tens(0, 100), [150.0], tens(200, 250)]


async def test_087_a_cursor_of_another_query_is_refused_in_the_clients_words() -> None:
    """The original compares filters too. Here a filter is a Python function, and one cannot be told from another."""
    async with TestBackend(board.app) as t, served(t) as server:
        await t.mutation("board:fill", count=25)
        cursor = (await pages(server, 10))[0]["continueCursor"]
        for other in ({"descending": True}, {"low": 10.0}):
            refused = await server.call("query", "board:page", {**opts(10, cursor), **other})
            assert refused["errorData"] == {"isConvexSystemError": True, "paginationError": "InvalidCursor"}
        refused = await server.call("query", "board:page", opts(10, "garbage"))
        assert refused["errorData"] == {"isConvexSystemError": True, "paginationError": "InvalidCursor"}
        filtered = await server.value("query", "board:page", {**opts(10, cursor), "texts": ["none"]})
        assert (filtered["page"], filtered["isDone"]) == ([], True)


async def test_088_a_filter_that_matches_nothing_gives_an_empty_page_that_is_done() -> None:
    async with TestBackend(board.app) as t, served(t) as server:
        await t.mutation("board:fill", count=100)
        found = await server.value("query", "board:page", {**opts(10), "texts": []})
        assert (found["page"], found["isDone"]) == ([], True)


async def test_089_a_function_reads_as_many_pages_as_it_likes() -> None:
    """The original allows one paginated query in a function (weakness 5). Here each keeps its own bounds."""
    async with TestBackend(board.app) as t, served(t) as server, server.socket() as socket:
        await t.mutation("board:fill", count=10)
        two = {"numItems": 2.0, "cursor": None}
        await socket.subscribe((0, "board:two_pages", {"first": two, "second": two}))
        for n, front, back in ((None, [0, 10], [90, 80]), (5, [0, 5, 10], [90, 80]), (85, [0, 5, 10], [90, 85, 80])):
            if n is not None:
                await t.mutation("board:add", n=n)
                await settle()
            assert socket.values == {0: [front, back]}
        runs = t.query_runs
        await t.mutation("board:add", n=50)
        await settle()
        assert t.query_runs == runs


async def test_090_all_queries_of_a_client_move_together() -> None:
    async with TestBackend(board.app) as t, served(t) as server, server.socket() as socket:
        await socket.subscribe((0, "board:numbers", {}), (1, "board:total", {}))
        told = len(socket.transitions)
        for n in (1, 2, 3):
            await t.mutation("board:add", n=n)
            await settle()
        new = [{change["queryId"]: change["value"] for change in transition["modifications"]} for transition in socket.transitions[told:]]
        assert new == [{0: [1.0], 1: 1.0}, {0: [1.0, 2.0], 1: 3.0}, {0: [1.0, 2.0, 3.0], 1: 6.0}]


async def test_091_a_write_elsewhere_runs_nothing_and_an_unchanged_result_is_not_sent() -> None:
    async with TestBackend(board.app) as t, served(t) as server, server.socket() as socket:
        id = await t.mutation("board:add", n=5)
        await socket.subscribe((0, "board:numbers", {"low": 0.0, "high": 10.0}))
        runs, told = t.query_runs, len(socket.transitions)
        await t.mutation("board:add", n=10)
        await settle()
        assert t.query_runs == runs
        await t.mutation("board:edit", id=id, text="not shown")
        await settle()
        assert t.query_runs == runs + 1
        assert [change for transition in socket.transitions[told:] for change in transition["modifications"]] == []
        assert socket.values == {0: [5.0]}


async def test_092_a_query_that_failed_gives_its_value_when_it_no_longer_fails() -> None:
    async with TestBackend(board.app) as t, served(t) as server, server.socket() as socket:
        await t.mutation("board:add", n=1)
        await t.mutation("board:add", n=1)
        await t.mutation("board:add", n=2)
        await socket.subscribe((0, "board:no_doubles", {}))
        assert socket.transitions[-1]["modifications"][0]["errorData"] == {"double": 1.0}
        await t.mutation("board:remove", low=1, high=2)
        await settle()
        assert socket.values == {0: [2.0]}


@pytest.mark.one_isolation("inline", "the app's own functions: a component is told no identity")
async def test_093_users_share_what_does_not_depend_on_who_they_are() -> None:
    app = Component("app")

    @app.query
    async def same_for_all(ctx: QueryCtx) -> int:
        return await ctx.db.query("notes").count()

    @app.query
    async def who(ctx: QueryCtx) -> str | None:
        identity = await ctx.auth.identity()
        return None if identity is None else identity.subject

    @app.query
    async def who_by_a_callee(ctx: QueryCtx) -> Any:
        return await ctx.run_query(who)

    async with TestBackend(app) as t:
        ada, bob = t.with_identity(subject="ada"), t.with_identity(subject="bob")
        for function, runs, seen in (
            ("same_for_all", 1, [0, 0, 0, 0]),
            ("who", 2, ["ada", "bob", "ada", "bob"]),
            ("who_by_a_callee", 2, ["ada", "bob", "ada", "bob"]),
        ):
            before = t.query_runs
            assert [await user.query(function) for user in (ada, bob, ada, bob)] == seen
            assert t.query_runs - before == runs


async def test_094_whoever_read_a_table_that_was_not_there_is_told_when_it_is() -> None:
    @placed
    def app() -> Component:
        app = Component("app")

        @app.query
        async def count(ctx: QueryCtx) -> int:
            return await ctx.db.query("made_later").count()

        return app

    async with TestBackend(app) as t:
        counts = t.subscribe("count")
        assert await anext(counts) == 0
        await t.run(lambda ctx: ctx.db.insert("made_later", {}))
        assert await anext(counts) == 1


async def test_095_a_changed_variable_reaches_those_who_watch_with_the_reload_that_takes_it_over() -> None:
    """In the original variables are settings of the deployment; here they are those of the process that serves."""

    @placed
    def app() -> Component:
        app = Component("app", schema=Schema(notes=Table({"n": int})), env={"COLOUR": str})

        @app.query
        async def colour(ctx: QueryCtx) -> Any:
            return ctx.env["COLOUR"]

        @app.mutation
        async def colour_now(ctx: MutationCtx) -> Any:
            return ctx.env["COLOUR"]

        return app

    env = {"COLOUR": "red"}
    async with TestBackend(app, env=env) as t:
        colours = t.subscribe("colour")
        assert await anext(colours) == "red"
        env["COLOUR"] = "blue"
        assert await t.mutation("colour_now") == "blue"
        await (await t.opened()).reload()
        assert await anext(colours) == "blue"
