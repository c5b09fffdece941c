"""The typed face of the component: what an app imports.

It makes the batch functions, which run in the app (or in a component that has this one as a child), and calls the component
through the mount that it was given.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any, Literal

from interlock import (
    ActionCtx,
    AppError,
    DeadlineExceeded,
    Function,
    FunctionAborted,
    LimitExceeded,
    MutationCtx,
    PaginationOptions,
    QueryCtx,
    Reference,
    StorageUnavailable,
    WriteConflict,
    mutation,
)

RESUME = "resume"
SAMPLE_MOST = 10
BATCH_DEFAULT = 100
BATCH_MOST = 28_000  # documents: what a batch may read
ERROR_MOST = 2_000  # characters of what is said of a document that failed

Reader = QueryCtx | ActionCtx
Writer = MutationCtx | ActionCtx
MigrateOne = Callable[[MutationCtx, dict[str, Any]], Coroutine[Any, Any, Mapping[str, Any] | None]]
OnError = Literal["stop", "skip"]
# The batch is over for another reason than its document: it is run again, or made smaller.
_NOT_THE_DOCUMENTS = (LimitExceeded, DeadlineExceeded, FunctionAborted, StorageUnavailable, WriteConflict)


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """How far a migration is.

    Times are ms since the epoch, `rate` is documents a second. `next` names what is left of the series. `skipped` counts the dead
    letters. `estimated_total` is what a count at the start found, `estimated_end` follows from it and the rate. `sample` is of a
    dry run: up to 10 documents that it would change, as `{"before": …, "after": …}`. A dry run that would leave documents out says in
    `error` and `failed_id` why the first of them.
    """

    name: str
    state: Literal["unknown", "in_progress", "success", "failed", "canceled", "paused"]
    processed: int = 0
    is_done: bool = False
    cursor: str | None = None
    error: str | None = None
    failed_id: str | None = None
    traceback: str | None = None
    latest_start: float | None = None
    latest_end: float | None = None
    batch_size: int | None = None
    next: list[str] = field(default_factory=list)
    skipped: int = 0
    estimated_total: int | None = None
    rate: float | None = None
    estimated_end: float | None = None
    sample: list[dict[str, Any]] = field(default_factory=list)


class MigrationFailed(AppError):
    """A migration that `run_to_completion` could not complete; `status` says why and where."""

    def __init__(self, status: MigrationStatus) -> None:
        super().__init__({"code": "MIGRATION_FAILED", "name": status.name, "message": status.error or f"it is {status.state}"})
        self.status = status


class Migrations:
    """The migrations of an app, one mount: `migrations = Migrations(components.migrations)`.

    `default_batch_size` is what a migration begins with that says no size of its own. `prefix` stands before names without a
    colon, as in `prefix="migrations:"`. `decorate` makes the functions, for a component its own `component.mutation`.
    """

    def __init__(
        self, component: Any, *, default_batch_size: int = BATCH_DEFAULT, prefix: str = "", decorate: Callable[..., Any] = mutation
    ) -> None:
        self._mount, self._prefix, self._decorate = component, prefix, decorate
        self._size = _size("default_batch_size", default_batch_size)

    # defining

    def define(
        self,
        table: str,
        /,
        *,
        batch_size: int | None = None,
        range: Callable[[Any], Any] | None = None,
        parallelize: bool = False,
        on_error: OnError = "stop",
    ) -> Callable[[MigrateOne], Function[..., Any]]:
        """Make a migration of `async def (ctx, doc)`, called for each document; a mapping that it returns is applied as a patch.

        `range=lambda q: q.index(…)` says which documents and in which order; all by creation time unless said. A `batch_size`
        stays; without one it begins with the default and adapts. `parallelize`: the documents of a batch at once.
        `on_error="skip"` leaves out documents that raise, and notes them as dead letters. Called itself, the function starts
        the migration.
        """
        if batch_size is not None:
            _size("batch_size", batch_size)
        if on_error not in ("stop", "skip"):
            raise ValueError(f'on_error is "stop" or "skip", not {on_error!r}')

        def decorate(migrate_one: MigrateOne) -> Function[..., Any]:
            if not asyncio.iscoroutinefunction(migrate_one):
                raise TypeError(f"a migration is an async def (ctx, doc), not {migrate_one!r}")
            walk = _Walk(table, migrate_one, range, parallelize)
            function: Function[..., Any]

            async def run(
                ctx: MutationCtx,
                mode: Literal["start", "about", "count", "batch", "one"] = "start",
                cursor: str | None = RESUME,
                batch_size: int | None = batch_size,
                dry_run: bool = False,
                reset: bool = False,
                on_error: OnError = on_error,
                id: str = "",
            ) -> Any:
                if mode == "about":
                    return {"batch_size": batch_size or self._size, "is_fixed": batch_size is not None, "on_error": on_error}
                if mode == "count":
                    return await walk.query(ctx).count()
                if mode == "batch":
                    return await walk.batch(ctx, function, cursor, batch_size or self._size, dry_run, on_error)
                if mode == "one":
                    return await walk.one(ctx, id)
                return asdict(await self.run_one(ctx, function, cursor=cursor, batch_size=batch_size, dry_run=dry_run, reset=reset))

            run.__name__ = run.__qualname__ = migrate_one.__name__
            run.__doc__, run.__module__ = migrate_one.__doc__, migrate_one.__module__
            function = self._decorate(internal=True, name=migrate_one.__name__)(run)
            function.migrates = table  # type: ignore[attr-defined]
            return function

        return decorate

    def runner(self, *refs: Reference | str, name: str | None = None) -> Function[..., Any]:
        """An internal mutation for the command line: starts these in order, or the one that its argument `fn` names.

        It takes `fn, cursor, batch_size, dry_run, reset, next`, where `next` are names too, and returns the status. Bind it to a name:
        `backfill = migrations.runner(set_default)`; a component, whose functions have the names that they are made with, says which:
        `migrations.runner(set_default, name="backfill")`. A runner of nothing, called without `fn`, returns the statuses there are.
        """

        async def run(
            ctx: MutationCtx,
            fn: str | None = None,
            cursor: str | None = RESUME,
            batch_size: int | None = None,
            dry_run: bool = False,
            reset: bool = False,
            next: list[str] | None = None,
        ) -> Any:
            series: list[Reference | str] = [*([fn] if fn is not None else refs), *(next or [])]
            if not series:
                return [asdict(status) for status in await self.get_status(ctx)]
            status = await self._run(
                ctx, series, cursor=cursor, batch_size=batch_size, dry_run=dry_run, reset=reset, keeps_next=next is None
            )
            if status.state == "in_progress":
                ctx.log.info(f"{status.name}: {status.processed} documents so far. Watch it: interlock migrate")
            return asdict(status)

        function: Function[..., Any] = self._decorate(internal=True, name=name)(run)
        return function

    # running

    async def run_one(
        self,
        ctx: Writer,
        ref: Reference | str,
        *,
        cursor: str | None = RESUME,
        batch_size: int | None = None,
        dry_run: bool = False,
        reset: bool = False,
        alone: bool = False,
        delay_between_batches: float | timedelta | None = None,
        on_error: OnError | None = None,
    ) -> MigrationStatus:
        """Start a migration, or go on with it; one in progress is left as it is, and one that is done is done.

        `cursor` None or `reset` begin with the first document; `reset` also stops one in progress. One that was part of a series
        goes on with it unless `alone`. A dry run does one batch, keeps nothing, and gives a `sample`. Raises ValueError for a
        `batch_size` below 1.
        """
        return await self._run(
            ctx,
            [ref],
            cursor=cursor,
            batch_size=batch_size,
            dry_run=dry_run,
            reset=reset,
            keeps_next=not alone,
            delay=delay_between_batches,
            on_error=on_error,
        )

    async def run_serially(self, ctx: Writer, refs: Sequence[Reference | str], *, reset: bool = False) -> MigrationStatus | None:
        """Run these one behind the other; None for none. Those that are done are left out, unless `reset`.

        The series stops at the first that fails or is canceled, and goes on when that one is run again. Gives the status of the
        first, or of the one that is in progress already.
        """
        return await self._run(ctx, list(refs), reset=reset, keeps_next=False) if refs else None

    async def _run(
        self,
        ctx: Writer,
        refs: Sequence[Reference | str],
        *,
        cursor: str | None = RESUME,
        batch_size: int | None = None,
        dry_run: bool = False,
        reset: bool = False,
        keeps_next: bool = True,
        delay: float | timedelta | None = None,
        on_error: OnError | None = None,
    ) -> MigrationStatus:
        for ref in refs:
            if isinstance(ref, Function) and not hasattr(ref, "migrates"):
                raise TypeError(f"{ref.own_name} is no migration: make one of an async def (ctx, doc) with @migrations.define(table)")
        given: dict[str, Any] = {"cursor": cursor, "dry_run": dry_run, "reset": reset}
        if batch_size is not None:
            given["batch_size"] = _size("batch_size", batch_size)
        if delay is not None:
            given["delay"] = delay.total_seconds() if isinstance(delay, timedelta) else float(delay)
        if on_error is not None:
            given["on_error"] = on_error
        if not reset:
            names = [self._name(ref) for ref in refs]
            found = await ctx.run_query(self._mount.get_status.options(stale=True), names=names)
            running = next((status for status in found if status["state"] == "in_progress"), None)
            if running is not None and not dry_run:
                return MigrationStatus(**running)
            if dry_run:  # of the one that would be begun with
                refs = refs[next((at for at, status in enumerate(found) if not status["is_done"]), 0) :]
        first, *rest = [{"name": self._name(ref), "handle": await ctx.function_handle(self._reference(ref))} for ref in refs]
        if rest or not keeps_next:
            given["next"] = rest
        try:
            return MigrationStatus(**await ctx.run_mutation(self._mount.migrate, **first, **given))
        except AppError as error:
            if dry_run and isinstance(error.data, dict) and error.data.get("code") == "DRY_RUN":
                return MigrationStatus(**error.data["status"], sample=error.data["sample"])
            raise

    async def run_to_completion(
        self, ctx: ActionCtx, ref: Reference | str, *, cursor: str | None = RESUME, batch_size: int | None = None
    ) -> MigrationStatus:
        """Run all batches now, each a transaction of its own, from an action. Raises MigrationFailed, also for one in progress."""
        given: dict[str, Any] = {"name": self._name(ref), "handle": await ctx.function_handle(self._reference(ref))}
        if batch_size is not None:
            given["batch_size"] = _size("batch_size", batch_size)
        last: tuple[Any, ...] | None = None
        while True:
            status = MigrationStatus(**await ctx.run_mutation(self._mount.migrate, **given, cursor=cursor, one_batch_only=True))
            if status.is_done:
                return status
            place = (status.cursor, status.batch_size)
            if status.state != "unknown" or place == last:
                raise MigrationFailed(status)
            last, cursor = place, RESUME

    # stopping

    async def cancel(self, ctx: Writer, ref: Reference | str) -> MigrationStatus:
        """Stop after the running batch; run again, it goes on from there. Raises AppError with the code UNKNOWN_MIGRATION."""
        return MigrationStatus(**await ctx.run_mutation(self._mount.cancel, name=self._name(ref)))

    async def pause(self, ctx: Writer, ref: Reference | str) -> MigrationStatus:
        """Stop until `resume`."""
        return MigrationStatus(**await ctx.run_mutation(self._mount.pause, name=self._name(ref)))

    async def resume(self, ctx: Writer, ref: Reference | str) -> MigrationStatus:
        """Go on with one that was paused, canceled or has failed, and with its series."""
        return MigrationStatus(**await ctx.run_mutation(self._mount.resume, name=self._name(ref)))

    async def cancel_all(self, ctx: Writer) -> list[MigrationStatus]:
        """Cancel all in progress; the statuses of the first 100."""
        return [MigrationStatus(**status) for status in await ctx.run_mutation(self._mount.cancel_all)]

    async def clear_all(self, ctx: Writer, *, before: float | None = None) -> None:
        """Forget what ran and is not in progress, made before a time (ms since the epoch) or until now."""
        await ctx.run_mutation(self._mount.clear_all, **({} if before is None else {"before": before}))

    # looking

    async def get_status(
        self, ctx: Reader, migrations: Sequence[Reference | str] | None = None, *, limit: int = 100
    ) -> list[MigrationStatus]:
        """The statuses of these, in their order, or of the newest. In a query it is live."""
        given: dict[str, Any] = {"limit": limit} if migrations is None else {"names": [self._name(ref) for ref in migrations]}
        return [MigrationStatus(**status) for status in await ctx.run_query(self._mount.get_status, **given)]

    async def dead_letters(self, ctx: Reader, ref: Reference | str, *, limit: int = 100) -> list[dict[str, str]]:
        """The documents that `on_error="skip"` has left out, as `{"id": …, "error": …}`."""
        letters: list[dict[str, str]] = await ctx.run_query(self._mount["dead_letters"], name=self._name(ref), limit=limit)
        return letters

    # names

    def _reference(self, ref: Reference | str) -> Reference | str:
        return f"{self._prefix}{ref}" if isinstance(ref, str) and ":" not in ref else ref

    def _name(self, ref: Reference | str) -> str:
        named = self._reference(ref)
        if isinstance(named, str):
            if named.startswith("function://"):
                raise ValueError("a migration is named by its function or its name, not by a handle")
            return named
        return named.target.label or named.target.name


@dataclass(frozen=True, slots=True)
class _Walk:
    """What the batch function of one definition does."""

    table: str
    migrate_one: MigrateOne
    range: Callable[[Any], Any] | None
    parallelize: bool

    def query(self, ctx: MutationCtx) -> Any:
        query = ctx.db.query(self.table)
        return query if self.range is None else self.range(query)

    async def batch(
        self, ctx: MutationCtx, function: Reference, cursor: str | None, size: int, dry_run: bool, on_error: OnError
    ) -> dict[str, Any]:
        """One batch: the place behind it, how many documents it passed, and what failed."""
        page = await self.query(ctx).paginate(PaginationOptions(num_items=size, cursor=cursor))
        failed: list[dict[str, str]] = []
        if on_error == "skip":
            for doc in page.page:
                try:
                    await ctx.run_mutation(function, mode="one", id=doc["_id"])
                except _NOT_THE_DOCUMENTS:
                    raise
                except Exception as error:
                    failed.append({"id": doc["_id"], "error": _said_by(error)})
        elif self.parallelize:
            await asyncio.gather(*[self._each(ctx, [doc]) for doc in page.page])
        else:
            await self._each(ctx, page.page)
        is_done = page.is_done
        if not is_done and len(page.page) == size:  # a full page says nothing of what is behind it: a look saves an empty batch
            behind = await self.query(ctx).paginate(PaginationOptions(num_items=1, cursor=page.continue_cursor))
            is_done = behind.is_done and not behind.page
        answer: dict[str, Any] = {
            "continue_cursor": page.continue_cursor,
            "is_done": is_done,
            "processed": len(page.page),
            "failed": failed,
        }
        if dry_run:
            answer["sample"] = await self._sample(ctx, page.page)
        return answer

    async def one(self, ctx: MutationCtx, id: str) -> None:
        """One document, in a sub-transaction of its own."""
        doc = await ctx.db.get(id)
        if doc is not None:
            await self._each(ctx, [doc])

    async def _each(self, ctx: MutationCtx, docs: Sequence[dict[str, Any]]) -> None:
        """The documents one by one; an error names the one that it came from."""
        migrate_one, write, id = self.migrate_one, ctx.db.patch, ""
        try:
            for doc in docs:
                id = doc["_id"]
                patch = await migrate_one(ctx, doc.copy())
                if patch:
                    await write(id, patch)
        except _NOT_THE_DOCUMENTS:
            raise
        except Exception as error:
            raise _failure(id, error) from error

    async def _sample(self, ctx: MutationCtx, docs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for doc in docs:
            after = await ctx.db.get(doc["_id"])
            if after != doc:
                found.append({"before": doc, "after": after})
            if len(found) == SAMPLE_MOST:
                break
        return found


def _failure(id: str, error: Exception) -> AppError:
    facts = {
        "code": "MIGRATE_ONE_FAILED",
        "id": id,
        "error": _storable(f"{type(error).__name__}: {error}")[:ERROR_MOST],
        "traceback": _storable("".join(traceback.format_exception(error)))[-10_000:],
    }
    return AppError(facts)


def _said_by(error: Exception) -> str:
    if isinstance(error, AppError) and isinstance(error.data, dict) and error.data.get("code") == "MIGRATE_ONE_FAILED":
        return str(error.data["error"])[:ERROR_MOST]
    return _storable(f"{type(error).__name__}: {error}")[:ERROR_MOST]


def _storable(text: str) -> str:
    """The text without lone surrogates, which file names bring and no document can hold."""
    return text.encode(errors="backslashreplace").decode()


def _size(what: str, size: int) -> int:
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= BATCH_MOST:
        raise ValueError(f"{what} must be a whole number from 1 to {BATCH_MOST:,}, got {size!r}")
    return size
