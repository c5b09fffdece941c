"""Random programs of a component, run inline and sandboxed: the same results, errors, data and jobs, whatever they do.

A program is data, a list of operations that a function of the component goes through. What each of them gave, or was refused with, is
its result.
"""

from __future__ import annotations

import asyncio
import re
from functools import cache
from typing import Any, NotRequired

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.placed import placed

from interlock import UNSET, AppError, Component, Int64, Job, MutationCtx, PaginationOptions, QueryCtx, Range, Schema, Table
from interlock.sdk.declarations import Isolation
from interlock.testing import TestBackend

Json = dict[str, Any]
_ID = re.compile(r"\b[0-9a-z]{31,37}\b")


def programs() -> Component:
    made = Component(
        "programs",
        schema=Schema(
            typed=Table({"n": float, "text": str | None}).index("by_n", "n").index("by_text", "text", "n"),
            loose=Table({"a": NotRequired[Any], "b": NotRequired[Any], "c": NotRequired[Any]}).index("by_a", "a").index("by_a_b", "a", "b"),
        ),
    )

    def real(value: Any, ids: list[str]) -> Any:
        """A value of a program, with what no argument can be."""
        if isinstance(value, list):
            return [real(item, ids) for item in value]
        if not isinstance(value, dict):
            return value
        if value.keys() != {"odd", "of"}:
            return {name: real(item, ids) for name, item in value.items()}
        odd, of = value["odd"], value["of"]
        if odd == "id":
            return ids[int(of) % len(ids)] if ids else "no id"
        return {
            "unset": UNSET,
            "int64": Int64(7),
            "tuple": (1, "two"),
            "set": {1},
            "large": 2**70,
            "object": object,
            "key": {1: 2},
            "tuple as a key": {(1, "two"): 3},
            "frozenset": [frozenset({1}), {frozenset({2}): 3}],
            "surrogate": "\ud800",
            "no name": {"$a": 1},
            "awaitable": QueryCtx,
        }[odd]

    def told(job: Job) -> list[Any]:
        """Without the lines of the framework that an error has passed: those differ."""
        error = job.error and job.error.partition("\n    at ")[0]
        return [job.id, job.state, job.name, job.args, job.scheduled_time, error]

    async def operate(ctx: Any, operation: list[Any], ids: list[str]) -> Any:
        name, *given = operation
        given = real(given, ids)
        if name == "insert":
            ids.append(await ctx.db.insert(*given))
            return ids[-1]
        if name in ("get", "get_many", "patch", "replace", "delete"):
            return await getattr(ctx.db, name)(*given)
        if name == "normalize_id":
            return await ctx.db.normalize_id(*given)
        if name == "query":
            table, index, equal, bounds, order, keep, (end, count) = given
            rows = ctx.db.query(table)
            if index is not None:
                if bounds is not None:
                    equal = {**equal, bounds[0]: Range(**bounds[1])}
                rows = rows.index(index, equal)
            if order is not None:
                rows = rows.order(order)
            if keep is not None:
                rows = rows.filter(lambda row: row.get(keep) is not None)
            if end == "take":
                return await rows.take(count)
            if end == "each":
                seen = []
                async for row in rows:
                    seen.append(row)
                    if len(seen) > count:
                        break
                return seen
            if end == "paginate":
                first = await rows.paginate(PaginationOptions(count))
                second = await rows.paginate(PaginationOptions(count, first.continue_cursor))
                return [[page.page, page.is_done] for page in (first, second)]
            return await getattr(rows, end)()
        if name == "call":
            kind = given[0]
            return await getattr(ctx, f"run_{kind}")(kind, program=operation[2], ids=ids)
        if name == "direct":
            return await run(ctx, operation[1], ids)
        if name == "gather":
            return await asyncio.gather(*(attempt(ctx, one, list(ids)) for one in operation[1]))
        if name == "raise":
            raise AppError(given[0])
        if name == "break":
            raise ValueError(given[0])
        if name == "return":
            return given[0]
        if name == "after":
            ids.append(await ctx.scheduler.run_after(given[0], "mutation", program=operation[2], ids=[]))
            return ids[-1]
        if name == "cancel":
            return await ctx.scheduler.cancel(*given)
        if name == "jobs":
            found = await ctx.scheduler.list(*given)
            return [told(job) for job in found]
        if name == "job":
            found = await ctx.scheduler.get(*given)
            return found and found.state
        if name == "now":
            return ctx.now()
        if name == "drawn":
            return [0 <= ctx.random.random() < 1, ctx.uuid4().version, len(ctx.transaction) >= 16]
        if name == "used":
            return dict(ctx.metrics().used)
        raise KeyError(name)

    async def attempt(ctx: Any, operation: list[Any], ids: list[str]) -> Any:
        try:
            return ["ok", await operate(ctx, operation, ids)]
        except Exception as error:
            return [type(error).__name__, error.data if isinstance(error, AppError) else str(error)]

    async def run(ctx: Any, program: list[Any], ids: list[str]) -> Any:
        results = []
        for is_caught, operation in program:
            results.append(await attempt(ctx, operation, ids) if is_caught else await operate(ctx, operation, ids))
        return results

    @made.mutation
    async def mutation(ctx: MutationCtx, program: list[Any], ids: list[Any]) -> Any:
        return await run(ctx, program, ids)

    @made.query
    async def query(ctx: QueryCtx, program: list[Any], ids: list[Any]) -> Any:
        return await run(ctx, program, ids)

    @made.query
    async def everything(ctx: QueryCtx) -> Any:
        tables = [await ctx.db.query(table).collect() for table in ("typed", "loose")]
        return [*tables, [told(job) for job in await ctx.scheduler.list()]]

    return made


_texts = st.sampled_from(["", "a", "ä", "\U0001f600", "a\x00b", "\u2028", "long" * 20, "-0", "id"])
_plain: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([2**53 + 1, -(2**63), 2**63 - 1]),
    st.sampled_from([0.0, -0.0, 1.5, float("nan"), float("inf"), -float("inf"), 1e308, 5e-324]),
    _texts,
    st.sampled_from([b"", b"\x00\xff"]),
)


def _odd(*kinds: str) -> st.SearchStrategy[Any]:
    return st.builds(lambda odd: {"odd": odd, "of": 0}, st.sampled_from(kinds))


_ids = st.builds(lambda of: {"odd": "id", "of": of}, st.integers(0, 3))
_ODD = ("unset", "int64", "tuple", "set", "large", "object", "key", "tuple as a key", "frozenset", "surrogate", "no name", "awaitable")
_values = st.recursive(
    st.one_of(_plain, _plain, _ids, _odd(*_ODD)),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.sampled_from(["a", "b", "c d", "ü"]), inner, max_size=2)),
    max_leaves=4,
)
_typed = st.fixed_dictionaries({"n": st.one_of(st.integers(-2, 2), _plain)}, optional={"text": st.one_of(_texts, _values), "more": _values})
_loose = st.dictionaries(st.sampled_from(["a", "b", "c"]), _values, max_size=3)
_tables = st.sampled_from(["other", "_x", "no name"])
_documents = st.one_of(
    st.tuples(st.just("typed"), _typed),
    st.tuples(st.just("loose"), _loose),
    st.tuples(_tables, _values),
)
_indexes = st.sampled_from(
    [("typed", "by_n", "n"), ("typed", "by_text", "text"), ("loose", "by_a", "a"), ("loose", "by_a_b", "a"), ("typed", "by_none", "n")]
)
_ends = st.tuples(
    st.sampled_from(["take", "collect", "first", "unique", "count", "each", "paginate"]), st.one_of(st.integers(0, 3), st.integers(-1, 3))
)
_bounds = st.dictionaries(st.sampled_from(["gt", "gte", "lt", "lte"]), st.one_of(st.integers(-2, 2), _values), max_size=2)


@st.composite
def _queries(draw: st.DrawFn) -> list[Any]:
    table, index, field = draw(_indexes)
    by_index = draw(st.booleans())
    equal: Json = {}
    bounds: Any = None
    if by_index and draw(st.booleans()):
        equal = {field: draw(st.one_of(st.integers(-2, 2), _values))}
    elif by_index and draw(st.booleans()):
        bounds = [field, draw(_bounds)]
    order, keep = draw(st.sampled_from([None, "asc", "desc", "up"])), draw(st.sampled_from([None, None, "a", "text"]))
    return ["query", table, index if by_index else None, equal, bounds, order, keep, list(draw(_ends))]


_reads = st.one_of(
    _queries(),
    _queries(),
    st.tuples(st.just("get"), st.one_of(_ids, _ids, _values)),
    st.tuples(st.just("get_many"), st.one_of(st.lists(st.one_of(_ids, _ids, _values), max_size=4), _values)),
    st.tuples(st.just("normalize_id"), st.sampled_from(["typed", "loose", "none"]), st.one_of(_ids, _values)),
    st.tuples(st.just("return"), _values),
    st.sampled_from([("now",), ("drawn",), ("used",), ("jobs", None), ("jobs", "pending"), ("jobs", "odd")]),
    st.tuples(st.just("job"), st.one_of(_ids, _values)),
)
_writes = st.one_of(
    st.builds(lambda given: ("insert", *given), _documents),
    st.builds(lambda given: ("insert", *given), _documents),
    st.tuples(st.just("patch"), _ids, st.one_of(_typed, _loose, _values)),
    st.tuples(st.just("replace"), _ids, st.one_of(_typed, _loose, _values)),
    st.tuples(st.just("delete"), st.one_of(_ids, _ids, _values)),
    st.tuples(st.just("raise"), _values.filter(lambda value: "tuple" not in repr(value))),  # data of an error is made lists when it crosses
    st.tuples(st.just("break"), _texts.filter(str.isprintable)),  # what moves a cursor is shown by its number
    st.tuples(st.just("cancel"), st.one_of(_ids, _values)),
)
_simple = st.one_of(_reads, _writes, _writes)


def _program(operations: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    caught = st.sampled_from([True, True, True, True, False])
    return st.lists(st.tuples(caught, operations), max_size=6)


_operations = st.recursive(
    _simple,
    lambda inner: st.one_of(
        inner,
        st.tuples(st.just("call"), st.sampled_from(["mutation", "mutation", "query"]), _program(inner)),
        st.tuples(st.just("direct"), _program(inner)),
        st.tuples(st.just("gather"), st.lists(inner, max_size=4)),
        st.tuples(st.just("after"), st.sampled_from([0, 1, 5.5, -1, 1e12]), _program(inner)),
    ),
    max_leaves=8,
)


def _listed(value: Any) -> Any:
    """Programs as arguments: lists where there were tuples."""
    if isinstance(value, list | tuple):
        return [_listed(item) for item in value]
    return {name: _listed(item) for name, item in value.items()} if isinstance(value, dict) else value


def _sorted(value: Any) -> Any:
    """The fields of an object have no order: a worker is given them by name."""
    if isinstance(value, list):
        return [_sorted(item) for item in value]
    return {name: _sorted(value[name]) for name in sorted(value)} if isinstance(value, dict) else value


async def outcomes(component: Component, programs: list[list[Any]], isolation: Isolation) -> list[str]:
    """What each program gave or was refused with, then the data and the jobs when these have run; ids by when they came."""
    seen: dict[str, int] = {}

    def shown(value: Any) -> str:
        return _ID.sub(lambda found: f"id {seen.setdefault(found[0], len(seen))}", repr(_sorted(value)))

    told = []
    async with TestBackend(component, isolation=isolation) as backend:
        for program in programs:
            try:
                told.append(shown(await backend.mutation("mutation", program=program, ids=[])))
            except Exception as error:
                told.append(shown([type(error).__name__, error.data if isinstance(error, AppError) else str(error)]))
            await backend.advance(10)
            told.append(shown(await backend.query("everything")))
    return told


@cache
def _component() -> Component:
    return placed(programs)


@settings(max_examples=25)
@given(given=st.lists(_program(_operations), min_size=1, max_size=3))
async def test_a_program_does_the_same_inline_and_sandboxed(given: list[Any]) -> None:
    component = _component()
    wanted = _listed(given)
    assert await outcomes(component, wanted, "sandbox") == await outcomes(component, wanted, "inline")
