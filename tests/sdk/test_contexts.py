"""Which part of a context is there in which kind of function, and what stands in for the rest."""

from __future__ import annotations

import weakref
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from interlock import (
    ActionCtx,
    ContextError,
    InterlockError,
    MutationCtx,
    PaginationOptions,
    QueryCtx,
    QueryError,
    ScheduleError,
    components,
    reference,
)
from interlock.sdk.component import Component
from interlock.sdk.contexts import Context
from interlock.sdk.host import Kind, Target
from interlock.testing import TestBackend

from .fake_host import FakeHost

KINDS: dict[Kind, type[Context]] = {"query": QueryCtx, "mutation": MutationCtx, "action": ActionCtx}


def context(kind: Kind, **settings: Any) -> Any:
    return KINDS[kind](FakeHost(kind, **settings))


THERE: list[tuple[str, str]] = [
    ("db.get", "qm"),
    ("db.get_many", "qm"),
    ("db.query", "qm"),
    ("db.normalize_id", "qm"),
    ("db.insert", "m"),
    ("db.patch", "m"),
    ("db.replace", "m"),
    ("db.delete", "m"),
    ("run_query", "qma"),
    ("run_mutation", "ma"),
    ("run_action", "a"),
    ("scheduler.run_after", "ma"),
    ("scheduler.run_at", "ma"),
    ("scheduler.cancel", "ma"),
    ("scheduler.get", "qma"),
    ("scheduler.list", "qma"),
    ("now", "qma"),
    ("random", "qma"),
    ("uuid4", "qma"),
    ("env", "qma"),
    ("log.info", "qma"),
    ("function", "qma"),
    ("metrics", "qm"),
    ("auth.identity", "qma"),
    ("function_handle", "qma"),
    ("revoke_handle", "qma"),
    ("fetch", "a"),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("path", "kinds"), THERE, ids=[path for path, _ in THERE])
def test_a_context_has_what_its_kind_of_function_may_do(path: str, kinds: str, kind: Kind) -> None:
    owner: Any = context(kind)
    names = path.split(".")
    if kind[0] in kinds:
        for name in names:
            owner = getattr(owner, name)
        return
    with pytest.raises(ContextError, match=r"ctx\.(db|\w+).* is not there: .{20}") as refusal:
        for name in names:
            owner = getattr(owner, name)
    assert isinstance(refusal.value, InterlockError)
    assert not hasattr(context(kind), names[0]) or names[0] in ("db", "scheduler")


def test_what_exists_nowhere_is_a_plain_attribute_error() -> None:
    for owner in (context("query"), context("query").db, context("query").scheduler):
        with pytest.raises(AttributeError) as error:
            _ = owner.dance
        assert not isinstance(error.value, InterlockError)


def test_a_component_is_never_told_who_is_calling() -> None:
    ctx = context("query", component_path="mailer")
    with pytest.raises(ContextError, match="a component is never told"):
        _ = ctx.auth


def test_this_version_keeps_no_files() -> None:
    with pytest.raises(ContextError, match="keeps no files"):
        _ = context("action").storage


def test_a_mutations_context_is_a_querys() -> None:
    assert isinstance(context("mutation"), QueryCtx)
    assert not isinstance(context("action"), QueryCtx)


def test_contexts_may_be_weak_keys() -> None:
    ctx = context("mutation")
    kept = weakref.WeakKeyDictionary({ctx: 1})
    assert kept[ctx] == 1
    with pytest.raises(AttributeError):
        ctx.surprise = 1


async def test_reads_and_writes_go_to_the_host() -> None:
    ctx = context("mutation")
    id = await ctx.db.insert("notes", {"text": "x"})
    assert (await ctx.db.get(id))["text"] == "x"
    assert await ctx.db.normalize_id("notes", id) == id
    await ctx.db.patch(id, {"text": "y"})
    await ctx.db.replace(id, {})
    await ctx.db.delete(id)
    assert ctx._host.calls == [("patch", id, {"text": "y"}), ("replace", id, {}), ("delete", id)]


async def test_calls_name_their_target_and_take_any_argument_name() -> None:
    ctx = context("action")
    await ctx.run_query(components.a.get, ref=1, self=2)
    await ctx.run_mutation("m:f", name="x")
    await ctx.run_action(reference("function://h").options(name="once"))
    assert ctx._host.calls == [
        ("query", Target("get", "a"), {"ref": 1, "self": 2}),
        ("mutation", Target("m:f"), {"name": "x"}),
        ("action", Target("", handle="function://h", label="once"), {}),
    ]
    assert await ctx.function_handle(components.a.get) == "function://a/get"


async def test_instances_among_the_arguments_travel_as_plain_values() -> None:
    ctx = context("query")
    await ctx.run_query("m:f", opts=PaginationOptions(3), n=1, rows=[1])
    assert ctx._host.calls[0][2] == {"opts": {"numItems": 3, "cursor": None}, "n": 1, "rows": [1]}


async def test_jobs_are_planned_after_a_time_or_at_one() -> None:
    ctx = context("mutation")
    target = Target("m:f")
    assert await ctx.scheduler.run_after(5, "m:f", seconds=1) == "job"
    await ctx.scheduler.run_after(timedelta(minutes=1), "m:f")
    await ctx.scheduler.run_at(1_000, "m:f", when=2)
    await ctx.scheduler.run_at(datetime(1970, 1, 2, tzinfo=UTC), "m:f")
    await ctx.scheduler.cancel("job")
    assert ctx._host.calls == [
        ("schedule", None, 5.0, target, {"seconds": 1}),
        ("schedule", None, 60.0, target, {}),
        ("schedule", 1000.0, None, target, {"when": 2}),
        ("schedule", 86_400_000.0, None, target, {}),
        ("cancel", "job"),
    ]
    assert (await ctx.scheduler.get("1")).state == "pending"
    assert await ctx.scheduler.list("failed") == []
    assert len(await ctx.scheduler.list()) == 1


@pytest.mark.parametrize("delay", [-1, float("nan"), float("inf"), "5", True, None, timedelta(seconds=-1), 10**400])
def test_a_delay_that_is_none_is_refused(delay: Any) -> None:
    with pytest.raises(ScheduleError, match="m:f"):
        context("mutation").scheduler.run_after(delay, "m:f")


@pytest.mark.parametrize("when", [float("nan"), "tomorrow", True, None, datetime(2030, 1, 1), 10**400])
def test_a_time_that_is_none_is_refused(when: Any) -> None:
    with pytest.raises(ScheduleError, match="m:f"):
        context("mutation").scheduler.run_at(when, "m:f")


@pytest.mark.parametrize("table", [5, None, ["notes"], b"notes"])
def test_a_table_that_is_no_string_is_refused_by_name(table: Any) -> None:
    db = context("mutation").db
    for misused in (lambda: db.query(table), lambda: db.insert(table, {}), lambda: db.normalize_id(table, "x")):
        with pytest.raises(InterlockError, match="named by a string"):
            misused()


@pytest.mark.parametrize("fields", [["n"], {1: 1}, "n", 5])
def test_fields_of_an_index_that_have_no_names_are_refused(fields: Any) -> None:
    with pytest.raises(QueryError, match="fields of an index"):
        context("query").db.query("notes").index("by_n", fields)
    with pytest.raises(QueryError, match="named by a string"):
        context("query").db.query("notes").index(5)


def test_log_lines_are_written_as_logging_does_or_one_after_the_other() -> None:
    ctx = context("query")
    ctx.log.debug("plain")
    ctx.log.info("%s of %d", "one", 2)
    ctx.log.info("total", 5, None)
    ctx.log.warning("100%", 1, game="g")
    ctx.log.error({"a": 1})
    try:
        raise ValueError("no")
    except ValueError:
        ctx.log.exception("failed")
    lines = ctx._host.lines
    assert lines[:5] == [
        ("DEBUG", "plain"),
        ("INFO", "one of 2"),
        ("INFO", "total 5 None"),
        ("WARN", "100% 1 game='g'"),
        ("ERROR", "{'a': 1}"),
    ]
    assert lines[5][1].startswith("failed\nTraceback")
    assert lines[5][1].endswith("ValueError: no")


def test_a_value_that_cannot_be_shown_does_not_fail_who_logs_it() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    ctx = context("mutation")
    ctx.log.info(Broken())
    ctx.log.info("got %s", Broken())
    ctx.log.info("got", value=Broken())
    assert [line for _, line in ctx._host.lines] == ["(a line that cannot be shown: RuntimeError in a __str__ or __repr__)"] * 3


async def test_the_identity_is_a_mapping_with_attributes() -> None:
    fields = {
        "tokenIdentifier": "https://x|ada",
        "issuer": "https://x",
        "subject": "ada",
        "name": "Ada",
        "emailVerified": True,
        "role": "admin",
    }
    identity = await context("query", identity=fields).auth.identity()
    assert (identity.subject, identity.issuer, identity.token_identifier, identity.name) == ("ada", "https://x", "https://x|ada", "Ada")
    assert identity.email_verified is True
    assert identity.email is None
    assert identity["role"] == "admin"
    assert identity["email_verified"] is True
    assert identity["tokenIdentifier"] == identity["token_identifier"] == "https://x|ada"
    assert dict(identity) == fields
    assert identity.get("phone_number") is None
    assert await context("query").auth.identity() is None


def test_the_facts_of_a_call_are_plain() -> None:
    ctx = context("query")
    assert ctx.now() == 1234.5
    assert ctx.function.name == "tests:function"
    assert ctx.env["KEY"] == "value"
    assert ctx.uuid4().version == 4
    assert ctx.random is ctx._host.random
    assert ctx.metrics().used == {"bytes_read": 0.0}


async def test_a_state_that_no_job_can_have_is_refused() -> None:
    async with TestBackend(Component("jobs")) as t:
        with pytest.raises(ScheduleError, match="pending, running"):
            await t.run(lambda ctx: ctx.scheduler.list("bogus"))
