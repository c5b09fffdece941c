"""The typed face of the component: what an app imports.

It runs in the app, makes handles of the app's functions, and calls the component through the mount that it was given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, TypedDict

from interlock import ActionCtx, Function, MutationCtx, Page, PaginationOptions, QueryCtx, Reference
from interlock_workpool.retry import DAY, WEEK, Retry

Reader = QueryCtx | ActionCtx
Writer = MutationCtx | ActionCtx
WorkId = str
Kind = Literal["query", "mutation", "action"]
OutcomeKind = Literal["success", "failed", "canceled"]
_KINDS = ("success", "failed", "canceled")


class WorkResult(TypedDict, total=False):
    """How a work ended: the argument `result` of an `on_complete`."""

    kind: OutcomeKind
    return_value: Any
    error: str
    error_type: str
    error_data: Any


@dataclass(frozen=True, slots=True)
class WorkStatus:
    """`state` is pending, running or finished; `detail` is exact: ready, waiting, held, running, succeeded, failed, canceled.

    `detail` and `result` are None for a work that is not known any longer. `due` and `ended` are ms since the epoch.
    """

    state: Literal["pending", "running", "finished"]
    previous_attempts: int = 0
    detail: str | None = None
    result: WorkResult | None = None
    id: WorkId | None = None
    name: str = ""
    kind: Kind | None = None
    priority: int = 0
    due: float | None = None
    ended: float | None = None
    on_complete_error: str | None = None


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """`max_parallelism` as it holds; `default_parallelism` as the code says."""

    max_parallelism: int
    default_parallelism: int
    paused: bool


class Workpool:
    """One pool, one mount: `emails = Workpool(components.email_pool, max_parallelism=3)`.

    `max_parallelism` is how many run at once until `resize` says otherwise; 10 unless given. Actions are retried by
    `default_retry` when `retry_actions_by_default`, or where a call says so. Results can be read for `keep_results` seconds,
    failed works (dead letters) for `keep_failed`.
    """

    def __init__(
        self,
        component: Any,
        *,
        max_parallelism: int | None = None,
        retry_actions_by_default: bool = False,
        default_retry: Retry | None = None,
        keep_results: float | timedelta = DAY,
        keep_failed: float | timedelta = WEEK,
    ) -> None:
        if max_parallelism is not None and not 0 <= _whole("max_parallelism", max_parallelism) <= 200:
            raise ValueError(f"max_parallelism must be from 0 (which pauses) to 200, got {max_parallelism}")
        self._mount = component
        self._sizing = {} if max_parallelism is None else {"max_parallelism": max_parallelism}
        self._retries = retry_actions_by_default
        self._default_retry = default_retry if default_retry is not None else Retry()
        self._keeping = {"keep_results": seconds("keep_results", keep_results), "keep_failed": seconds("keep_failed", keep_failed)}

    # putting in

    async def enqueue_action(
        self,
        ctx: Writer,
        ref: Reference | str,
        args: Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
        on_complete: Reference | str | None = None,
        context: Any = None,
        on_complete_exclude: Iterable[OutcomeKind] = (),
        retry: Retry | bool | None = None,
        run_at: float | datetime | None = None,
        run_after: float | timedelta | None = None,
        priority: int = 0,
        key: str | None = None,
        serial_key: str | None = None,
        dedupe_key: str | None = None,
        timeout: float | timedelta | None = None,
    ) -> WorkId:
        """Put in a call of an action. Gives the id of the work, or with `dedupe_key` of the one of this key that has not ended.

        `on_complete` is a mutation `(ctx, work_id, context, result)`, called once when the work has ended. The largest
        `priority` starts first; works of different `key`s take turns; of one `serial_key` one runs at a time. `timeout` ends
        each attempt. `retry`: a `Retry`, True for the pool's, False for none.
        """
        options = _Options(name, on_complete, context, on_complete_exclude, run_at, run_after, priority, key, serial_key, dedupe_key)
        return (await self._enqueue(ctx, "action", ref, [args], options, retry, timeout))[0]

    async def enqueue_mutation(
        self,
        ctx: Writer,
        ref: Reference | str,
        args: Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
        on_complete: Reference | str | None = None,
        context: Any = None,
        on_complete_exclude: Iterable[OutcomeKind] = (),
        run_at: float | datetime | None = None,
        run_after: float | timedelta | None = None,
        priority: int = 0,
        key: str | None = None,
        serial_key: str | None = None,
        dedupe_key: str | None = None,
    ) -> WorkId:
        """Put in a call of a mutation: it runs exactly once, in a transaction of its own."""
        options = _Options(name, on_complete, context, on_complete_exclude, run_at, run_after, priority, key, serial_key, dedupe_key)
        return (await self._enqueue(ctx, "mutation", ref, [args], options))[0]

    async def enqueue_query(
        self,
        ctx: Writer,
        ref: Reference | str,
        args: Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
        on_complete: Reference | str | None = None,
        context: Any = None,
        on_complete_exclude: Iterable[OutcomeKind] = (),
        run_at: float | datetime | None = None,
        run_after: float | timedelta | None = None,
        priority: int = 0,
        key: str | None = None,
        serial_key: str | None = None,
        dedupe_key: str | None = None,
    ) -> WorkId:
        """Put in a call of a query, whose result the callback gets."""
        options = _Options(name, on_complete, context, on_complete_exclude, run_at, run_after, priority, key, serial_key, dedupe_key)
        return (await self._enqueue(ctx, "query", ref, [args], options))[0]

    async def enqueue_action_batch(
        self,
        ctx: Writer,
        ref: Reference | str,
        args: Sequence[Mapping[str, Any] | None],
        *,
        name: str | None = None,
        on_complete: Reference | str | None = None,
        context: Any = None,
        on_complete_exclude: Iterable[OutcomeKind] = (),
        retry: Retry | bool | None = None,
        run_at: float | datetime | None = None,
        run_after: float | timedelta | None = None,
        priority: int = 0,
        key: str | None = None,
        serial_key: str | None = None,
        timeout: float | timedelta | None = None,
    ) -> list[WorkId]:
        """One work for each of `args`, in one call: all of them are put in, or none."""
        options = _Options(name, on_complete, context, on_complete_exclude, run_at, run_after, priority, key, serial_key, None)
        return await self._enqueue(ctx, "action", ref, args, options, retry, timeout)

    async def enqueue_mutation_batch(
        self,
        ctx: Writer,
        ref: Reference | str,
        args: Sequence[Mapping[str, Any] | None],
        *,
        name: str | None = None,
        on_complete: Reference | str | None = None,
        context: Any = None,
        on_complete_exclude: Iterable[OutcomeKind] = (),
        run_at: float | datetime | None = None,
        run_after: float | timedelta | None = None,
        priority: int = 0,
        key: str | None = None,
        serial_key: str | None = None,
    ) -> list[WorkId]:
        """The same for a mutation."""
        options = _Options(name, on_complete, context, on_complete_exclude, run_at, run_after, priority, key, serial_key, None)
        return await self._enqueue(ctx, "mutation", ref, args, options)

    async def enqueue_query_batch(
        self,
        ctx: Writer,
        ref: Reference | str,
        args: Sequence[Mapping[str, Any] | None],
        *,
        name: str | None = None,
        on_complete: Reference | str | None = None,
        context: Any = None,
        on_complete_exclude: Iterable[OutcomeKind] = (),
        run_at: float | datetime | None = None,
        run_after: float | timedelta | None = None,
        priority: int = 0,
        key: str | None = None,
        serial_key: str | None = None,
    ) -> list[WorkId]:
        """The same for a query."""
        options = _Options(name, on_complete, context, on_complete_exclude, run_at, run_after, priority, key, serial_key, None)
        return await self._enqueue(ctx, "query", ref, args, options)

    async def _enqueue(
        self,
        ctx: Writer,
        kind: Kind,
        ref: Reference | str,
        args: Sequence[Mapping[str, Any] | None],
        options: _Options,
        retry: Retry | bool | None = None,
        timeout: float | timedelta | None = None,
    ) -> list[WorkId]:
        if isinstance(ref, Function) and ref.kind != kind:
            raise TypeError(f"{ref.own_name} is no {kind}: put it in with enqueue_{ref.kind}, not with enqueue_{kind}")
        if not isinstance(retry, Retry | bool | None):
            raise TypeError(f"retry takes a Retry, True or False, not {retry!r}: Retry(max_attempts={retry!r})?")
        shared: dict[str, Any] = {
            "kind": kind,
            "handle": await ctx.function_handle(ref),
            **self._keeping,
            **await options.to_work(ctx, ref),
        }
        if kind == "action":
            policy = self._default_retry if retry is True or (retry is None and self._retries) else retry
            if isinstance(policy, Retry):
                shared["retry"] = policy.to_policy()
        if timeout is not None:
            shared["timeout"] = seconds("timeout", timeout)
        works = [{**shared, "args": dict(given or {})} for given in args]
        ids: list[WorkId] = await ctx.run_mutation(self._mount.enqueue_batch, works=works, **self._sizing)
        return ids

    # stopping

    async def cancel(self, ctx: Writer, id: WorkId) -> bool:
        """Whether the work had not ended. What waits ends as canceled; what runs may finish, but is not tried again."""
        is_open: bool = await ctx.run_mutation(self._mount.cancel, work_id=id)
        return is_open

    async def cancel_all(self, ctx: Writer, *, before: float | datetime | None = None, limit: int | None = None) -> int:
        """Cancel all that was put in until now, or until `before`: `limit` of them at once (64), the rest in jobs."""
        options = {} if limit is None else {"limit": limit}
        until = {} if before is None else {"before": time_of(before)}
        count: int = await ctx.run_mutation(self._mount.cancel_all, **options, **until)
        return count

    async def pause(self, ctx: Writer) -> None:
        """Start nothing until `resume`. What runs goes on."""
        await ctx.run_mutation(self._mount.pause)

    async def resume(self, ctx: Writer) -> None:
        """Start again."""
        await ctx.run_mutation(self._mount.resume)

    async def resize(self, ctx: Writer, max_parallelism: int | None) -> None:
        """How many may run at once, whatever the code says, until set again; None: as the code says. 0 pauses."""
        await ctx.run_mutation(self._mount.resize, max_parallelism=max_parallelism)

    # looking

    async def status(self, ctx: Reader, id: WorkId) -> WorkStatus:
        """What is known of a work. In a query it is live."""
        return WorkStatus(id=id, **await ctx.run_query(self._mount.status, work_id=id))

    async def status_batch(self, ctx: Reader, ids: Sequence[WorkId]) -> list[WorkStatus]:
        """The same of several, in their order."""
        found = await ctx.run_query(self._mount.status_batch, work_ids=list(ids))
        return [WorkStatus(id=id, **facts) for id, facts in zip(ids, found, strict=True)]

    async def settings(self, ctx: Reader) -> PoolSettings:
        """What holds now."""
        return PoolSettings(**await ctx.run_query(self._mount.get_settings))

    async def list(
        self,
        ctx: Reader,
        state: Literal["ready", "waiting", "held", "running", "succeeded", "failed", "canceled"],
        pagination: PaginationOptions | None = None,
    ) -> Page[WorkStatus]:
        """The works in one state, a page at a time (without `pagination` the first 100)."""
        options = pagination if pagination is not None else PaginationOptions(num_items=100)
        page = Page.from_arguments(await ctx.run_query(self._mount.list, state=state, pagination_opts=options))
        return page.map(lambda facts: WorkStatus(**facts))

    async def report(self, ctx: Reader, since: float | datetime = 0.0) -> dict[str, Any]:
        """Counts of what ended since a time and is still kept, of what is open, and rates of failure."""
        counts: dict[str, Any] = await ctx.run_query(self._mount.report, since=time_of(since))
        return counts

    # dead letters

    async def dead_letters(self, ctx: Reader, pagination: PaginationOptions | None = None) -> Page[WorkStatus]:
        """The works that failed for good and are still kept."""
        return await self.list(ctx, "failed", pagination)

    async def redrive(self, ctx: Writer, id: WorkId) -> bool:
        """Put a failed work in again, with all its attempts; whether there was one. Its `on_complete` is called again.

        Raises AppError with the code DEDUPED while another work of its `dedupe_key` has not ended.
        """
        found: bool = await ctx.run_mutation(self._mount.redrive, work_id=id)
        return found

    async def discard(self, ctx: Writer, id: WorkId) -> bool:
        """Forget a work that has ended; whether there was one."""
        found: bool = await ctx.run_mutation(self._mount.discard, work_id=id)
        return found


@dataclass(frozen=True, slots=True)
class _Options:
    """What every enqueue takes."""

    name: str | None
    on_complete: Reference | str | None
    context: Any
    exclude: Iterable[OutcomeKind]
    run_at: float | datetime | None
    run_after: float | timedelta | None
    priority: int
    key: str | None
    serial_key: str | None
    dedupe_key: str | None

    async def to_work(self, ctx: Writer, ref: Reference | str) -> dict[str, Any]:
        """As the component takes it."""
        if self.run_at is not None and self.run_after is not None:
            raise TypeError("give run_at or run_after, not both")
        excluded = list(self.exclude)
        for kind in excluded:
            if kind not in _KINDS:
                raise ValueError(f"on_complete_exclude takes {', '.join(_KINDS)}, not {kind!r}")
        work: dict[str, Any] = {
            "name": self.name if self.name is not None else name_of(ref),
            "priority": _whole("priority", self.priority),
        }
        if self.run_at is not None:
            work["run_at"] = time_of(self.run_at)
        elif self.run_after is not None:
            work["run_at"] = ctx.now() + seconds("run_after", self.run_after) * 1000.0
        if self.on_complete is not None:
            handle = await callback_of(ctx, self.on_complete)
            work |= {"on_complete": handle, "context": self.context, "on_complete_exclude": excluded}
        given = {"key": self.key, "serial_key": self.serial_key, "dedupe_key": self.dedupe_key}
        return work | {name: value for name, value in given.items() if value is not None}


async def callback_of(ctx: Writer, ref: Reference | str) -> str:
    """The handle of an `on_complete`. Raises TypeError for a function of the app that is no mutation."""
    if isinstance(ref, Function) and ref.kind != "mutation":
        raise TypeError(f"on_complete is a mutation, so that it is part of the transaction, and {ref.own_name} is none")
    return await ctx.function_handle(ref)


def name_of(ref: Reference | str) -> str:
    """A function's name for people: `orders:charge`, `mailer.send`."""
    if isinstance(ref, str):
        return "" if ref.startswith("function://") else ref
    target = ref.target
    name = target.label or target.name
    return f"{target.mount}.{name}" if target.mount else name


def seconds(what: str, duration: float | timedelta) -> float:
    """A duration as a number of seconds, 0 or more."""
    if isinstance(duration, timedelta):
        duration = duration.total_seconds()
    if isinstance(duration, bool) or not isinstance(duration, int | float):
        raise TypeError(f"{what} must be seconds or a timedelta, got {duration!r}")
    if not 0 <= duration < float("inf"):
        raise ValueError(f"{what} must be 0 seconds or more, got {duration}")
    return float(duration)


def time_of(when: float | datetime) -> float:
    """A time in ms since the epoch."""
    if isinstance(when, datetime):
        if when.tzinfo is None:
            raise ValueError(f"a datetime needs a time zone, got {when}: add tzinfo=timezone.utc")
        return when.timestamp() * 1000.0
    if isinstance(when, bool) or not isinstance(when, int | float):
        raise TypeError(f"a time is ms since the epoch or a datetime, got {when!r}")
    return float(when)


def _whole(what: str, number: int) -> int:
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(f"{what} must be an int, got {number!r}")
    return number
