"""The typed face of the component: what an app imports.

It runs in the app, and does nothing but call the component through the mount that it was given.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any
from zlib import crc32

from interlock import ActionCtx, Change, MutationCtx, Page, PaginationOptions, QueryCtx

DEFAULT_SHARDS = 16


class ShardedCounter:
    """Counters by name: `counter = ShardedCounter(components.sharded_counter)`.

    `shards` says over how many rows the counters named in it are spread, `default_shards` all others (16). With
    `auto_rebalance_every`, a counter is spread evenly again at most so many seconds after it was added to.
    """

    def __init__(
        self,
        component: Any,
        *,
        shards: Mapping[str, int] | None = None,
        default_shards: int | None = None,
        auto_rebalance_every: float | timedelta | None = None,
    ) -> None:
        self._mount = component
        self._shards = {name: _shards(f"shards[{name!r}]", number) for name, number in (shards or {}).items()}
        self._default_shards = DEFAULT_SHARDS if default_shards is None else _shards("default_shards", default_shards)
        self._planning = {} if auto_rebalance_every is None else {"rebalance_every": _seconds(auto_rebalance_every)}

    async def add(self, ctx: MutationCtx | ActionCtx, name: str, count: float = 1) -> None:
        """Add a number; it may be negative or a fraction."""
        await ctx.run_mutation(self._mount.add, **self._addition(ctx, name, count), **self._planning)

    async def add_many(self, ctx: MutationCtx | ActionCtx, counts: Mapping[str, float]) -> None:
        """Add to several counters in one call: all of it happens, or nothing."""
        additions = [self._addition(ctx, name, count) for name, count in counts.items()]
        await ctx.run_mutation(self._mount.add_many, additions=additions, **self._planning)

    async def subtract(self, ctx: MutationCtx | ActionCtx, name: str, count: float = 1) -> None:
        """Add the negative of a number."""
        await self.add(ctx, name, -_number(count))

    async def inc(self, ctx: MutationCtx | ActionCtx, name: str) -> None:
        """Add one."""
        await self.add(ctx, name, 1)

    async def dec(self, ctx: MutationCtx | ActionCtx, name: str) -> None:
        """Subtract one."""
        await self.add(ctx, name, -1)

    async def count(self, ctx: QueryCtx | ActionCtx, name: str) -> float:
        """The exact value, an int if only ints were added; 0 for an unknown name. Depends on every shard."""
        value: float = await ctx.run_query(self._mount.count, name=name)
        return value

    async def estimate_count(self, ctx: QueryCtx | ActionCtx, name: str, read_from_shards: int = 1) -> float:
        """What some random shards let expect. Depends on those shards alone; exact right after `rebalance`."""
        value: float = await ctx.run_query(
            self._mount.estimate_count, name=name, read_from_shards=read_from_shards, shards=self._shards_of(name)
        )
        return value

    async def rebalance(self, ctx: MutationCtx | ActionCtx, name: str) -> None:
        """Spread the value evenly over the configured shards and remove all others. Conflicts with every add meanwhile."""
        await ctx.run_mutation(self._mount.rebalance, name=name, shards=self._shards_of(name))

    async def reset(self, ctx: MutationCtx | ActionCtx, name: str) -> None:
        """Remove the counter; its value is 0 again."""
        await ctx.run_mutation(self._mount.reset, name=name)

    async def names(self, ctx: QueryCtx | ActionCtx, prefix: str = "", pagination: PaginationOptions | None = None) -> Page[str]:
        """The names that begin with `prefix`, in order, a page at a time (without `pagination` the first 100)."""
        options = pagination if pagination is not None else PaginationOptions(num_items=100)
        return Page.from_arguments(await ctx.run_query(self._mount.names, prefix=prefix, pagination_opts=options))

    def named(self, name: str) -> NamedCounter:
        """One counter, whose methods take no name."""
        return NamedCounter(self, name)

    def on_change(self, name: str) -> Callable[[MutationCtx, Change | list[Change]], Awaitable[None]]:
        """A trigger that counts the documents of a table: `trigger("guesses")(counter.on_change("guesses"))`."""

        async def count_changes(ctx: MutationCtx, changes: Change | list[Change]) -> None:
            every = [changes] if isinstance(changes, Change) else changes
            more = sum([1 if change.kind == "insert" else -1 for change in every if change.kind != "update"])
            if more:
                await self.add(ctx, name, more)

        return count_changes

    def _shards_of(self, name: str) -> int:
        return self._shards.get(name, self._default_shards)

    def _addition(self, ctx: MutationCtx | ActionCtx, name: str, count: float) -> dict[str, Any]:
        """What the component is asked to add, and where."""
        shards = self._shards_of(name)
        # By the transaction, whose name is random: so all that one of them adds to a counter goes to one row, also in its
        # sub-transactions and triggers, the next one picks anew, and what is undone has left no choice behind.
        shard = crc32(f"{ctx.transaction}{name}".encode(errors="replace")) % shards if shards > 1 else 0
        addition: dict[str, Any] = {"name": name, "count": _number(count), "shard": shard}
        if self._planning:
            addition["shards"] = shards  # over which the counter is to be spread
        return addition


class NamedCounter:
    """One counter of a `ShardedCounter`."""

    def __init__(self, counter: ShardedCounter, name: str) -> None:
        self._counter, self.name = counter, name

    async def add(self, ctx: MutationCtx | ActionCtx, count: float = 1) -> None:
        """Add a number; it may be negative or a fraction."""
        await self._counter.add(ctx, self.name, count)

    async def subtract(self, ctx: MutationCtx | ActionCtx, count: float = 1) -> None:
        """Add the negative of a number."""
        await self._counter.subtract(ctx, self.name, count)

    async def inc(self, ctx: MutationCtx | ActionCtx) -> None:
        """Add one."""
        await self._counter.inc(ctx, self.name)

    async def dec(self, ctx: MutationCtx | ActionCtx) -> None:
        """Subtract one."""
        await self._counter.dec(ctx, self.name)

    async def count(self, ctx: QueryCtx | ActionCtx) -> float:
        """The exact value."""
        return await self._counter.count(ctx, self.name)

    async def estimate_count(self, ctx: QueryCtx | ActionCtx, read_from_shards: int = 1) -> float:
        """What some random shards let expect."""
        return await self._counter.estimate_count(ctx, self.name, read_from_shards)

    async def rebalance(self, ctx: MutationCtx | ActionCtx) -> None:
        """Spread the value evenly over the configured shards and remove all others."""
        await self._counter.rebalance(ctx, self.name)

    async def reset(self, ctx: MutationCtx | ActionCtx) -> None:
        """Remove the counter; its value is 0 again."""
        await self._counter.reset(ctx, self.name)

    def on_change(self) -> Callable[[MutationCtx, Change | list[Change]], Awaitable[None]]:
        """A trigger that counts the documents of a table."""
        return self._counter.on_change(self.name)


def _shards(what: str, number: int) -> int:
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(f"{what} must be an int, got {number!r}")
    if number < 1:
        raise ValueError(f"{what} must be 1 or more, got {number}")
    return number


def _seconds(every: float | timedelta) -> float:
    if isinstance(every, timedelta):
        every = every.total_seconds()
    if isinstance(every, bool) or not isinstance(every, int | float):
        raise TypeError(f"auto_rebalance_every must be seconds or a timedelta, got {every!r}")
    if not every > 0:
        raise ValueError(f"auto_rebalance_every must be more than 0 seconds, got {every}")
    return float(every)


def _number(count: float) -> float:
    if type(count) is not int and (isinstance(count, bool) or not isinstance(count, int | float)):
        raise TypeError(f"count must be an int or a float, got {count!r}")
    return count
