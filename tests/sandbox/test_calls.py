"""What functions of an isolated component can do: all that they can do inline, with the same results and the same errors."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from interlock import (
    AppError,
    ArgumentError,
    FunctionAborted,
    FunctionNotFound,
    Int64,
    InterlockError,
    LimitExceeded,
    MutationCtx,
    QueryCtx,
    QueryError,
    ReturnError,
    SchemaError,
    components,
)
from interlock.sandbox.failures import make, tell
from interlock.testing import TestBackend

from .installed import inline_ledger

ledger = components.ledger


async def test_writes_of_a_component_commit_with_those_of_the_app(app: TestBackend) -> None:
    async def both(ctx: MutationCtx) -> Any:
        await ctx.db.insert("own", {"n": 1})
        await ctx.run_mutation(ledger.write, n=1, text="one")
        return await ctx.run_query(ledger.all_entries)

    assert await app.mutation(both) == [[1, "one"]]

    async def fails(ctx: MutationCtx) -> None:
        await ctx.db.insert("own", {"n": 2})
        await ctx.run_mutation(ledger.write, n=2, text="two")
        raise AppError("no")

    with pytest.raises(AppError):
        await app.mutation(fails)
    assert await app.component("ledger").query("all_entries") == [[1, "one"]]
    assert await app.query(_count_own) == 1


async def _count_own(ctx: QueryCtx) -> int:
    return await ctx.db.query("own").count()


async def test_a_call_that_raises_is_undone_and_may_be_caught_on_either_side(app: TestBackend) -> None:
    assert await app.component("ledger").mutation("catch", n=1) == "caught {'n': 2.0}"

    async def caught(ctx: MutationCtx) -> Any:
        with pytest.raises(AppError) as raised:
            await ctx.run_mutation(ledger.write_and_fail, n=5)
        assert type(raised.value) is AppError
        return raised.value.data

    assert await app.mutation(caught) == {"n": 5}
    assert await app.component("ledger").query("all_entries") == [[1, "kept"]]
    assert [job.name for job in await app.finish_scheduled() if job.name != "ledger/tick"] == []


async def test_triggers_run_with_the_write_whoever_writes(app: TestBackend) -> None:
    at = app.component("ledger")
    id = await at.mutation("write", n=1, text="x")
    assert await at.mutation("update", id=id, how="patch") == {**(await _get(app, id)), "text": "patched"}
    await app.run(lambda ctx: ctx.db.delete(id), component="ledger")
    assert await at.query("notes") == ["insert", "update", "delete"]
    with pytest.raises(AppError, match="refused"):
        await at.mutation("write", n=1, text="refused by a trigger")
    assert await at.query("all_entries") == []


async def _get(app: TestBackend, id: str) -> Any:
    return await app.run(lambda ctx: ctx.db.get(id), component="ledger")


async def test_every_write_is_there(app: TestBackend) -> None:
    at = app.component("ledger")
    id = await at.mutation("write", n=1, text="x")
    replaced = await at.mutation("update", id=id, how="replace")
    assert (replaced["n"], replaced["text"]) == (9, "replaced")
    with pytest.raises(SchemaError, match="text"):
        await at.mutation("update", id=id, how="unset")
    assert await at.mutation("update", id=id, how="delete") is None


async def test_reads_by_range_filter_page_and_many_at_once(app: TestBackend) -> None:
    at = app.component("ledger")
    ids = [await at.mutation("write", n=n, text="x") for n in range(6)]
    assert await at.query("between", low=1, high=5) == [5, 4, 2]
    assert await at.query("gathered", ids=[*ids[:2], "nothing"]) == [0, 1, None]
    first = await at.query("page", options={"numItems": 4, "cursor": None})
    assert (first["page"], first["isDone"]) == ([0, 1, 2, 3], False)
    second = await at.query("page", options={"numItems": 4, "cursor": first["continueCursor"]})
    assert (second["page"], second["isDone"]) == ([4, 5], True)


async def test_time_environment_and_itself_are_known(app: TestBackend) -> None:
    facts = await app.component("ledger").query("facts")
    assert facts == {"now": app.now(), "unit": "euro", "path": "ledger", "name": "facts", "used": 0, "twice": 4}


@pytest.mark.parametrize(
    "value", [0, -0.0, 1.5, 2**53, Int64(2**60), b"\x00\xff", "ä\u0000€😀", [], {"a": [None, True]}, math.inf, "x" * 2_000_000]
)
async def test_values_cross_as_they_are(app: TestBackend, value: Any) -> None:
    answer = await app.component("ledger").query("echo", value=value)
    assert (answer, type(answer), str(answer)) == (value, type(value), str(value))


@pytest.mark.parametrize("what", ["object", "set", "coroutine", "deep", "key", "dollar", "big"])
async def test_what_is_no_value_is_refused_in_the_same_words(app: TestBackend, what: str) -> None:
    """Inline is the model."""
    with pytest.raises(InterlockError) as isolated:
        await app.component("ledger").query("odd", what=what)
    inline = await _inline("odd", what=what)
    assert type(isolated.value) is type(inline)
    assert _words(isolated.value) == _words(inline)


@pytest.mark.parametrize("what", ["object", "set", "text", "big"])
async def test_what_is_no_document_is_refused_in_the_same_words(app: TestBackend, what: str) -> None:
    with pytest.raises(SchemaError) as isolated:
        await app.component("ledger").mutation("odd_write", what=what)
    inline = await _inline("odd_write", what=what)
    assert _words(isolated.value) == _words(inline)


def _words(error: BaseException) -> str:
    return str(error).partition(" at 0x")[0]


async def _inline(function: str, **args: Any) -> BaseException:
    """What the same function raises where it is imported."""
    async with inline_ledger() as backend:
        outcome = await _outcome(backend, function, args)
    assert isinstance(outcome, BaseException), "it raised nothing"
    return outcome


async def _outcome(backend: TestBackend, function: str, args: dict[str, Any]) -> Any:
    caller = backend.component("ledger")
    try:
        return await (caller.query if function in ("odd", "echo") else caller.mutation)(function, **args)
    except Exception as error:
        return error


async def test_what_json_could_hold_and_is_no_value_is_refused_wherever_it_comes_from(app: TestBackend) -> None:
    """Inline is the model."""
    calls = [("odd", {"what": what}) for what in _ODD] + [
        ("odd_elsewhere", {"what": what, "where": where}) for what in _ODD for where in _WHERE
    ]
    async with inline_ledger() as model:
        for function, args in calls:
            expected, got = await _outcome(model, function, args), await _outcome(app, function, args)
            assert _shown(got) == _shown(expected), (function, args)
            assert args["what"] in _FINE or isinstance(got, Exception), (function, args)


@pytest.mark.parametrize("where", ["error", "error below", "result", "argument", "document"])
async def test_what_is_too_large_is_refused_on_either_side(app: TestBackend, where: str) -> None:
    async def through(ctx: MutationCtx, mib: int) -> Any:
        return await ctx.run_mutation(ledger.large, mib=mib, where=where)

    async with inline_ledger() as model:
        for mib in (20, 49):
            for backend in (model, app):
                with pytest.raises(LimitExceeded) as refused:
                    await backend.mutation(through, mib=mib)
                limit = {"argument": "argument_bytes", "document": "document_bytes"}.get(where, "result_bytes")
                assert (refused.value.limit, int(refused.value.used) >> 20) == (limit, mib)
    with pytest.raises(LimitExceeded, match="result_bytes"):  # what it came of is told as well
        await app.component("ledger").mutation("large", mib=20, where="cause")
    assert await app.component("ledger").query("echo", value=1) == 1


_ODD = ["uuid", "member", "member of str", "date", "moment", "dataclass", "below", "bytes", "surrogate", "surrogate key"]
_FINE = ["member", "member of str", "bytes"]
_WHERE = ["error", "argument", "job", "document", "index"]


def _shown(outcome: Any) -> str:
    return f"{type(outcome).__name__}: {_words(outcome)}" if isinstance(outcome, Exception) else repr(outcome)


@pytest.mark.parametrize(
    ("how", "expected", "said"),
    [
        ("app", AppError, "how"),
        ("zero", ZeroDivisionError, "division by zero"),
        ("own", ValueError, "mine"),
        ("exit", FunctionAborted, "SystemExit"),
        ("unique", QueryError, "more than one"),
        ("index", QueryError, "by_x"),
    ],
)
async def test_errors_keep_their_class_their_words_and_their_place(
    app: TestBackend, how: str, expected: type[Exception], said: str
) -> None:
    from interlock.functions.redaction import frames_of

    at = app.component("ledger")
    for n in range(2):
        await at.mutation("write", n=n, text="x")
    with pytest.raises(expected, match=said) as raised:
        await at.query("fail", how=how)
    assert "fail (interlock_ledger/component.py:" in frames_of(raised.value)[0]


async def test_an_error_is_told_with_as_many_of_its_words_as_are_shown() -> None:
    told = tell(KeyError("x" * 50_000, 7, "short"), [])
    assert len(str(told)) < 25_000
    error = make(told, "", trusted=True)
    assert isinstance(error, KeyError) and [len(str(argument)) for argument in error.args] == [10_000, 1, 5]


async def test_arguments_and_results_are_checked_on_the_host(app: TestBackend) -> None:
    at = app.component("ledger")
    with pytest.raises(ArgumentError, match="argument n"):
        await at.mutation("write", text="x")
    with pytest.raises(ReturnError):
        await at.query("odd", what="object")
    with pytest.raises(FunctionNotFound):
        await app.mutation(lambda ctx: ctx.run_mutation(components.ledger.tick))


async def test_a_handle_of_the_app_leads_back_into_it_and_one_of_the_component_out(app: TestBackend) -> None:
    handle = await app.component("ledger").query("handle")

    async def through(ctx: MutationCtx) -> Any:
        return await ctx.run_mutation(ledger.hold, handle=handle, n=7)

    await app.mutation(through)
    assert await app.component("ledger").query("all_entries") == [[7, "before"], [7, "by a handle"]]


async def test_jobs_crons_and_actions(app: TestBackend) -> None:
    at = app.component("ledger")
    id = await at.mutation("later", n=3)
    assert (await at.query("job", id=id))[:3] == ["pending", "write", {"n": 3, "text": "later"}]
    await app.finish_in_progress()
    before = await at.query("ticks")
    await app.advance(61)
    assert await at.query("ticks") == before + 1
    assert await at.query("all_entries") == [[3, "later"]]
    assert await at.action("act", n=4) == [[3, "later"], [4, "by an action"]]


async def test_a_function_may_measure_itself_while_many_calls_of_it_are_open(app: TestBackend) -> None:
    assert await asyncio.wait_for(app.component("ledger").query("measure_beside_many", count=200), 60) == 0


@pytest.mark.parametrize("kind", ["query", "mutation"])
async def test_what_is_gathered_measures_itself_in_its_turn(app: TestBackend, kind: str) -> None:
    """A page measures what it has read, and its worker stands still for that: before its turn it would wait for what has to run first."""
    for n in range(3):
        await app.component("ledger").mutation("write", n=n)

    async def side_by_side(ctx: Any) -> Any:
        asked = [ctx.run_query(ledger.notes), *[ctx.run_query(ledger.page, options={"numItems": 2, "cursor": None}) for _ in range(2)]]
        return [*await asyncio.gather(*asked), ctx.metrics().used["documents_read"]]

    notes, first, second, read = await asyncio.wait_for(getattr(app, kind)(side_by_side), 60)
    assert notes == ["insert"] * 3
    assert first["page"] == second["page"] == [0, 1]
    assert read == 7


async def test_a_child_is_an_instance_of_its_own(app: TestBackend) -> None:
    assert [await app.component("ledger").mutation("mark_below", n=n) for n in range(2)] == [1, 2]
    assert len(await app.run(lambda ctx: ctx.db.query("marks").collect(), component="ledger/child")) == 2


async def test_what_is_logged_and_printed_has_the_path_before_it(app: TestBackend) -> None:
    backend = await app.opened()
    from interlock.functions.caller import Caller

    caller = Caller(admin=True, source="test", request_id="r")
    answer = await backend.dispatcher.call("mutation", "say", {"text": "hello"}, caller=caller, component_path="ledger")
    assert answer.log_lines == ["[INFO] ledger: said hello", "[INFO] ledger: printed hello"]


async def test_globals_are_the_instances_own(app: TestBackend) -> None:
    at = app.component("ledger")
    assert await at.mutation("remember", value=1) == [1]
    assert await at.mutation("remember", value=2) == [1, 2]


async def test_the_same_seed_draws_the_same(ledger_installed: None, isolation: Any) -> None:
    from interlock import App

    drawn = []
    for _ in range(2):
        mounts = App()
        mounts.use("ledger")
        async with TestBackend(mounts, isolation=isolation, seed=5) as backend:
            drawn.append([await backend.component("ledger").query("drawn") for _ in range(2)])
    assert drawn[0] == drawn[1]
