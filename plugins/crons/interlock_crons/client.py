"""The typed face of the component: what an app imports.

It runs in the app, makes handles of the app's functions, and calls the component through the mount that it was given.
"""

from __future__ import annotations

import builtins
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, TypeVar

from interlock import ActionCtx, AppError, MutationCtx, Page, PaginationOptions, QueryCtx, Reference
from interlock_crons.schedules import CronFields, IntervalFields, ScheduleFields, times_of

Reader = QueryCtx | ActionCtx
Writer = MutationCtx | ActionCtx
Missed = Literal["skip", "run_once"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Every:
    """Every so many seconds, or a `timedelta`: 1 second or more. The first time is one interval from now."""

    seconds: float | timedelta

    def __post_init__(self) -> None:
        seconds = self.seconds.total_seconds() if isinstance(self.seconds, timedelta) else self.seconds
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise TypeError(f"Every takes seconds or a timedelta, not {seconds!r}")
        object.__setattr__(self, "seconds", float(seconds))
        times_of(self.to_fields())

    def to_fields(self) -> IntervalFields:
        """As it crosses and is stored."""
        assert isinstance(self.seconds, float)
        return IntervalFields(kind="interval", seconds=self.seconds)


@dataclass(frozen=True, slots=True)
class Cron:
    """Times on the wall clock of the time zone `tz` (UTC): minute, hour, day (`L` is the last), month, weekday (0 and 7 are Sunday).

    Of six fields, the first is the second.
    """

    spec: str
    tz: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.spec, str) or not isinstance(self.tz, str | None):
            raise TypeError(f"Cron takes an expression and the name of a time zone, not {self.spec!r} and {self.tz!r}")
        times_of(self.to_fields())

    def to_fields(self) -> CronFields:
        """As it crosses and is stored."""
        return CronFields(kind="cron", spec=self.spec, tz="UTC" if self.tz is None else self.tz)


@dataclass(frozen=True, slots=True)
class CronInfo:
    """A cron as it stands. Times are ms since the epoch.

    `last_run` is when the last run was started, `last_outcome` and `last_error` are of the last one that has ended: "failed" also
    when its function could not be called any longer. `runs` and `skipped` count times that ran, and times that did not because the
    run before went on, or because they were missed. `function` is a name for people.
    """

    id: str
    name: str | None
    function: str
    handle: str
    args: dict[str, Any]
    schedule: Every | Cron
    missed: Missed
    next_run: float
    last_run: float | None
    last_outcome: Literal["success", "failed", "canceled"] | None
    last_error: str | None
    is_running: bool
    runs: int
    skipped: int


class CronExists(AppError):
    """There is a cron of this name already."""


class CronNotFound(AppError):
    """There is no cron of this id or name."""


class Crons:
    """Crons that a running app makes, changes and removes: `crons = Crons(components.crons)`.

    All of it is part of the transaction that calls it.
    """

    def __init__(self, component: Any) -> None:
        self._mount = component

    async def register(
        self,
        ctx: Writer,
        schedule: Every | Cron,
        ref: Reference | str,
        args: Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
        missed: Missed = "run_once",
    ) -> str:
        """Call a mutation or an action again and again. Gives the cron's id.

        `missed`: what becomes of times that passed while no server ran, or that come more than a minute late: one run for all of
        them ("run_once"), or none ("skip"). Raises CronExists for a `name` that is taken, ArgumentError for arguments that the
        function does not take.
        """
        given = {} if name is None else {"name": name}
        id: str = await _typed(
            ctx.run_mutation(
                self._mount.register,
                schedule=_fields(schedule),
                handle=await ctx.function_handle(ref),
                function=name_of(ref),
                args=dict(args or {}),
                missed=missed,
                **given,
            )
        )
        return id

    async def update(
        self,
        ctx: Writer,
        *,
        id: str | None = None,
        name: str | None = None,
        schedule: Every | Cron | None = None,
        ref: Reference | str | None = None,
        args: Mapping[str, Any] | None = None,
        missed: Missed | None = None,
    ) -> None:
        """Change what is given of one cron, and keep the rest, its next run too unless the schedule is another. Raises CronNotFound."""
        changes: dict[str, Any] = _which(id, name)
        if schedule is not None:
            changes["schedule"] = _fields(schedule)
        if ref is not None:
            changes |= {"handle": await ctx.function_handle(ref), "function": name_of(ref)}
        if args is not None:
            changes["args"] = dict(args)
        if missed is not None:
            changes["missed"] = missed
        await _typed(ctx.run_mutation(self._mount.update, **changes))

    async def delete(self, ctx: Writer, *, id: str | None = None, name: str | None = None) -> None:
        """Remove a cron, and a run of it that has not begun; one that runs goes on. Raises CronNotFound."""
        await _typed(ctx.run_mutation(self._mount.delete, **_which(id, name)))

    async def run_now(self, ctx: Writer, *, id: str | None = None, name: str | None = None) -> bool:
        """Run it once more, now: whether it was started, which it is not while it runs. The next run stays. Raises CronNotFound."""
        started: bool = await _typed(ctx.run_mutation(self._mount.run_now, **_which(id, name)))
        return started

    async def get(self, ctx: Reader, *, id: str | None = None, name: str | None = None) -> CronInfo | None:
        """One cron, or None. In a query it is live."""
        found = await ctx.run_query(self._mount.get, **_which(id, name))
        return None if found is None else _info(found)

    async def list(self, ctx: Reader, pagination: PaginationOptions | None = None) -> Page[CronInfo]:
        """The crons in the order in which they were made, a page at a time (without `pagination` the first 100)."""
        options = pagination if pagination is not None else PaginationOptions(num_items=100)
        return Page.from_arguments(await ctx.run_query(self._mount.list, pagination_opts=options)).map(_info)


def name_of(ref: Reference | str) -> str:
    """A function's name for people: `orders:charge`, `mailer.send`."""
    if isinstance(ref, str):
        return "" if ref.startswith("function://") else ref
    target = ref.target
    name = target.label or target.name
    return f"{target.mount}.{name}" if target.mount else name


def _info(fields: dict[str, Any]) -> CronInfo:
    stored = fields["schedule"]
    schedule = Every(stored["seconds"]) if stored["kind"] == "interval" else Cron(stored["spec"], stored["tz"])
    return CronInfo(**{**fields, "schedule": schedule})


def _fields(schedule: Every | Cron) -> ScheduleFields:
    if not isinstance(schedule, Every | Cron):
        raise TypeError(f"a schedule is Every(seconds) or Cron(spec, tz), not {schedule!r}")
    return schedule.to_fields()


def _which(id: str | None, name: str | None) -> dict[str, Any]:
    if (id is None) == (name is None):
        raise TypeError("say which cron by id= or by name=")
    return {"id": id} if name is None else {"name": name}


async def _typed(call: Awaitable[T]) -> T:
    try:
        return await call
    except AppError as error:
        code = error.data.get("code") if isinstance(error.data, dict) else None
        kinds: builtins.dict[Any, type[AppError]] = {"CRON_EXISTS": CronExists, "CRON_NOT_FOUND": CronNotFound}
        if code in kinds:
            raise kinds[code](error.data) from None
        raise
