from __future__ import annotations

import re
import traceback
from typing import Any

import pytest
import structlog
from tests.placed import placed

from interlock import ActionCtx, AppError, CommitTimestamp, Component, Limits, QueryCtx, components, secret
from interlock.errors import (
    ArgumentError,
    CallRefused,
    ComponentCrashed,
    DocumentNotFound,
    FunctionNotFound,
    InvalidCursor,
    LimitExceeded,
    ReturnError,
    StorageUnavailable,
    Unauthenticated,
    ValueRefused,
)
from interlock.functions.caller import log_lines_of
from interlock.functions.redaction import describe, log_failure
from interlock.limits import LIMITS
from interlock.sandbox.failures import OWN_FILES
from interlock.values import dumps

from .rooms import Rooms, running

HEAD = "[Request ID: 0123] Server Error"


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return caught


@pytest.mark.parametrize("data", [None, "text", {"a": [1, 2.5]}, ["x"]])
@pytest.mark.parametrize("dev", [True, False])
@pytest.mark.one_isolation("inline", "no component runs: what is told of an error")
def test_the_data_of_an_authors_error_always_arrives(data: Any, dev: bool) -> None:
    message, has_data, told = describe(raised(AppError(data)), "0123", dev)
    assert (has_data, told) == (True, data)
    assert message.startswith(f"{HEAD}\nUncaught AppError: ")


@pytest.mark.parametrize(
    "error",
    [
        ArgumentError("notes:add", ".n", "a number", "'x'"),
        FunctionNotFound("notes:add"),
        ReturnError("notes:add", ".n", "a number", "'x'"),
        CallRefused("notes:add", "ctx.db.insert(…) was called and never awaited"),
        ComponentCrashed("notes", "add", "it ended with exit code 3"),
    ],
)
@pytest.mark.one_isolation("inline", "no component runs: what is told of an error")
def test_what_interlock_itself_raises_is_told_without_its_lines(error: Exception) -> None:
    namespace: dict[str, Any] = {"error": error}
    with pytest.raises(type(error)) as caught:
        exec(compile("raise error", f"{OWN_FILES[1]}refusing.py", "exec"), namespace)
    caught.value.__traceback__ = caught.tb.tb_next
    assert describe(caught.value, "0123", True).message == f"{HEAD}\nUncaught {type(error).__name__}: {error}\n"


@pytest.mark.parametrize(
    "error",
    [
        ArgumentError("notes:add", ".n", "a number", "'x'"),
        FunctionNotFound("notes:add"),
        LimitExceeded("documents_read", 2, 1),
        StorageUnavailable("No space left.", "Free some."),
        Unauthenticated("BadAdminKey", "The key was refused."),
    ],
)
@pytest.mark.one_isolation("inline", "no component runs: what is told of an error")
def test_errors_that_users_are_told_of_keep_their_message(error: Exception) -> None:
    message, has_data, _ = describe(raised(error), "0123", False)
    assert message == f"{HEAD}\nUncaught {type(error).__name__}: {error}\n"
    assert not has_data


@pytest.mark.parametrize(
    "error", [ValueError("secret"), DocumentNotFound("patch", "secret"), ValueRefused(".x", "secret"), KeyError("secret")]
)
@pytest.mark.one_isolation("inline", "no component runs: what is told of an error")
def test_everything_else_is_told_in_development_only(error: Exception) -> None:
    assert describe(raised(error), "0123", False) == (HEAD, False, None)
    message = describe(raised(error), "0123", True).message
    assert "secret" in message
    assert "    at raised (" in message


@pytest.mark.one_isolation("inline", "no component runs: what is told of an error")
def test_an_invalid_cursor_makes_official_clients_begin_again() -> None:
    message, has_data, data = describe(raised(InvalidCursor("notes", "of another query")), "0123", False)
    assert "InvalidCursor" in message
    assert (has_data, data) == (True, {"isConvexSystemError": True, "paginationError": "InvalidCursor"})


@pytest.mark.one_isolation("inline", "no component runs: what is told of an error")
def test_data_that_is_no_value_becomes_text() -> None:
    assert describe(raised(AppError(object)), "0123", False)[1:] == (True, "<class 'object'>")


def failing() -> Component:
    child = Component("child")

    @child.query
    async def fail_with_data(ctx: QueryCtx) -> None:
        raise AppError("from inside")

    @child.query
    async def fail(ctx: QueryCtx) -> None:
        def below() -> None:
            raise LookupError("a secret inside")

        below()

    @child.query
    async def fail_of_another(ctx: QueryCtx) -> None:
        try:
            await ctx.run_query("fail")
        except LookupError as error:
            raise KeyError("for that reason") from error

    @child.query
    async def fail_below(ctx: QueryCtx) -> None:
        await ctx.run_query("fail")

    @child.action
    async def fail_in_a_transaction(ctx: ActionCtx) -> None:
        await ctx.run_query("fail_below")

    @child.query
    async def fail_above(ctx: QueryCtx, handle: str) -> None:
        await ctx.run_query(handle)

    @child.action
    async def fail_together(ctx: ActionCtx) -> None:
        raise ExceptionGroup("some", [ValueError("first"), AppError("second")])

    @child.query
    async def chat(ctx: QueryCtx, lines: int, chars: int = 1) -> None:
        for _ in range(lines):
            ctx.log.info("x" * chars)

    @child.query
    async def say(ctx: QueryCtx, text: str) -> None:
        ctx.log.info(text)

    return child


def made() -> Component:
    app = Component("app")
    child = placed(failing)
    app.use(child, isolation="inline")
    app.use(child, name="other", isolation="inline")
    app.use(child, name="terse", isolation="inline", limits=Limits(logs=2))

    @app.query
    async def wrong(ctx: QueryCtx) -> None:
        raise ValueError("a secret")

    @app.query
    async def call(ctx: QueryCtx) -> None:
        await ctx.run_query(components.child.fail_with_data)

    @app.query
    async def call_what_fails(ctx: QueryCtx, name: str = "fail") -> None:
        await ctx.run_query(components.child[name])

    @app.query
    async def call_other(ctx: QueryCtx) -> None:
        await ctx.run_query(components.other.fail_below)

    @app.query
    async def call_and_be_called(ctx: QueryCtx) -> None:
        await ctx.run_query(components.child.fail_above, handle=await ctx.function_handle(call_other))

    @app.action
    async def act(ctx: ActionCtx, name: str) -> None:
        await ctx.run_action(components.child[name])

    @app.query
    async def chatter(ctx: QueryCtx) -> None:
        for mount, lines in (("terse", 2), ("terse", 2), ("other", 200), ("terse", 1), ("child", 200)):
            await ctx.run_query(components[mount].chat, lines=lines)

    @app.query
    async def chat_most(ctx: QueryCtx) -> None:
        await ctx.run_query(components.child.chat, lines=256, chars=32_000)

    @app.query
    async def chat_in_lines(ctx: QueryCtx) -> None:
        await ctx.run_query(components.child.say, text="one\n12:00:00 [error] two\nthree")

    @app.query
    async def chat_at_length(ctx: QueryCtx) -> None:
        await ctx.run_query(components.child.chat, lines=1, chars=50_000)

    return app


async def shown(rooms: Rooms, kind: str, function: str, /, **args: Any) -> tuple[str, list[str]]:
    """What somebody who develops is told: the error, and the functions that it passed."""
    with pytest.raises(Exception) as failed:
        await rooms.client(kind, function, args)
    head, said, *frames = describe(failed.value, "0123", True).message.splitlines()
    assert head == HEAD
    assert all(".py:" in frame and "/interlock/functions/" not in frame for frame in frames)
    *names, client, test = [frame.split()[1] for frame in frames]
    assert (client, test) == ("client", "shown")  # the test's own
    return said, names


@pytest.mark.usefixtures("both_isolations")
async def test_frames_of_a_component_are_shown_in_development_and_never_in_production() -> None:
    async with running(made()) as rooms:
        with pytest.raises(LookupError) as failed:
            await rooms.client("query", "call_what_fails")
        assert describe(failed.value, "0123", False) == (HEAD, False, None)
        assert await shown(rooms, "query", "call_what_fails") == (
            "Uncaught LookupError: a secret inside",
            ["below", "fail", "call_what_fails"],
        )


@pytest.mark.usefixtures("both_isolations")
async def test_every_authors_line_that_an_error_passed_is_shown_once_and_in_order() -> None:
    async with running(made()) as rooms:
        said = "Uncaught LookupError: a secret inside"
        below = ["below", "fail", "fail_below"]
        for kind, name, args, frames in (
            ("query", "call_other", {}, [*below, "call_other"]),
            ("action", "act", {"name": "fail_in_a_transaction"}, [*below, "fail_in_a_transaction", "act"]),
            ("query", "call_and_be_called", {}, [*below, "call_other", "fail_above", "call_and_be_called"]),
        ):
            assert await shown(rooms, kind, name, **args) == (said, frames)
        assert await shown(rooms, "query", "call") == ("Uncaught AppError: from inside", ["fail_with_data", "call"])


@pytest.mark.usefixtures("both_isolations")
async def test_the_log_of_the_server_shows_the_lines_of_a_component_and_what_an_error_came_of() -> None:
    async with running(made()) as rooms:
        with structlog.testing.capture_logs() as logged, pytest.raises(KeyError):
            await rooms.client("query", "call_what_fails", {"name": "fail_of_another"})
        [event] = logged
        text = "".join(traceback.format_exception(*event["exc_info"]))
        first, second = text.split("The above exception was the direct cause of the following exception")
        assert "LookupError: a secret inside" in first and "KeyError: 'for that reason'" in second
        assert re.search(r"\bbelow\b", first) and re.search(r"\bfail_of_another\b", second)


@pytest.mark.usefixtures("both_isolations")
async def test_errors_in_a_group_are_a_group_to_the_caller() -> None:
    async with running(made()) as rooms:
        with pytest.raises(ExceptionGroup) as failed:
            await rooms.client("action", "act", {"name": "fail_together"})
        assert [(type(error), str(error)) for error in failed.value.exceptions] == [(ValueError, "first"), (AppError, "second")]
        assert await shown(rooms, "action", "act", name="fail_together") == (
            "Uncaught ExceptionGroup: some (2 sub-exceptions)",
            ["fail_together", "act"],
        )


@pytest.mark.one_isolation("inline", "nothing is called")
def test_an_error_whose_traceback_cannot_be_printed_is_in_the_log_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    odd = raised(SyntaxError("odd", ["no file", 1, 5, 7]))  # type: ignore[arg-type]
    with pytest.raises((TypeError, AttributeError)):
        traceback.format_exception(odd)
    before = structlog.get_config()
    structlog.configure(processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()])
    try:
        log_failure(odd, "0123", "child", "wrong")
    finally:
        structlog.configure(**before)
    [line] = capsys.readouterr().out.splitlines()
    assert "SyntaxError: odd" in line and "request_id='0123'" in line and "raised (" in line


@pytest.mark.usefixtures("both_isolations")
async def test_log_lines_over_the_limit_or_a_share_are_dropped_with_a_note() -> None:
    async with running(made()) as rooms:
        with structlog.testing.capture_logs() as logged:
            lines = (await rooms.client("query", "chatter")).log_lines
        share, whole = "its share of log lines is used up: the rest is dropped", "more than 256 log lines: the rest is dropped"
        assert lines[:3] == ["[INFO] terse: x"] * 2 + [f"[WARN] terse: {share}"]
        assert lines[3:] == ["[INFO] other: x"] * 200 + ["[INFO] child: x"] * 53 + [f"[WARN] {whole}"]
        told = [(event["event"], event.get("component")) for event in logged if event["log_level"] == "warning"]
        assert told == [(share, "terse"), (whole, None)]


@pytest.mark.usefixtures("both_isolations")
async def test_what_a_mount_writes_to_the_log_of_the_server_has_an_end_and_a_note() -> None:
    async with running(made()) as rooms:
        with structlog.testing.capture_logs() as logged:
            assert len((await rooms.client("query", "chat_most")).log_lines) == 256
            await rooms.client("query", "chatter")
        most = int(LIMITS["log_rate"].value) * 16
        written = sum(len(event["event"]) for event in logged if event.get("component") == "child")
        assert most / 2 < written < most * 2
        notes = [event for event in logged if event["event"] == "it writes too much: log lines are dropped"]
        assert [event["component"] for event in notes] == ["child"]
        assert sum(event.get("component") == "other" for event in logged) == 200


@pytest.mark.usefixtures("both_isolations")
async def test_every_line_in_the_log_of_the_server_says_whose_it_is() -> None:
    async with running(made()) as rooms:
        with structlog.testing.capture_logs() as logged:
            assert (await rooms.client("query", "chat_in_lines")).log_lines == ["[INFO] child: one\n12:00:00 [error] two\nthree"]
        assert [event["event"] for event in logged] == ["one\nchild| 12:00:00 [error] two\nchild| three"]


@pytest.mark.usefixtures("both_isolations")
async def test_a_log_line_that_is_too_long_is_cut_and_says_so() -> None:
    async with running(made()) as rooms:
        [line] = (await rooms.client("query", "chat_at_length")).log_lines
        assert line.startswith("[INFO] child: xxx") and line.endswith("x (cut: the line was too long)")
        assert len(line) == 32 * 1024 + len("[INFO] child: ")


@pytest.mark.one_isolation("inline", "what is written is the app's own, which alone has the value")
async def test_no_part_of_a_secret_is_in_the_log_cut_off_or_in_what_an_error_came_of() -> None:
    app, child = Component("app"), Component("child", env={"KEY": str})
    app.use(child, isolation="inline", env={"KEY": secret("sk-0123456789")})

    @app.query
    async def chain(ctx: QueryCtx, before: int) -> None:
        ctx.log.info("x" * before + "sk-0123456789")
        try:
            raise ValueError("with sk-0123456789")
        except ValueError as error:
            raise KeyError("for that") from error

    async with running(app) as rooms:
        with structlog.testing.capture_logs() as logged:
            for before in range(32 * 1024 - 50, 32 * 1024, 7):
                with pytest.raises(KeyError):
                    await rooms.client("query", "chain", {"before": before})
        assert len(logged) == 16
        for event in logged:
            exc_info = event.pop("exc_info", None)
            text = str(event) + ("".join(traceback.format_exception(*exc_info)) if exc_info else "")
            assert "xs" not in text and "sk-" not in text


@pytest.mark.one_isolation("inline", "the app's own function raises; the component's are above, both ways")
async def test_the_traceback_shows_the_authors_lines_also_behind_a_boundary() -> None:
    async with running(made()) as rooms:
        with pytest.raises(ValueError) as failed:
            await rooms.client("query", "wrong")
        lines = describe(failed.value, "0123", True).message.splitlines()
        assert lines[1] == "Uncaught ValueError: a secret"
        assert lines[2].startswith("    at wrong (")
        assert not [line for line in lines if "/interlock/functions/" in line]


@pytest.mark.usefixtures("both_isolations")
async def test_what_clients_are_not_told_is_in_the_log_under_the_request_id() -> None:
    async with running(made()) as rooms:
        with structlog.testing.capture_logs() as logged:
            with pytest.raises(ValueError):
                await rooms.client("query", "wrong")
            with pytest.raises(AppError):
                await rooms.client("query", "call")
        [event] = logged
        assert event["request_id"] == "a-request"
        assert event["function"] == "wrong"
        assert event["error"] == "ValueError: a secret"
        assert event["exc_info"][2] is not None


def showing() -> Component:
    child = Component("child", env={"KEY": str})

    @child.query
    async def show(ctx: QueryCtx) -> str:
        return str(ctx.env["KEY"])

    return child


@pytest.mark.usefixtures("both_isolations")
async def test_a_secret_of_a_component_is_in_no_log_and_no_error() -> None:
    app = Component("app", env={"API_KEY": str})
    app.use(placed(showing), isolation="inline", env={"KEY": secret(app.env.API_KEY)})

    @app.query
    async def leak(ctx: QueryCtx) -> Any:
        ctx.log.info("the key is", ctx.env["API_KEY"])
        if await ctx.run_query(components.child.show) == ctx.env["API_KEY"]:
            raise AppError("the component has the value itself")
        raise ValueError(f"bad key {ctx.env['API_KEY']}")

    async with running(app, env={"API_KEY": "hunter2"}) as rooms:
        with structlog.testing.capture_logs() as logged, pytest.raises(ValueError) as failed:
            await rooms.client("query", "leak")
        assert "hunter2" not in repr([{**event, "exc_info": None} for event in logged])
        assert log_lines_of(failed.value) == ["[INFO] the key is …"]
        assert "hunter2" not in describe(failed.value, "0123", True, ["hunter2"]).message


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("a file called \udcff"), "a file called \\udcff"),
        (FunctionNotFound("\ud800:f"), "Could not find public function for '\\ud800:f'."),
        (Mute(), "(its text cannot be had: RuntimeError)"),
    ],
)
@pytest.mark.one_isolation("inline", "no component runs: what is told of an error")
def test_a_text_that_cannot_be_sent_is_told_as_one_that_can(error: Exception, said: str) -> None:
    message = describe(raised(error), "0123", True).message
    assert said in message and message.encode()


@pytest.mark.one_isolation("inline", "no component runs: what is told of an error")
def test_data_that_is_no_text_is_told_as_one() -> None:
    assert describe(raised(AppError("\ud800")), "0123", False)[1:] == (True, "\\ud800")


@pytest.mark.one_isolation("inline", "no component runs: what is told of an error")
def test_data_with_a_timestamp_that_nothing_fills_in_is_told_as_text() -> None:
    described = describe(raised(AppError({"at": CommitTimestamp()})), "0123", False)
    assert described[1:] == (True, "{'at': CommitTimestamp()}")
    assert dumps(described.data)
