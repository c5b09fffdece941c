"""The typed face of the component: what an app imports.

It runs in the app, makes handles of the app's functions, and calls the component through the mount that it was given.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, TypedDict, TypeVar

from interlock import ActionCtx, AppError, Function, MutationCtx, QueryCtx, Reference

Reader = QueryCtx | ActionCtx
Writer = MutationCtx | ActionCtx
RunId = str
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
T = TypeVar("T")


class RunResult(TypedDict, total=False):
    """How a run ended: the argument `result` of an `on_complete`. A failed one has the last `error`, and the data of an AppError."""

    kind: Literal["success", "failed", "canceled"]
    return_value: Any
    error: str
    error_data: Any


@dataclass(frozen=True, slots=True)
class RunStatus:
    """`result` is there when the state is "completed". `next_attempt` (ms since the epoch) is None while an attempt goes on."""

    state: Literal["in_progress", "completed"]
    failures: int
    next_attempt: float | None
    last_error: str | None
    result: RunResult | None


class RunNotFound(AppError):
    """There is no run of this id, or no longer: they are kept for a week."""


class RunInProgress(AppError):
    """The run has not ended yet."""


class ActionRetrier:
    """Actions that are tried again until they succeed: `retrier = ActionRetrier(components.action_retrier)`.

    There are `max_failures` + 1 attempts in all. After failure number n the next one waits `initial_backoff` · `base`^(n − 1)
    seconds, at most `max_backoff`, times a random number between 0.5 and 1.5. What is logged begins at `log_level`.
    """

    def __init__(
        self,
        component: Any,
        *,
        initial_backoff: float | timedelta = 0.25,
        base: float = 2,
        max_failures: int = 4,
        max_backoff: float | timedelta | None = None,
        log_level: LogLevel = "INFO",
    ) -> None:
        if log_level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise ValueError(f"log_level must be DEBUG, INFO, WARNING or ERROR, got {log_level!r}")
        self._mount = component
        self._options = _options(initial_backoff, base, max_failures, max_backoff) | {"log_level": log_level}

    async def run(
        self,
        ctx: Writer,
        ref: Reference | str,
        args: Mapping[str, Any] | None = None,
        *,
        initial_backoff: float | timedelta | None = None,
        base: float | None = None,
        max_failures: int | None = None,
        max_backoff: float | timedelta | None = None,
        on_complete: Reference | str | None = None,
    ) -> RunId:
        """Run an action, now, until it succeeds. Gives the id of the run, which begins when the transaction has committed.

        `on_complete` is a mutation `(ctx, run_id, result)` that is called once, in the transaction that ends the run. Raises
        ArgumentError for arguments that the action does not take.
        """
        return await self._start(ctx, ref, args, None, on_complete, _options(initial_backoff, base, max_failures, max_backoff))

    async def run_at(
        self,
        ctx: Writer,
        when: float | datetime,
        ref: Reference | str,
        args: Mapping[str, Any] | None = None,
        *,
        initial_backoff: float | timedelta | None = None,
        base: float | None = None,
        max_failures: int | None = None,
        max_backoff: float | timedelta | None = None,
        on_complete: Reference | str | None = None,
    ) -> RunId:
        """The same with a first attempt at a time: ms since the epoch, or a datetime with a time zone."""
        return await self._start(ctx, ref, args, _time(when), on_complete, _options(initial_backoff, base, max_failures, max_backoff))

    async def run_after(
        self,
        ctx: Writer,
        seconds: float | timedelta,
        ref: Reference | str,
        args: Mapping[str, Any] | None = None,
        *,
        initial_backoff: float | timedelta | None = None,
        base: float | None = None,
        max_failures: int | None = None,
        max_backoff: float | timedelta | None = None,
        on_complete: Reference | str | None = None,
    ) -> RunId:
        """The same with a first attempt in so many seconds."""
        when = ctx.now() + _seconds("run_after", seconds) * 1000.0
        return await self._start(ctx, ref, args, when, on_complete, _options(initial_backoff, base, max_failures, max_backoff))

    async def _start(
        self,
        ctx: Writer,
        ref: Reference | str,
        args: Mapping[str, Any] | None,
        when: float | None,
        on_complete: Reference | str | None,
        options: dict[str, Any],
    ) -> RunId:
        if isinstance(ref, Function) and ref.kind != "action":
            raise TypeError(f"{ref.own_name} is a {ref.kind}: it runs exactly once, and would fail the same way again. Retry an action")
        given: dict[str, Any] = {} if when is None else {"run_at": when}
        if isinstance(on_complete, Function) and on_complete.kind != "mutation":
            raise TypeError(f"on_complete is a mutation, so that it is part of the transaction, and {on_complete.own_name} is none")
        if on_complete is not None:
            given["on_complete"] = await ctx.function_handle(on_complete)
        id: RunId = await ctx.run_mutation(
            self._mount.start,
            handle=await ctx.function_handle(ref),
            function=name_of(ref),
            args=dict(args or {}),
            options={**self._options, **options},
            **given,
        )
        return id

    async def status(self, ctx: Reader, id: RunId) -> RunStatus:
        """What is known of a run. In a query it is live. Raises RunNotFound."""
        return RunStatus(**await _typed(ctx.run_query(self._mount.status, run_id=id)))

    async def cancel(self, ctx: Writer, id: RunId) -> bool:
        """End a run now, as canceled; whether it was in progress. What an attempt that goes on will return is dropped."""
        canceled: bool = await ctx.run_mutation(self._mount.cancel, run_id=id)
        return canceled

    async def cleanup(self, ctx: Writer, id: RunId) -> None:
        """Forget a run that has ended, before its week is over. Raises RunInProgress and RunNotFound."""
        await _typed(ctx.run_mutation(self._mount.cleanup, run_id=id))


def name_of(ref: Reference | str) -> str:
    """A function's name for people: `orders:charge`, `mailer.send`."""
    if isinstance(ref, str):
        return "" if ref.startswith("function://") else ref
    target = ref.target
    name = target.label or target.name
    return f"{target.mount}.{name}" if target.mount else name


def _options(
    initial_backoff: float | timedelta | None, base: float | None, max_failures: int | None, max_backoff: float | timedelta | None
) -> dict[str, Any]:
    """Those that are given."""
    options: dict[str, Any] = {}
    for name, duration in (("initial_backoff", initial_backoff), ("max_backoff", max_backoff)):
        if duration is not None:
            options[name] = _seconds(name, duration)
    if base is not None:
        if isinstance(base, bool) or not isinstance(base, int | float) or not 1 <= base < float("inf"):
            raise ValueError(f"base must be a number from 1, got {base!r}")
        options["base"] = float(base)
    if max_failures is not None:
        if isinstance(max_failures, bool) or not isinstance(max_failures, int) or max_failures < 0:
            raise ValueError(f"max_failures must be a whole number from 0, got {max_failures!r}")
        options["max_failures"] = max_failures
    return options


def _seconds(what: str, duration: float | timedelta) -> float:
    if isinstance(duration, timedelta):
        duration = duration.total_seconds()
    if isinstance(duration, bool) or not isinstance(duration, int | float) or not 0 <= duration < float("inf"):
        raise ValueError(f"{what} must be 0 seconds or more, or a timedelta, got {duration!r}")
    return float(duration)


def _time(when: float | datetime) -> float:
    if isinstance(when, datetime):
        if when.tzinfo is None:
            raise ValueError(f"a datetime needs a time zone, got {when}: add tzinfo=timezone.utc")
        return when.timestamp() * 1000.0
    if isinstance(when, bool) or not isinstance(when, int | float):
        raise TypeError(f"a time is ms since the epoch or a datetime, got {when!r}")
    return float(when)


async def _typed(call: Awaitable[T]) -> T:
    try:
        return await call
    except AppError as error:
        code = error.data.get("code") if isinstance(error.data, dict) else None
        kinds: dict[Any, type[AppError]] = {"RUN_NOT_FOUND": RunNotFound, "RUN_IN_PROGRESS": RunInProgress}
        if code in kinds:
            raise kinds[code](error.data) from None
        raise
