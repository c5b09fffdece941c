"""Section 2: contexts, references and calls."""

import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, assert_type
from uuid import UUID

from interlock import (
    UNSET,
    ActionCtx,
    AppError,
    CommitTimestamp,
    FunctionInfo,
    Identity,
    InterlockError,
    Job,
    LimitExceeded,
    Limits,
    Metrics,
    MutationCtx,
    QueryCtx,
    Reference,
    Response,
    ResponseStream,
    action,
    components,
    mutation,
    query,
    reference,
)
from interlock.sdk.functions import Function

from . import guesses
from .app import app


@query
def double(ctx: QueryCtx, n: int) -> int:
    return n * 2


@query(internal=True, name="renamed")
async def hidden(ctx: QueryCtx) -> None: ...


@mutation
async def anything(ctx: MutationCtx, known: str = "x", **rest: Any) -> dict[str, Any]:
    return {"known": known, **rest}


@mutation
async def reads_only(ctx: QueryCtx, n: int) -> int:
    return n


async def direct(ctx: MutationCtx) -> None:
    """Called directly, a function is itself: async gives an awaitable, a plain def its value."""
    assert_type(await guesses.submit(ctx, "g", player="ada", word="sea", score=3), str)
    assert_type(double(ctx, 2), int)
    assert_type(await guesses.top(ctx, game="g"), list[dict[str, Any]])
    assert_type(await anything(ctx, more=1), dict[str, Any])
    assert_type(await reads_only(ctx, n=1), int)
    await guesses.submit(ctx, "g", player="ada", word="sea")  # type: ignore[call-arg]
    await guesses.submit(ctx, "g", player=1, word="sea", score=3)  # type: ignore[arg-type]


def references(function: Function[..., Any], any_reference: Reference) -> list[Reference]:
    return [
        function,
        any_reference,
        guesses.submit,
        double,
        components.leaderboard.count,
        reference("guesses:submit"),
        guesses.submit.options(stale=True, limits=Limits(documents_read=100), name="label"),
    ]


async def read(ctx: QueryCtx) -> None:
    assert_type(await ctx.db.get("id"), dict[str, Any] | None)
    assert_type(await ctx.db.normalize_id("games", "id"), str | None)
    assert_type(await ctx.run_query(guesses.top, game="g"), Any)
    assert_type(await ctx.run_query("guesses:top", game="g"), Any)
    assert_type(await ctx.run_query(components.leaderboard.count), Any)
    assert_type(await ctx.scheduler.get("job"), Job | None)
    assert_type(await ctx.scheduler.list("pending"), list[Job])
    assert_type(ctx.now(), float)
    assert_type(ctx.random, random.Random)
    assert_type(ctx.uuid4(), UUID)
    assert_type(ctx.env, Mapping[str, Any])
    assert_type(ctx.function, FunctionInfo)
    assert_type(ctx.metrics(), Metrics)
    assert_type(ctx.metrics().remaining["documents_read"], float)
    assert_type(await ctx.auth.identity(), Identity | None)
    assert_type(await ctx.function_handle(guesses.submit), str)
    await ctx.revoke_handle("function://x")
    ctx.log.info("read %s", 1, game="g")
    _ = ctx.db.insert  # type: ignore[attr-defined]
    _ = ctx.run_mutation  # type: ignore[attr-defined]
    _ = ctx.scheduler.run_after  # type: ignore[attr-defined]


async def write(ctx: MutationCtx) -> float:
    await read(ctx)
    id = await ctx.db.insert("games", {"name": "x", "at": CommitTimestamp()})
    assert_type(id, str)
    await ctx.db.patch(id, {"name": UNSET})
    await ctx.db.replace(id, {"name": "y"})
    await ctx.db.delete(id)
    await ctx.run_mutation(guesses.submit.options(limits=Limits(cpu=0.1)), game=id, self=1, ref=2)
    job = await ctx.scheduler.run_after(5, guesses.wipe, game=id)
    assert_type(job, str)
    await ctx.scheduler.run_after(timedelta(minutes=1), "guesses:wipe", game=id)
    await ctx.scheduler.run_at(ctx.now() + 1000, guesses.wipe, game=id, when=1, seconds=2)
    await ctx.scheduler.cancel(job)
    try:
        await ctx.run_mutation(components.leaderboard.insert, key=1)
    except AppError as error:
        assert_type(error.data, Any)
    except LimitExceeded as error:
        return error.maximum
    except InterlockError as error:
        assert_type(error.code, str)
    _ = ctx.run_action  # type: ignore[attr-defined]
    return 0


@action
async def outside(ctx: ActionCtx, url: str) -> int:
    identity = await ctx.auth.identity()
    if identity is not None:
        assert_type(identity.subject, str)
        assert_type(identity.email, str | None)
        assert_type(identity["role"], Any)
    response = await ctx.fetch(url, method="POST", headers={"x": "y"}, body=b"", timeout=5)
    assert_type(response, Response)
    async with ctx.fetch(url) as stream:
        assert_type(stream, ResponseStream)
        assert_type([piece async for piece in stream], list[bytes])
        assert_type([line async for line in stream.lines()], list[str])
    await ctx.run_action(outside, url=url)
    await ctx.run_mutation(guesses.submit, game="g")
    _ = ctx.db  # type: ignore[attr-defined]
    return response.status


@app.cron("wipe daily", cron="0 3 * * *", timezone="Europe/Berlin", catch_up="skip", args={"game": "g"})
@mutation
async def wipe_daily(ctx: MutationCtx, game: str) -> None: ...


app.cron("top", every=60)(guesses.wipe)
app.cron("by name", every=timedelta(hours=1))("guesses:wipe")


async def as_a_callable(ctx: ActionCtx, run: Callable[[ActionCtx, str], Awaitable[int]] = outside) -> int:
    """A decorated function fits where the function itself would."""
    return await run(ctx, "x")
