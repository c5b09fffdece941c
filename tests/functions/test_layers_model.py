"""Random programs of nested calls against nested dicts: a call that fails leaves nothing, one that is caught harms nobody else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.placed import placed

from interlock import AppError, Change, Component, MutationCtx, Schema, Table, components

from .rooms import running

KEYS = "abc"
LEAF = st.one_of(
    st.tuples(st.just("set"), st.sampled_from(KEYS), st.integers(0, 9)),
    st.tuples(st.just("add"), st.sampled_from(KEYS), st.integers(1, 9)),
    st.tuples(st.just("delete"), st.sampled_from(KEYS)),
    st.tuples(st.just("fail")),
    st.tuples(st.just("pause")),
)
STEP = st.recursive(
    LEAF,
    lambda step: st.one_of(
        st.tuples(st.sampled_from(["call", "try", "try other", "gather"]), st.lists(step, max_size=4)),
    ),
    max_leaves=14,
)


class Failed(Exception):
    pass


def in_model(program: Any, state: dict[str, dict[str, int]], where: str) -> None:
    """The same program on dicts. A call works on a copy; what it made replaces the original when it has succeeded."""
    for step in program:
        mine = state[where]
        match step:
            case ("set", key, n):
                _check(n)
                mine[key] = n
            case ("add", key, n):
                if key in mine:
                    _check(mine[key] + n)
                    mine[key] += n
            case ("delete", key):
                mine.pop(key, None)
            case ("fail",):
                raise Failed
            case ("pause",):
                pass
            case ("call", inner):
                _in_layer(inner, state, where)
            case ("gather", inner):
                failures = 0
                for one in inner:
                    try:
                        _in_layer([one], state, where)
                    except Failed:
                        failures += 1
            case ("try" | "try other", inner):
                try:
                    _in_layer(inner, state, where if step[0] == "try" else "other")
                except Failed:
                    pass


def _in_layer(program: Any, state: dict[str, dict[str, int]], where: str) -> None:
    copy = {name: dict(table) for name, table in state.items()}
    in_model(program, copy, where)
    state.update(copy)


def _check(n: int) -> None:
    if n == 7:  # the trigger refuses it
        raise Failed


def interpreter(name: str) -> Component:
    made = Component(name, schema=Schema(rows=Table({"key": str, "n": int}).index("by_key", "key"), log=Table({"key": str})))

    @made.trigger("rows")
    async def check(ctx: MutationCtx, change: Change) -> None:
        await ctx.db.insert("log", {"key": change.kind})
        if change.new is not None and change.new["n"] == 7:
            raise AppError("seven")

    @made.mutation
    async def run(ctx: MutationCtx, program: list[Any], depth: int) -> None:
        for step in program:
            match step:
                case ["set", key, n]:
                    row = await ctx.db.query("rows").index("by_key", key=key).first()
                    if row is None:
                        await ctx.db.insert("rows", {"key": key, "n": n})
                    else:
                        await ctx.db.patch(row["_id"], {"n": n})
                case ["add", key, n]:
                    row = await ctx.db.query("rows").index("by_key", key=key).first()
                    if row is not None:
                        await ctx.db.replace(row["_id"], {"key": key, "n": row["n"] + n})
                case ["delete", key]:
                    row = await ctx.db.query("rows").index("by_key", key=key).first()
                    if row is not None:
                        await ctx.db.delete(row["_id"])
                case ["fail"]:
                    raise AppError("fail")
                case ["pause"]:
                    await asyncio.sleep(0)
                case ["call", inner]:
                    await ctx.run_mutation("run", program=inner, depth=depth + 1)
                case ["gather", inner]:
                    calls = (ctx.run_mutation("run", program=[one], depth=depth + 1) for one in inner)
                    await asyncio.gather(*calls, return_exceptions=True)
                case ["try", inner]:
                    try:
                        await ctx.run_mutation("run", program=inner, depth=depth + 1)
                    except AppError:
                        pass
                case ["try other", inner]:
                    target = components.other.run if not ctx.function.component_path else "run"
                    try:
                        await ctx.run_mutation(target, program=inner, depth=depth + 1)
                    except AppError:
                        pass

    return made


def depth_of(program: Any) -> int:
    return max((1 + depth_of(step[1]) for step in program if len(step) == 2 and isinstance(step[1], list)), default=0)


OTHER = placed(interpreter, "other")


@pytest.mark.usefixtures("both_isolations")
@settings(max_examples=150, deadline=None)
@given(st.lists(STEP, max_size=5))
def test_any_program_of_nested_calls_leaves_what_its_model_leaves(program: Any) -> None:
    if depth_of(program) > 6:  # deeper is refused, which is another test's
        return
    state: dict[str, dict[str, int]] = {"": {}, "other": {}}
    failed = False
    try:
        _in_layer(program, state, "")
    except Failed:
        failed = True

    async def history() -> None:
        app = interpreter("app")
        app.use(OTHER, isolation="inline")
        async with running(app) as rooms:
            try:
                await rooms.mutation("run", program=program, depth=0)
                assert not failed
            except AppError:
                assert failed
            for where, table in state.items():
                assert {row["key"]: row["n"] for row in await rooms.rows("rows", where)} == table

    asyncio.run(history())
