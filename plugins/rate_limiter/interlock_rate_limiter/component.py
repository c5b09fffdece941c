"""Rate limits: how much of each is left is a row, read and written in the transaction that the limit guards.

A limit is a name, a key (or none) and its configuration, which comes with every call; so a changed configuration holds from the
next call on. Tokens of a bucket or a window are a number as of a time; nothing runs while time passes. A sharded limit is several
rows, each with an equal part; a call that its first row cannot serve looks at all of them, so no token is out of reach.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

from interlock import UNSET, AppError, Component, MutationCtx, QueryCtx, Range, Schema
from interlock_rate_limiter.arithmetic import (
    Event,
    Flow,
    Held,
    fresh,
    part_of,
    refilled,
    slides_open_at,
    still_counting,
    tolerance,
    wait_for,
    with_event,
)
from interlock_rate_limiter.deferred import FOLDED_AT_ONCE, Update, fold, pending_updates, put, sleep, workers
from interlock_rate_limiter.limits import (
    LARGEST,
    ConcurrencyLimit,
    Config,
    FixedWindow,
    Limit,
    SlidingWindow,
    TokenBucket,
    from_config,
    seconds,
)
from interlock_rate_limiter.rows import Holder, Rows, events_of, holders_of, now_of, rate_limits, state_of

PURGED_AT_ONCE = 100
EVENTS_MOST = 4_000  # of a sliding window that is reserved far ahead: what one row holds
HOUR = 3_600.0
KNOWN_MOST = 1_000
_known: dict[str, tuple[Config, Limit, Flow | None]] = {}
RATED = (TokenBucket, FixedWindow)
PLACES_MOST = 10_000
_ids: dict[tuple[str, str | None, int], str] = {}
"""Where the row of a shard was last found. A hint, of whichever mount: what is read there has to be that row."""
FORGOTTEN_AFTER_MS = 600_000.0
AHEAD_MS = 86_400_000.0

component = Component("rate_limiter", schema=Schema(rate_limits=rate_limits, pending_updates=pending_updates, workers=workers))


class Ask(TypedDict):
    """One element of `rate_limit_many`."""

    name: str
    config: Config
    key: NotRequired[str | None]
    count: NotRequired[float]
    reserve: NotRequired[bool]


class Answer(TypedDict):
    """`retry_after` in seconds: when refused, until the same call fits; when reserved, until the work may begin."""

    ok: bool
    retry_after: NotRequired[float]
    name: NotRequired[str]
    leases: NotRequired[list[str | None]]


class Stored(TypedDict):
    """What a limit has left as of `ts` (ms), not moved on to now. `exact`: all of its shards were read."""

    value: float
    ts: float
    shard: int
    exact: bool
    config: Config


@component.mutation
async def rate_limit(
    ctx: MutationCtx,
    name: str,
    config: Config,
    key: str | None = None,
    count: float = 1,
    reserve: bool = False,
    throws: bool = False,
) -> Answer:
    """Take `count` tokens, or answer when that will work. A refused call changes nothing."""
    known = _known.get(name)
    if known is None or known[0] != config:
        known = _get_to_know(name, config)
    limit, flow = known[1], known[2]
    rows = Rows(ctx)
    if flow is not None and await _take_from_one(ctx, rows, name, key, limit, flow, count):
        return Answer(ok=True)
    return await _limit(ctx, [Ask(name=name, config=config, key=key, count=count, reserve=reserve)], throws, rows)


@component.mutation
async def rate_limit_many(ctx: MutationCtx, asks: list[Ask], throws: bool = False) -> Answer:
    """Take from several limits: from all or from none. The answer has the longest wait, and the name of that limit."""
    return await _limit(ctx, asks, throws)


@component.query
async def check_rate_limit(
    ctx: QueryCtx, name: str, config: Config, key: str | None = None, count: float = 1, reserve: bool = False, throws: bool = False
) -> Answer:
    """What `rate_limit` would answer. Takes nothing."""
    answer, _ = await _decide(ctx, [Ask(name=name, config=config, key=key, count=count, reserve=reserve)], throws)
    return answer


@component.query
async def check_rate_limit_many(ctx: QueryCtx, asks: list[Ask], throws: bool = False) -> Answer:
    """What `rate_limit_many` would answer."""
    answer, _ = await _decide(ctx, asks, throws)
    return answer


@component.mutation
async def rate_limit_deferred(ctx: MutationCtx, asks: list[Ask], throws: bool = False) -> Answer:
    """The same for deferred limits: decided from what is stored, without depending on it, and taken a moment later."""
    if not all(ask["config"].get("deferred") for ask in asks):
        raise _refused("NotDeferred", f"{_names(asks)}: deferred limits and others are not asked in one call")
    answer: Answer = await ctx.run_query(check_rate_limit_many.options(stale=True), asks=asks, throws=throws)
    if answer["ok"]:
        await put(ctx, [_consume(ask) for ask in asks])
    return answer


@component.mutation
async def enqueue_updates(ctx: MutationCtx, updates: list[Update]) -> None:
    """What is to become of deferred limits, in this order: `consume` and `refund` a count as of `ts` (now unless given), `reset`."""
    for update in updates:
        _limit_of(update["name"], update["config"])
        _check_count(update["name"], update.get("count", 1))
        if not 0 <= update.get("ts", 0.0) <= ctx.now() + AHEAD_MS:
            message = f"rate limit {update['name']!r}: ts must be a time in ms since the epoch, at most a day ahead, got {update['ts']}"
            raise _refused("InvalidTime", message)
        if not update["config"].get("deferred"):
            raise _refused("NotDeferred", f"rate limit {update['name']!r} is not deferred: its calls take effect at once")
    await put(ctx, updates)


@component.query(internal=True)
async def pending(ctx: QueryCtx) -> list[dict[str, Any]]:
    """The oldest updates that wait."""
    return await ctx.db.query("pending_updates").index("updated_at").take(FOLDED_AT_ONCE)


@component.mutation(internal=True)
async def apply_updates(ctx: MutationCtx) -> None:
    """Fold in what waits. Looks without depending on what it saw, so nobody who adds to it waits; only to go to sleep it must know."""
    waiting = await ctx.run_query(pending.options(stale=True))
    if waiting:
        await fold(ctx, waiting)
    elif await ctx.db.query("pending_updates").first() is None:
        await sleep(ctx)
        return
    await ctx.scheduler.run_after(0, apply_updates)


@component.mutation(internal=True)
async def apply_forgotten(ctx: MutationCtx) -> None:
    """Go on with updates that have waited for long: their job has failed."""
    oldest = await ctx.db.query("pending_updates").first()
    if oldest is not None and oldest["_creationTime"] < ctx.now() - FORGOTTEN_AFTER_MS:
        await ctx.scheduler.run_after(0, apply_updates)


component.cron("apply forgotten", every=HOUR)(apply_forgotten)


@component.mutation
async def refund(ctx: MutationCtx, name: str, config: Config, key: str | None = None, count: float = 1) -> None:
    """Give tokens back, at most up to what the limit can hold."""
    limit, rows = _limit_of(name, config), Rows(ctx)
    _check_count(name, count)
    if config.get("deferred"):
        await put(ctx, [Update(kind="refund", name=name, config=config, key=key, count=count)])
        return
    if isinstance(limit, ConcurrencyLimit):
        raise _refused("NotRefundable", f"rate limit {name!r} is a concurrency limit: give back a lease with release")
    if isinstance(limit, SlidingWindow):
        row = await rows.one(name, key, 0)
        now = now_of(ctx, row)
        left = []
        for event in reversed(still_counting(events_of(row), limit, now)):
            given = min(event.amount, count)
            count -= given
            if event.amount > given:
                left.append(Event(event.ts, event.amount - given))
        rows.put_events(name, key, limit, left[::-1], now)
    else:
        part, now = part_of(limit), ctx.now()
        states = await rows.states(name, key, limit, now)
        capacity = part.rate if part.capacity is None else part.capacity
        for shard, state in sorted(enumerate(states), key=lambda each: each[1].value):
            given = min(capacity - state.value, count)
            if given > 0:
                rows.put_state(name, key, shard, part, Held(state.value + given, state.ts))
                count -= given
    await rows.write()


@component.mutation
async def release(ctx: MutationCtx, name: str, lease: str, key: str | None = None) -> bool:
    """Give back what a concurrency limit let in; whether it was still held."""
    return await _change_holder(ctx, name, key, lease, None)


@component.mutation
async def renew(ctx: MutationCtx, name: str, lease: str, config: Config, key: str | None = None) -> bool:
    """Hold on for another period from now; whether it was still held."""
    limit = _limit_of(name, config)
    return await _change_holder(ctx, name, key, lease, ctx.now() + seconds(limit.period) * 1000)


@component.query
async def get_value(ctx: QueryCtx, name: str, config: Config, key: str | None = None, sample_shards: int = 1) -> Stored:
    """What the whole limit has left, as stored: the answer holds until the limit is used. Some shards are scaled up to all."""
    limit = _limit_of(name, config)
    if isinstance(limit, SlidingWindow | ConcurrencyLimit):
        row = await Rows(ctx).one(name, key, 0)
        value = limit.capacity if row is None else row["value"]
        return Stored(value=float(value), ts=0.0 if row is None else row["ts"], shard=0, exact=True, config=config)
    reads = min(max(sample_shards, 1), limit.shards)
    if reads < limit.shards:
        chosen = ctx.random.sample(range(limit.shards), reads)
        rows = Rows(ctx)
        found = [await rows.one(name, key, shard) for shard in chosen]
    else:
        chosen = list(range(limit.shards))
        found = await Rows(ctx).all(name, key, limit.shards)
    part = part_of(limit)
    held = [fresh(part, name, key) if row is None else Held(row["value"], row["ts"]) for row in found]
    ts = max(state.ts for state in held)
    moved = [refilled(state, part, ts) for state in held]
    best = max(range(reads), key=lambda index: moved[index].value)
    value = math.fsum(state.value for state in moved) * limit.shards / reads
    full = _with_defaults(config, limit)
    if isinstance(limit, FixedWindow):
        full["start"] = ts
    return Stored(value=value, ts=ts, shard=chosen[best], exact=reads == limit.shards, config=full)


@component.mutation
async def reset_rate_limit(ctx: MutationCtx, name: str, key: str | None = None) -> None:
    """As if the limit had never been used. Without a key: the one that is shared, not those of keys."""
    for row in await ctx.db.query("rate_limits").index("name", name=name, key=UNSET if key is None else key).collect():
        await ctx.db.delete(row["_id"])


@component.mutation
async def clear_all(ctx: MutationCtx, before: float | None = None) -> None:
    """Forget all limits that began before a time (ms; now unless given): a hundred at once, the rest in the background."""
    query = ctx.db.query("rate_limits")
    if before is not None:
        query = query.index("by_creation_time", _creationTime=Range(lte=before))
    rows = await query.order("desc").take(PURGED_AT_ONCE)
    for row in rows:
        await ctx.db.delete(row["_id"])
    if len(rows) == PURGED_AT_ONCE:
        await ctx.scheduler.run_after(0, clear_all, before=rows[-1]["_creationTime"])


@component.mutation
async def get_server_time(ctx: MutationCtx) -> float:
    """Now, in ms."""
    return ctx.now()


@component.query(internal=True)
async def used_up(ctx: QueryCtx, after: float | None, now: float) -> dict[str, Any]:
    """Of the next rows by their creation, those that say no more than no row would, and where to go on."""
    query = ctx.db.query("rate_limits")
    if after is not None:
        query = query.index("by_creation_time", _creationTime=Range(gte=after))
    rows = await query.take(PURGED_AT_ONCE)
    done = [row["_id"] for row in rows if row["full_at"] <= now]
    last = rows[-1]["_creationTime"] if len(rows) == PURGED_AT_ONCE and rows[-1]["_creationTime"] != after else None
    return {"ids": done, "last": last}


@component.mutation(internal=True)
async def purge(ctx: MutationCtx, after: float | None = None) -> None:
    """Remove the rows of limits that are as if never used. Looks without depending on what it saw, so nobody waits for it."""
    found = await ctx.run_query(used_up.options(stale=True), after=after, now=ctx.now())
    for id in found["ids"]:
        row = await ctx.db.get(id)
        if row is not None and row["full_at"] <= ctx.now():
            await ctx.db.delete(id)
    if found["last"] is not None:
        await ctx.scheduler.run_after(0, purge, after=found["last"])


component.cron("purge", every=HOUR)(purge)


@dataclass(frozen=True, slots=True)
class _Decision:
    ok: bool
    wait: float | None = None  # seconds
    lease: str | None = None


async def _limit(ctx: MutationCtx, asks: Sequence[Ask], throws: bool, rows: Rows | None = None) -> Answer:
    if any(ask["config"].get("deferred") for ask in asks):
        raise _refused("Deferred", f"{_names(asks)}: a deferred limit is asked by rate_limit_deferred, and by nothing else")
    answer, rows = await _decide(ctx, asks, throws, rows)
    if answer["ok"]:
        await rows.write()
    return answer


async def _decide(ctx: QueryCtx, asks: Sequence[Ask], throws: bool, rows: Rows | None = None) -> tuple[Answer, Rows]:
    """One after the other: what an ask would take is gone for those behind it, also where it is the same limit again."""
    rows = Rows(ctx) if rows is None else rows
    ok, wait, slowest, leases = True, None, None, []
    asked: dict[tuple[str, str | None], float] = {}
    for ask in asks:
        place = (ask["name"], ask.get("key"))
        before = asked.get(place, 0.0)
        decision = await _decide_one(ctx, rows, ask, before)
        asked[place] = before + ask.get("count", 1)
        if before and not (ok and decision.ok) and not (ask.get("reserve") and ask["config"]["kind"] == "sliding window"):
            # How long until all that the call asks of this limit fits, as nothing of it is taken now.
            decision = await _decide_one(ctx, Rows(ctx), Ask(**{**ask, "count": asked[place]}), 0.0)
        leases.append(decision.lease)
        if decision.wait is not None and ((ok and not decision.ok) or wait is None or (ok == decision.ok and decision.wait > wait)):
            wait, slowest = decision.wait, ask["name"]
        ok = ok and decision.ok
    if throws and wait is not None:
        raise AppError({"kind": "RateLimited", "name": slowest, "retryAfter": wait * 1000})
    answer = Answer(ok=ok)
    if wait is not None and slowest is not None:
        answer["retry_after"], answer["name"] = wait, slowest
    if ok and any(lease is not None for lease in leases):
        answer["leases"] = leases
    return answer, rows


async def _decide_one(ctx: QueryCtx, rows: Rows, ask: Ask, before: float) -> _Decision:
    """`before` is what the same call has asked of this limit already."""
    name, key, count, reserve = ask["name"], ask.get("key"), ask.get("count", 1), ask.get("reserve", False)
    limit = _limit_of(name, ask["config"])
    _check_count(name, count)
    if isinstance(limit, ConcurrencyLimit):
        return await _let_in(ctx, rows, name, key, limit, count, reserve, before)
    most = _most(limit, reserve)
    # What is reserved in a sliding window happens at a moment of its own.
    in_all = count if reserve and isinstance(limit, SlidingWindow) else before + count
    if in_all > most:
        way = "capacity and max_reserved together" if reserve else "its capacity"
        raise _refused(
            "CountTooLarge", f"rate limit {name!r}: a count of {in_all:g} exceeds {most:g}, {way}: it could never be let through"
        )
    if isinstance(limit, SlidingWindow):
        return await _slide(ctx, rows, name, key, limit, count, reserve)
    return await _take(ctx, rows, name, key, limit, count, reserve)


async def _take_from_one(ctx: MutationCtx, rows: Rows, name: str, key: str | None, limit: Limit, flow: Flow, count: float) -> bool:
    """Take from one row if that alone has enough, as most calls do: in one read and one write."""
    assert isinstance(limit, RATED)
    shard = ctx.random.randrange(limit.shards) if limit.shards > 1 else 0
    place = (name, key, shard)
    id = _ids.get(place)
    row = None if id is None else await ctx.db.get(id)
    if row is None or row["name"] != name or row["shard"] != shard or row.get("key") != key:
        row = await ctx.db.query("rate_limits").index("name", name=name, key=UNSET if key is None else key, shard=shard).first()
        if row is not None:
            if len(_ids) >= PLACES_MOST:
                _ids.clear()
            _ids[place] = row["_id"]
    held, since = fresh(part_of(limit), name, key) if row is None else (row["value"], row["ts"])
    value, ts = flow.refilled(held, since, ctx.now())
    if not 0 <= count <= value:
        rows.has_read(place, row)
        return False
    fields = {"value": value - count, "ts": ts, "full_at": flow.full_at(value - count, ts)}
    if row is not None:
        await ctx.db.patch(row["_id"], fields)
    else:
        keyed = {} if key is None else {"key": key}
        await ctx.db.insert("rate_limits", {"name": name, "shard": shard, **keyed, **fields})
    return True


async def _take(
    ctx: QueryCtx, rows: Rows, name: str, key: str | None, limit: TokenBucket | FixedWindow, count: float, reserve: bool
) -> _Decision:
    now, part = ctx.now(), part_of(limit)
    # Most calls read and write one row, of many where there are shards, so that they do not meet.
    shard = ctx.random.randrange(limit.shards) if limit.shards > 1 else 0
    state = state_of(await rows.one(name, key, shard), part, name, key, now)
    if state.value >= count:
        rows.put_state(name, key, shard, part, Held(state.value - count, state.ts))
        return _Decision(True)
    slack = tolerance(limit)
    states = await rows.states(name, key, limit, now)
    total = 0.0
    richest = sorted(range(limit.shards), key=lambda shard: -states[shard].value)
    for used, shard in enumerate(richest, 1):
        total += states[shard].value
        if total - count >= -slack:
            for paying in richest[:used]:
                rows.put_state(name, key, paying, part, Held((total - count) / used, states[paying].ts))
            return _Decision(True)
    missing = count - math.fsum(state.value for state in states)
    if not reserve:
        return _Decision(False, wait_for(states, part, count, now))
    if limit.max_reserved is not None and missing > limit.max_reserved + slack:
        return _Decision(False, wait_for(states, part, count - limit.max_reserved, now))
    after = [Held(-missing / limit.shards, state.ts) for state in states]
    for shard, state in enumerate(after):
        rows.put_state(name, key, shard, part, state)
    return _Decision(True, wait_for(after, part, 0.0, now))


async def _slide(ctx: QueryCtx, rows: Rows, name: str, key: str | None, limit: SlidingWindow, count: float, reserve: bool) -> _Decision:
    row = await rows.one(name, key, 0)
    now = now_of(ctx, row)
    events = still_counting(events_of(row), limit, now)
    opens = slides_open_at(events, limit, count, now)
    if opens <= now:
        rows.put_events(name, key, limit, with_event(events, limit, now, count), now)
        return _Decision(True)
    wait = (opens - ctx.now()) / 1000
    if not reserve:
        return _Decision(False, wait)
    if limit.max_reserved is not None:
        ahead = [event for event in events if event.ts > now]
        reserved = math.fsum(event.amount for event in ahead)
        room_at = now
        for event in ahead:
            if reserved + count <= limit.max_reserved + 1e-9 * limit.rate:
                break
            reserved, room_at = reserved - event.amount, event.ts
        if reserved + count > limit.max_reserved + 1e-9 * limit.rate:
            return _Decision(False, wait)
        if room_at > now:
            return _Decision(False, (min(room_at, opens) - ctx.now()) / 1000)
    after = with_event(events, limit, opens, count)
    if len(after) > EVENTS_MOST:  # wait until as many as are too many have passed
        return _Decision(False, (after[-EVENTS_MOST - 1].ts + seconds(limit.period) * 1000 - ctx.now()) / 1000)
    rows.put_events(name, key, limit, after, now)
    return _Decision(True, wait)


async def _let_in(
    ctx: QueryCtx, rows: Rows, name: str, key: str | None, limit: ConcurrencyLimit, count: float, reserve: bool, before: float
) -> _Decision:
    if reserve:
        raise _refused("NotReservable", f"rate limit {name!r} is a concurrency limit: nobody knows when others will be done")
    if not (count >= 1 and count == int(count) and before + count <= limit.capacity):
        wrong = f"a count of {before + count:g} is no whole number from 1 to {limit.capacity}"
        raise _refused("CountTooLarge", f"rate limit {name!r}: {wrong}")
    row = await rows.one(name, key, 0)
    now = now_of(ctx, row)
    holders = [holder for holder in holders_of(row) if holder["until"] > now + 1e-3]
    free = limit.capacity - sum(holder["count"] for holder in holders)
    if count <= free:
        lease = str(ctx.uuid4())
        held = Holder(lease=lease, count=count, until=now + seconds(limit.period) * 1000)
        rows.put_holders(name, key, limit.capacity, [*holders, held], now)
        return _Decision(True, lease=lease)
    until = now
    for holder in sorted(holders, key=lambda holder: holder["until"]):
        free, until = free + holder["count"], holder["until"]
        if count <= free:
            break
    return _Decision(False, (until - ctx.now()) / 1000)


async def _change_holder(ctx: MutationCtx, name: str, key: str | None, lease: str, until: float | None) -> bool:
    rows = Rows(ctx)
    row = await rows.one(name, key, 0)
    now = now_of(ctx, row)
    holders = holders_of(row)
    held = next((holder for holder in holders if holder["lease"] == lease and holder["until"] > now + 1e-3), None)
    if row is None or held is None:
        return False
    others = [holder for holder in holders if holder is not held]
    if until is not None:
        others.append(Holder(lease=lease, count=held["count"], until=max(until, held["until"])))
    capacity = row["value"] + math.fsum(holder["count"] for holder in holders)
    rows.put_holders(name, key, capacity, others, now)
    await rows.write()
    return True


def _limit_of(name: str, config: Config) -> Limit:
    """The limit that came along. The same ones come again and again."""
    known = _known.get(name)
    if known is None or known[0] != config:
        known = _get_to_know(name, config)
    return known[1]


def _get_to_know(name: str, config: Config) -> tuple[Config, Limit, Flow | None]:
    """Keep a limit by its name: what came along, what that is, and how a shard fills up that takes effect at once."""
    try:
        limit = from_config(config)
    except (ValueError, TypeError) as error:
        raise _refused("InvalidLimit", f"rate limit {name!r}: {error}") from None
    flow = Flow(part_of(limit)) if isinstance(limit, RATED) and not limit.deferred else None
    if len(_known) >= KNOWN_MOST:
        _known.clear()
    known = _known[name] = (Config(**config), limit, flow)
    return known


def _most(limit: TokenBucket | FixedWindow | SlidingWindow, reserve: bool) -> float:
    """The largest count that can ever be let through."""
    capacity = limit.rate if limit.capacity is None else limit.capacity
    if not reserve or isinstance(limit, SlidingWindow):  # what is reserved in a sliding window happens at one moment
        return capacity
    return math.inf if limit.max_reserved is None else capacity + limit.max_reserved


def _with_defaults(config: Config, limit: TokenBucket | FixedWindow) -> Config:
    full = Config(**config)
    full["capacity"] = limit.rate if limit.capacity is None else limit.capacity
    full["shards"] = limit.shards
    return full


def _names(asks: Sequence[Ask]) -> str:
    return ", ".join(f"rate limit {ask['name']!r}" for ask in asks)


def _consume(ask: Ask) -> Update:
    return Update(kind="consume", name=ask["name"], config=ask["config"], key=ask.get("key"), count=ask.get("count", 1))


def _check_count(name: str, count: float) -> None:
    if not 0 <= count <= LARGEST:
        raise _refused("InvalidCount", f"rate limit {name!r}: count must be from 0 to {LARGEST:g}, got {count}. To give back, use refund")


def _refused(code: str, message: str) -> AppError:
    return AppError({"code": code, "message": message})
