"""Calls that come again and again, whose answers are kept and whose next runs ahead: all comes out as inline, and as the seed says."""

from __future__ import annotations

import asyncio
import re
from functools import cache, partial
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.placed import replaced

from interlock import App, AppError, Component, LimitExceeded, Limits, MutationCtx, components
from interlock.functions.caller import Caller, log_lines_of
from interlock.functions.sandboxed import SandboxRunner
from interlock.sdk.declarations import Isolation
from interlock.testing import TestBackend

from .repeated import HOWS, component

_ID = re.compile(r"\b[0-9a-z]{31,37}\b")
_LOOKS_MAX, _PATIENCE_S = 10_000_000, 60.0
_COUNTED = ("documents_read", "documents_written", "functions_scheduled")
Call = tuple[str, str, dict[str, Any]]
Wait = bool | None
"""For the next call that is foreseen: until it has run, until it is on its way, or not at all."""

_names = st.sampled_from("ab")
_named = st.fixed_dictionaries({"name": _names})
_bumps = st.tuples(st.just("mutation"), st.just("bump_and"), st.fixed_dictionaries({"name": _names, "how": st.sampled_from(HOWS)}))
_queries = st.tuples(
    st.just("query"), st.sampled_from(["get", "get_twice", "refuse_odd", "look_if_odd", "ask_below", "page", "top"]), _named
)
_ranges = st.tuples(st.just("mutation"), st.just("bump_range"), st.fixed_dictionaries({"low": st.sampled_from([0.0, 1.0, 2.0])}))
_draws = st.tuples(st.just("mutation"), st.just("draw_and"), st.fixed_dictionaries({"name": _names, "how": st.sampled_from(HOWS)}))
_EDIT: Any = ("edit", "a", "set")
_BUMPED: Any = ("again", ("mutation", "bump_and", {"name": "a", "how": "log"}), 1)
_READ: Any = ("again", ("query", "get", {"name": "a"}), 1)
"""One after the other these come to a worker that remembers what it read long ago, logs what is not so, and runs again."""
_edits = st.tuples(st.just("edit"), _names, st.sampled_from(["set", "delete", "insert"]))


def _plans(calls: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    within = st.lists(st.tuples(calls, st.booleans()), min_size=1, max_size=4)
    return st.lists(
        st.one_of(
            st.tuples(st.just("again"), calls, st.integers(1, 5)),
            st.tuples(st.just("again"), calls, st.integers(1, 5)),
            st.tuples(st.just("in turn"), within, st.booleans()),
            st.tuples(st.just("gathered"), within, st.booleans()),
            _edits,
            st.tuples(st.just("advance"), st.sampled_from([0.5, 2.0]), st.none()),
        ),
        min_size=1,
        max_size=8,
    )


@cache
def _component() -> Component:
    return replaced(component)


async def _called(ctx: Any, call: Call, is_stale: bool) -> Any:
    kind, name, args = call
    function = components.repeated[name]
    try:
        if kind == "mutation":
            return await ctx.run_mutation(function, **args)
        return await ctx.run_query(function.options(stale=True) if is_stale else function, **args)
    except AppError as error:
        return ["refused", error.data]


async def _within(ctx: MutationCtx, how: str, calls: list[tuple[Call, bool]], fails: bool) -> Any:
    """What they gave, with what had been used by then."""
    told: list[Any] = []
    if how == "gathered":
        told.append(await asyncio.gather(*[_called(ctx, call, is_stale) for call, is_stale in calls]))
    for call, is_stale in calls if how == "in turn" else ():
        told += [await _called(ctx, call, is_stale), [ctx.metrics().used[name] for name in _COUNTED]]
    told.append([ctx.metrics().used[name] for name in _COUNTED])
    if fails:
        raise AppError(told)
    return told


async def _edited(ctx: MutationCtx, name: str, how: str) -> None:
    row = await ctx.db.query("counts").index("by_name", name=name).first()
    if row is None or how == "insert":
        await ctx.db.insert("counts", {"name": name, "value": 20, "rest": 2, "at": None})
    elif how == "set":
        await ctx.db.patch(row["_id"], {"value": row["value"] + 5})
    else:
        await ctx.db.delete(row["_id"])


async def _settle(app: TestBackend, wait: Wait) -> None:
    runner = (await app.opened()).dispatcher.directory.scopes["repeated"].runner
    if wait is None or not isinstance(runner, SandboxRunner):
        return
    for _ in range(_LOOKS_MAX):
        await asyncio.sleep(0)
        ahead = runner._foresight._next
        if ahead is None or ahead.is_over or not wait:
            return
    raise AssertionError("it never ended")


async def outcomes(
    plan: list[Any], isolation: Isolation, *, wait: Wait = None, workers: int = 1, limits: Limits | None = None, seed: int = 0
) -> list[str]:
    """What each call gave or was refused with, with its log lines; and the data after each step, ids by when they came."""
    seen: dict[str, int] = {}

    def shown(value: Any) -> str:
        return _ID.sub(lambda found: f"id {seen.setdefault(found[0], len(seen))}", repr(value))

    made = App()
    made.use(_component(), name="repeated", workers=workers, limits=limits, env={"UNIT": "euro"})
    told = []
    async with asyncio.timeout(_PATIENCE_S), TestBackend(made, isolation=isolation, seed=seed) as app:
        dispatcher = (await app.opened()).dispatcher

        async def tell(asked: Any) -> None:
            try:
                answer = await asked
                told.append(shown([answer.value, answer.log_lines]))
            except Exception as error:
                told.append(shown([type(error).__name__, error.data if isinstance(error, AppError) else str(error), log_lines_of(error)]))

        for what, given, more in plan:
            if what == "again":
                kind, name, args = given
                for _ in range(more):
                    caller = Caller(admin=True, source="test")
                    await tell(dispatcher.call(kind, name, args, caller=caller, component_path="repeated"))
                    await _settle(app, wait)
            elif what == "edit":
                await app.run(partial(_edited, name=given, how=more), component="repeated")
            elif what == "advance":
                await app.advance(given)
            else:
                await tell(dispatcher.run(partial(_within, how=what, calls=given, fails=more), caller=Caller(source="test")))
            try:
                told.append(shown(await app.component("repeated").query("everything")))
            except LimitExceeded as error:  # by now there is more than its mount may read
                told.append(shown(str(error)))
    return told


@settings(max_examples=30)
@given(
    plan=_plans(st.one_of(_bumps, _bumps, _queries, _ranges)),
    wait=st.sampled_from([None, True, False]),
    workers=st.sampled_from([1, 1, 2, 3]),
    limits=st.sampled_from([None, None, Limits(documents_read=5), Limits(documents_written=2), Limits(logs=1)]),
)
@example(plan=[_EDIT, _BUMPED, _BUMPED, _BUMPED, _READ, _BUMPED, _BUMPED], wait=None, workers=3, limits=Limits(logs=1))
async def test_calls_that_repeat_do_the_same_inline_and_sandboxed(plan: list[Any], wait: Wait, workers: int, limits: Limits | None) -> None:
    expected = await outcomes(plan, "inline", limits=limits)
    assert await outcomes(plan, "process", wait=wait, workers=workers, limits=limits) == expected


@settings(max_examples=20)
@given(plan=_plans(st.one_of(_draws, _queries)), waits=st.lists(st.sampled_from([None, True, False]), min_size=2, max_size=2, unique=True))
async def test_the_same_seed_does_the_same_whatever_has_run_by_then(plan: list[Any], waits: list[Wait]) -> None:
    first, second = [await outcomes(plan, "process", wait=wait, seed=7) for wait in waits]
    assert first == second


async def test_what_is_made_while_it_runs_draws_what_it_would_have_drawn_otherwise() -> None:
    """It comes to call itself, which a call that nobody has made yet may not."""
    plan = [("again", ("mutation", "draw_and", {"name": "a", "how": "call-handle"}), 12)]
    found = [await outcomes(plan, "process", wait=wait, seed=7) for wait in (True, False, None)]
    assert found[0] == found[1] == found[2]
