"""Random programs under triggers of one change, under triggers of lists, and on nested dicts: all three leave the same."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.placed import placed

from interlock import AppError, Change, Component, MutationCtx, Schema, Table

from .rooms import running

TABLES = ("a", "b")
KEYS = "xy"
REFUSED = 7  # by the triggers
WRITE = st.one_of(
    st.tuples(st.just("set"), st.sampled_from(TABLES), st.sampled_from(KEYS), st.integers(0, REFUSED)),
    st.tuples(st.just("delete"), st.sampled_from(TABLES), st.sampled_from(KEYS)),
)
STEP = st.recursive(
    st.one_of(WRITE, WRITE, st.tuples(st.just("look")), st.tuples(st.just("fail")), st.tuples(st.just("pause"))),
    lambda step: st.tuples(st.sampled_from(["call", "try"]), st.lists(step, max_size=5)),
    max_leaves=20,
)


class Failed(Exception):
    pass


State = dict[str, dict[str, int]]
Log = list[tuple[str, str, int | None, int | None]]


def in_model(program: Any, state: State, log: Log) -> None:
    """The program on dicts: a call works on copies, which take the place of the originals when it has succeeded."""
    for step in program:
        match step:
            case ("set", table, key, n):
                if n == REFUSED:
                    raise Failed
                if state[table].get(key) != n:
                    log.append((table, key, state[table].get(key), n))
                state[table][key] = n
            case ("delete", table, key):
                if key in state[table]:
                    log.append((table, key, state[table].pop(key), None))
            case ("fail",):
                raise Failed
            case ("call", inner):
                in_layer(inner, state, log)
            case ("try", inner):
                try:
                    in_layer(inner, state, log)
                except Failed:
                    pass


def in_layer(program: Any, state: State, log: Log) -> None:
    copy, logged = {name: dict(table) for name, table in state.items()}, list(log)
    in_model(program, copy, logged)
    state.update(copy)
    log[:] = logged


def interpreter(takes_lists: bool) -> Component:
    """Runs programs. Its triggers keep a copy of each table, a log of what they were told, and refuse a number."""
    table = Table({"key": str, "n": int}).index("by_key", "key")
    made = Component("app", schema=Schema(a=table, b=table, copy_a=table, copy_b=table, log=Table({"told": list[Any]})))

    def follow(table: str) -> None:
        async def one(ctx: MutationCtx, change: Change) -> None:
            old, new = change.old, change.new
            key = (old or new or {})["key"]
            copied = await ctx.db.query(f"copy_{table}").index("by_key", key=key).first()
            assert (copied or {}).get("n") == (old or {}).get("n"), "each change goes on from the one before"
            if new is not None and new["n"] == REFUSED:
                raise AppError("refused")
            if copied is None:
                await ctx.db.insert(f"copy_{table}", {"key": key, "n": (new or {})["n"]})
            elif new is None:
                await ctx.db.delete(copied["_id"])
            else:
                await ctx.db.patch(copied["_id"], {"n": new["n"]})
            await ctx.db.insert("log", {"told": [table, key, old and old["n"], new and new["n"]]})

        async def many(ctx: MutationCtx, changes: list[Change]) -> None:
            for change in changes:
                await one(ctx, change)

        if takes_lists:
            made.trigger(table)(many)
        else:
            made.trigger(table)(one)

    for name in ("a", "b"):
        follow(name)

    @made.mutation
    async def run(ctx: MutationCtx, program: list[Any], ids: dict[str, str]) -> dict[str, str]:
        """`ids` are the documents there are: so nothing has to be read before a write. Gives those that there are now."""
        for step in program:
            match step:
                case ["set", table, key, n]:
                    id = ids.get(table + key)
                    if id is None:
                        ids[table + key] = await ctx.db.insert(table, {"key": key, "n": n})
                    else:
                        await ctx.db.patch(id, {"n": n})
                case ["delete", table, key]:
                    if table + key in ids:
                        await ctx.db.delete(ids.pop(table + key))
                case ["look"]:
                    for table in ("a", "b"):
                        copies = {row["key"]: row["n"] async for row in ctx.db.query(f"copy_{table}")}
                        assert copies == {row["key"]: row["n"] async for row in ctx.db.query(table)}
                case ["fail"]:
                    raise AppError("fail")
                case ["pause"]:
                    await asyncio.sleep(0)
                case ["call", inner]:
                    ids = await ctx.run_mutation("run", program=inner, ids=ids)
                case ["try", inner]:
                    try:
                        ids = await ctx.run_mutation("run", program=inner, ids=ids)
                    except AppError:
                        pass
        return ids

    return made


def depth_of(program: Any) -> int:
    return max((1 + depth_of(step[1]) for step in program if len(step) == 2), default=0)


KINDS = {takes_lists: placed(interpreter, takes_lists) for takes_lists in (False, True)}


@pytest.mark.usefixtures("both_isolations")
@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(STEP, max_size=8), min_size=1, max_size=2))
@example([[("set", "a", "x", 1), ("set", "b", "x", 1), ("set", "a", "x", 2), ("try", [("set", "a", "x", 3), ("fail",)]), ("look",)]])
@example([[("try", [("set", "a", "x", 7), ("set", "a", "x", 1)]), ("set", "a", "x", 2), ("delete", "a", "x"), ("set", "a", "x", 4)]])
def test_lists_tell_what_single_changes_tell(programs: list[Any]) -> None:
    if max(map(depth_of, programs)) > 6:  # deeper is refused, which is another test's
        return
    state: State = {table: {} for table in TABLES}
    log: Log = []
    fails = []
    for program in programs:
        try:
            in_layer(program, state, log)
            fails.append(False)
        except Failed:
            fails.append(True)

    async def history(takes_lists: bool) -> Log:
        async with running(KINDS[takes_lists]) as rooms:
            ids: dict[str, str] = {}
            for program, fails_here in zip(programs, fails, strict=True):
                try:
                    ids = await rooms.mutation("run", program=program, ids=ids)
                    assert not fails_here
                except AppError:
                    assert fails_here
            for table in TABLES:
                for name in (table, f"copy_{table}"):
                    assert {row["key"]: row["n"] for row in await rooms.rows(name)} == state[table]
            return [tuple(row["told"]) for row in await rooms.rows("log")]

    assert asyncio.run(history(False)) == log
    told = asyncio.run(history(True))
    for table in TABLES:  # in a list there is one table
        assert [line for line in told if line[0] == table] == [line for line in log if line[0] == table]
