from __future__ import annotations

from typing import Any

import pytest
import structlog
from tests.placed import placed

from interlock import AppError, CommitTimestamp, Component, QueryCtx, components, secret
from interlock.errors import (
    ArgumentError,
    DocumentNotFound,
    FunctionNotFound,
    InvalidCursor,
    LimitExceeded,
    StorageUnavailable,
    Unauthenticated,
    ValueRefused,
)
from interlock.functions.caller import log_lines_of
from interlock.functions.redaction import describe
from interlock.values import dumps

from .rooms import running

HEAD = "[Request ID: 0123] Server Error"


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return caught


@pytest.mark.parametrize("data", [None, "text", {"a": [1, 2.5]}, ["x"]])
@pytest.mark.parametrize("dev", [True, False])
def test_the_data_of_an_authors_error_always_arrives(data: Any, dev: bool) -> None:
    message, has_data, told = describe(raised(AppError(data)), "0123", dev)
    assert (has_data, told) == (True, data)
    assert message.startswith(f"{HEAD}\nUncaught AppError: ")


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
def test_errors_that_users_are_told_of_keep_their_message(error: Exception) -> None:
    message, has_data, _ = describe(raised(error), "0123", False)
    assert message == f"{HEAD}\nUncaught {type(error).__name__}: {error}\n"
    assert not has_data


@pytest.mark.parametrize(
    "error", [ValueError("secret"), DocumentNotFound("patch", "secret"), ValueRefused(".x", "secret"), KeyError("secret")]
)
def test_everything_else_is_told_in_development_only(error: Exception) -> None:
    assert describe(raised(error), "0123", False) == (HEAD, False, None)
    message = describe(raised(error), "0123", True).message
    assert "secret" in message
    assert "    at raised (" in message


def test_an_invalid_cursor_makes_official_clients_begin_again() -> None:
    message, has_data, data = describe(raised(InvalidCursor("notes", "of another query")), "0123", False)
    assert "InvalidCursor" in message
    assert (has_data, data) == (True, {"isConvexSystemError": True, "paginationError": "InvalidCursor"})


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

    return child


def made() -> Component:
    app = Component("app")
    app.use(placed(failing), isolation="inline")

    @app.query
    async def wrong(ctx: QueryCtx) -> None:
        raise ValueError("a secret")

    @app.query
    async def call(ctx: QueryCtx) -> None:
        await ctx.run_query(components.child.fail_with_data)

    @app.query
    async def call_what_fails(ctx: QueryCtx) -> None:
        await ctx.run_query(components.child.fail)

    return app


@pytest.mark.usefixtures("both_isolations")
async def test_frames_of_a_component_are_shown_in_development_and_never_in_production() -> None:
    async with running(made()) as rooms:
        with pytest.raises(LookupError) as failed:
            await rooms.client("query", "call_what_fails")
        head, said, *frames = describe(failed.value, "0123", True).message.splitlines()
        assert (head, said) == (HEAD, "Uncaught LookupError: a secret inside")
        assert [frame.split()[1] for frame in frames][:2] == ["below", "fail"]
        assert all(".py:" in frame and "/interlock/functions/" not in frame for frame in frames)
        assert describe(failed.value, "0123", False) == (HEAD, False, None)


@pytest.mark.usefixtures("both_isolations")
async def test_the_traceback_shows_the_authors_lines_also_behind_a_boundary() -> None:
    async with running(made()) as rooms:
        with pytest.raises(ValueError) as failed:
            await rooms.client("query", "wrong")
        lines = describe(failed.value, "0123", True).message.splitlines()
        assert lines[1] == "Uncaught ValueError: a secret"
        assert lines[2].startswith("    at wrong (")
        assert not [line for line in lines if "/interlock/functions/" in line]
        with pytest.raises(AppError) as crossed:
            await rooms.client("query", "call")
        assert "    at fail_with_data (" in describe(crossed.value, "0123", True).message


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
def test_a_text_that_cannot_be_sent_is_told_as_one_that_can(error: Exception, said: str) -> None:
    message = describe(raised(error), "0123", True).message
    assert said in message and message.encode()


def test_data_that_is_no_text_is_told_as_one() -> None:
    assert describe(raised(AppError("\ud800")), "0123", False)[1:] == (True, "\\ud800")


def test_data_with_a_timestamp_that_nothing_fills_in_is_told_as_text() -> None:
    described = describe(raised(AppError({"at": CommitTimestamp()})), "0123", False)
    assert described[1:] == (True, "{'at': CommitTimestamp()}")
    assert dumps(described.data)
