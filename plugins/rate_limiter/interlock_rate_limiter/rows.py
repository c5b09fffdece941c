"""The rows of limits: what one call reads of them, and what it makes of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NotRequired, TypedDict

from interlock import UNSET, MutationCtx, QueryCtx, Range, Table
from interlock_rate_limiter.arithmetic import Event, Flow, Held, fresh, part_of, refilled
from interlock_rate_limiter.limits import FixedWindow, SlidingWindow, TokenBucket, seconds

Row = dict[str, Any]


class Holder(TypedDict):
    """One who was let in by a concurrency limit."""

    lease: str
    count: float
    until: float


rate_limits = Table(
    {
        "name": str,
        "key": NotRequired[str],
        "shard": int,
        "value": float,  # left as of `ts`, negative where reserved ahead
        "ts": float,
        "full_at": float,  # from here on the row says no more than no row would
        "events": NotRequired[list[list[float]]],  # of a sliding window: [time, count]
        "holders": NotRequired[list[Holder]],  # of a concurrency limit
    }
).index("name", "name", "key", "shard")


class Rows:
    """The rows that one call looks at and what it makes of them, written together at its end or not at all."""

    def __init__(self, ctx: QueryCtx) -> None:
        self._ctx = ctx
        self._rows: dict[tuple[str, str | None, int], Row | None] = {}
        self._changed: dict[tuple[str, str | None, int], Row] = {}

    def has_read(self, place: tuple[str, str | None, int], row: Row | None) -> None:
        """A row that was looked up already, or that it is not there."""
        self._rows[place] = row

    async def one(self, name: str, key: str | None, shard: int) -> Row | None:
        place = (name, key, shard)
        if place not in self._rows:
            query = self._ctx.db.query("rate_limits").index("name", name=name, key=UNSET if key is None else key, shard=shard)
            self._rows[place] = await query.first()
        return self._rows[place]

    async def all(self, name: str, key: str | None, shards: int) -> list[Row | None]:
        if shards > 1:
            shard = Range(gte=0, lt=shards)
            query = self._ctx.db.query("rate_limits").index("name", name=name, key=UNSET if key is None else key, shard=shard)
            found: dict[int, Row] = {row["shard"]: row for row in await query.collect()}
            for number in range(shards):
                self._rows.setdefault((name, key, number), found.get(number))
        return [await self.one(name, key, number) for number in range(shards)]

    async def states(self, name: str, key: str | None, limit: TokenBucket | FixedWindow, now: float) -> list[Held]:
        part = part_of(limit)
        return [state_of(row, part, name, key, now) for row in await self.all(name, key, limit.shards)]

    def put_state(self, name: str, key: str | None, shard: int, part: TokenBucket | FixedWindow, state: Held) -> None:
        self._put((name, key, shard), {"value": state.value, "ts": state.ts, "full_at": Flow(part).full_at(state.value, state.ts)})

    def put_events(self, name: str, key: str | None, limit: SlidingWindow, events: Sequence[Event], now: float) -> None:
        value = limit.rate - math.fsum(event.amount for event in events)
        full = events[-1].ts + seconds(limit.period) * 1000 if events else now
        self._put((name, key, 0), {"value": value, "ts": now, "full_at": full, "events": [list(event) for event in events]})

    def put_holders(self, name: str, key: str | None, capacity: float, holders: Sequence[Holder], now: float) -> None:
        value = capacity - math.fsum(holder["count"] for holder in holders)
        full = max([now, *(holder["until"] for holder in holders)])
        self._put((name, key, 0), {"value": value, "ts": now, "full_at": full, "holders": list(holders)})

    def _put(self, place: tuple[str, str | None, int], fields: Row) -> None:
        self._changed[place] = fields
        self._rows[place] = {**(self._rows[place] or {}), **fields}

    async def write(self) -> None:
        assert isinstance(self._ctx, MutationCtx)
        for (name, key, shard), fields in self._changed.items():
            row = self._rows[(name, key, shard)]
            if row is not None and "_id" in row:
                await self._ctx.db.patch(row["_id"], fields)
            else:
                keyed = {} if key is None else {"key": key}
                await self._ctx.db.insert("rate_limits", {"name": name, "shard": shard, **keyed, **fields})


def state_of(row: Row | None, part: TokenBucket | FixedWindow, name: str, key: str | None, now: float) -> Held:
    """What a shard holds now; no row is one that nobody has used."""
    return refilled(fresh(part, name, key) if row is None else Held(row["value"], row["ts"]), part, now)


def now_of(ctx: QueryCtx, row: Row | None) -> float:
    """The time, which does not step back behind what is stored."""
    return ctx.now() if row is None else max(ctx.now(), float(row["ts"]))


def events_of(row: Row | None) -> list[Event]:
    """What has happened in a sliding window."""
    return [] if row is None else [Event(ts, count) for ts, count in row.get("events", [])]


def holders_of(row: Row | None) -> list[Holder]:
    """Who was let in by a concurrency limit."""
    return [] if row is None else list(row.get("holders", []))
