"""What actions gave, by a name and the arguments, with who is working on what is not there yet.

An entry is a document; reading it is a query that depends on it alone and on no clock, so that it is run again only when the entry
changes. A *flight* is one run of an action that others wait for: it ends with an entry, with an error, or late. Only a flight that is
still the one of its key may store, so what was removed meanwhile stays removed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, NotRequired, TypedDict

from interlock import ActionCtx, AppError, Component, MutationCtx, QueryCtx, Range, Schema, Table, to_text
from interlock_action_cache.heartbeat import ALIVE, heartbeat
from interlock_action_cache.keys import key_of
from interlock_action_cache.portions import WEIGHT_MOST, Portions

VALUE_MOST = 900_000  # bytes of a value as text: a document holds 1 MiB
ERROR_MOST = 20_000  # of an error that is only told to those who wait
AT_ONCE = 100
EVICTED_MOST = 1_000
HOUR = 3_600.0
LEASE = 60.0  # seconds, of a refresh that was planned without one
FAILURE_KEPT = 60_000.0  # ms in which those who waited learn of it
COUNTERS = ("hits", "stale", "misses", "shared", "failures")

entries = (
    Table(
        {
            "name": str,
            "key": str,
            "kind": Literal["value", "error"],
            "value": Any,
            "size": int,
            "stored": float,
            "used": float,
            "tags": list[str],
            "expires": NotRequired[float],
            "gone": NotRequired[float],  # from here on it is not even stale
        }
    )
    .index("key", "name", "key")
    .index("used", "name", "used")
    .index("stored", "stored")
    .index("named_stored", "name", "stored")
    .index("gone", "gone")
)
tags = Table({"tag": str, "entry": str, "stored": float}).index("tag", "tag", "stored").index("entry", "entry")
flights = (
    Table({"name": str, "key": str, "token": str, "until": float, "tags": list[str], "failed": NotRequired[dict[str, Any]]})
    .index("key", "name", "key")
    .index("until", "until")
)
totals = Table(
    {
        "name": str, "entries": int, "bytes": int, "stored": int, "evicted": int,
        "hits": int, "stale": int, "misses": int, "shared": int, "failures": int,
    }
).index("name", "name")  # fmt: skip

component = Component("action_cache", schema=Schema(entries=entries, tags=tags, flights=flights, totals=totals))

Row = dict[str, Any]


class Policy(TypedDict):
    """How a result is kept. Durations in seconds; what is absent is without end or not done."""

    ttl: NotRequired[float]
    stale: NotRequired[float]
    negative_ttl: NotRequired[float]
    max_entries: NotRequired[int]
    max_bytes: NotRequired[int]
    tags: NotRequired[list[str]]


class Found(TypedDict):
    """An entry as it crosses. `stored` and `expires` are ms since the epoch."""

    kind: Literal["value", "error"]
    value: Any
    stored: float
    used: float
    expires: NotRequired[float]


# reading


@component.query
async def entry(ctx: QueryCtx, name: str, key: str) -> Found | None:
    """The entry of a key, also one that has expired. Looks at no clock: the caller compares."""
    row = await _entry(ctx, name, key)
    return None if row is None else _found(row)


@component.query
async def get(ctx: QueryCtx, name: str, args: Any, ttl: float | None = None) -> dict[str, Any]:
    """`{"kind": "hit", "value": …}`, or a miss, with the `expired_entry` if there is one. `ttl`: how old it may be at most."""
    row = await _entry(ctx, name, key_of(to_text(args)))
    if row is None or row["kind"] == "error":
        return {"kind": "miss"}
    expires = min(row.get("expires", math.inf), math.inf if ttl is None else row["stored"] + ttl * 1000)
    return {"kind": "miss", "expired_entry": row["_id"]} if expires <= ctx.now() else {"kind": "hit", "value": row["value"]}


@component.query
async def statistics(ctx: QueryCtx, name: str) -> dict[str, int]:
    """How many entries of how many bytes a name has, and what has happened."""
    row = await ctx.db.query("totals").index("name", name=name).first()
    fields = ("entries", "bytes", "stored", "evicted", *COUNTERS)
    return {field: 0 if row is None else row[field] for field in fields}


# flights


@component.mutation
async def start(
    ctx: MutationCtx,
    name: str,
    key: str,
    lease: float,
    tags: list[str],
    seen: float | None = None,
    force: bool = False,
    alone: bool = False,
    noted: dict[str, int] | None = None,
) -> dict[str, Any]:
    """Who runs the action: `run` with a token, `wait` with the token of who does, or `found`, if it was stored meanwhile.

    `seen` is when the entry was stored that the caller does not want. Forced or `alone`, the caller's flight takes the place of another.
    """
    await _note(ctx, name, noted)
    if not force:
        row = await _entry(ctx, name, key)
        if row is not None and row["stored"] != seen and row.get("expires", math.inf) > ctx.now():
            return {"kind": "found", "entry": _found(row)}
    flight = await _flight(ctx, name, key)
    if flight is not None:
        if not force and not alone and flight["until"] > ctx.now() and "failed" not in flight:
            return {"kind": "wait", "token": flight["token"]}
        await ctx.db.delete(flight["_id"])
    token = str(ctx.uuid4())
    await ctx.db.insert("flights", {"name": name, "key": key, "token": token, "until": ctx.now() + lease * 1000, "tags": tags})
    return {"kind": "run", "token": token}


@component.mutation
async def renew(ctx: MutationCtx, name: str, key: str, token: str, lease: float) -> bool:
    """The run of a flight goes on: it holds for `lease` seconds from now. False if it has been taken over, removed or ended."""
    flight = await _flight(ctx, name, key)
    if flight is None or flight["token"] != token or "failed" in flight:
        return False
    await ctx.db.patch(flight["_id"], {"until": ctx.now() + lease * 1000})
    return True


@component.query
async def look(ctx: QueryCtx, name: str, key: str, token: str) -> dict[str, Any]:
    """What those who wait for a flight see: `flying` until a time, `failed`, or `landed`, with the entry if there is one."""
    flight = await _flight(ctx, name, key)
    if flight is not None and flight["token"] == token:
        return {"kind": "failed", **flight["failed"]} if "failed" in flight else {"kind": "flying", "until": flight["until"]}
    row = await _entry(ctx, name, key)
    return {"kind": "landed"} if row is None else {"kind": "landed", "entry": _found(row)}


@component.mutation
async def finish(ctx: MutationCtx, name: str, key: str, token: str, policy: Policy, value: Any, noted: dict[str, int] | None = None) -> str:
    """End a flight with its result. `created` or `replaced`; `lost` if it was taken over or removed; `too large` for a document."""
    await _note(ctx, name, noted)
    flight = await _flight(ctx, name, key)
    if flight is None or flight["token"] != token:
        return "lost"
    kept = await _store(ctx, name, key, "value", value, policy)
    await (_part(ctx, flight) if kept == "too large" else ctx.db.delete(flight["_id"]))
    return kept


@component.mutation
async def fail(
    ctx: MutationCtx, name: str, key: str, token: str, policy: Policy, error: dict[str, Any], noted: dict[str, int] | None = None
) -> None:
    """End a flight with an error, `{data}` of an AppError or `{message}`. Kept for `negative_ttl` if it is an AppError, and no value still
    holds.
    """
    await _note(ctx, name, {**(noted or {}), "failures": (noted or {}).get("failures", 0) + 1})
    flight = await _flight(ctx, name, key)
    if flight is None or flight["token"] != token:
        return
    row = await _entry(ctx, name, key)
    is_needed = row is not None and row["kind"] == "value" and row.get("expires", math.inf) > ctx.now()
    if "data" in error and "negative_ttl" in policy and not is_needed:
        await ctx.db.delete(flight["_id"])
        kept = Policy(**policy)
        kept["ttl"] = policy["negative_ttl"]
        kept.pop("stale", None)
        if await _store(ctx, name, key, "error", error["data"], kept) != "too large":
            return
        await ctx.db.insert("flights", {field: flight[field] for field in ("name", "key", "token", "tags", "until")})
        flight = await _flight(ctx, name, key)
        assert flight is not None
    failed = {"error": error} if len(to_text(error)) <= ERROR_MOST else {"error": {"message": "the action failed"}}
    await ctx.db.patch(flight["_id"], {"failed": failed, "until": ctx.now() + FAILURE_KEPT})


@component.mutation
async def revalidate(
    ctx: MutationCtx,
    name: str,
    key: str,
    handle: str,
    args: Any,
    lease: float,
    policy: Policy,
    seen: float,
    noted: dict[str, int] | None = None,
) -> bool:
    """Plan one run of the action in the background, unless somebody is at it already; whether it was planned."""
    begun = await start(ctx, name, key, lease, policy.get("tags", []), seen=seen, noted=noted)
    if begun["kind"] != "run":
        return False
    flight = {"name": name, "key": key, "token": begun["token"]}
    await ctx.scheduler.run_after(0, refresh, **flight, handle=handle, args=args, policy=policy, lease=lease)
    return True


@component.action(internal=True)
async def refresh(ctx: ActionCtx, name: str, key: str, token: str, handle: str, args: Any, policy: Policy, lease: float = LEASE) -> None:
    """The run behind `revalidate`. If it fails, what is stale stays until it is gone."""
    flight = {"name": name, "key": key, "token": token}
    if not await ctx.run_mutation(renew, **flight, lease=min(lease, ALIVE)):
        return  # its flight was removed or taken over before it began
    try:
        async with heartbeat(ctx, renew, flight, lease):
            value = await ctx.run_action(handle, **args)
    except Exception as error:
        await ctx.run_mutation(drop, **flight)
        ctx.log.warning(f"{name} could not be refreshed: {error}")
    else:
        await ctx.run_mutation(finish, **flight, policy=policy, value=value)


@component.mutation
async def drop(ctx: MutationCtx, name: str, key: str, token: str, is_over: bool = False) -> None:
    """End a flight with nothing. `is_over`: its run has succeeded, but its result cannot be kept."""
    await _note(ctx, name, {"failures": 1})
    flight = await _flight(ctx, name, key)
    if flight is not None and flight["token"] == token:
        await (_part(ctx, flight) if is_over else ctx.db.delete(flight["_id"]))


async def _part(ctx: MutationCtx, flight: Row) -> None:
    """Tell those who wait that there will be nothing to share: each is to run the action by itself, and none after the other."""
    await ctx.db.patch(flight["_id"], {"failed": {"alone": True}, "until": ctx.now() + FAILURE_KEPT})


# writing


@component.mutation
async def put(ctx: MutationCtx, name: str, args: Any, value: Any, ttl: float | None = None, tags: list[str] | None = None) -> str:
    """Store a value: `created`, `replaced` or `too large`. An entry that is there gets the new value and the new time."""
    policy = Policy(tags=tags or [])
    if ttl is not None:
        policy["ttl"] = ttl
    return await _store(ctx, name, key_of(to_text(args)), "value", value, policy)


@component.mutation
async def touch(ctx: MutationCtx, name: str, key: str, noted: dict[str, int] | None = None) -> None:
    """An entry was used: it is evicted later."""
    await _note(ctx, name, noted)
    row = await _entry(ctx, name, key)
    if row is not None:
        await ctx.db.patch(row["_id"], {"used": ctx.now()})


@component.mutation
async def remove(ctx: MutationCtx, name: str, key: str | None = None, args: Any = None) -> bool:
    """Remove one entry, by its key or its arguments; whether there was one. A run of the action that is under way will not store."""
    place = key_of(to_text(args)) if key is None else key
    flight = await _flight(ctx, name, place)
    if flight is not None:
        await ctx.db.delete(flight["_id"])
    row = await _entry(ctx, name, place)
    if row is not None:
        await _delete(ctx, row)
    return row is not None


@component.mutation
async def remove_all(ctx: MutationCtx, name: str | None = None, batch_size: int = AT_ONCE, before: float | None = None) -> None:
    """Remove what was stored until `before` (ms, now unless given), of a name or of all: a batch now, the rest in the background."""
    if batch_size < 1:
        raise AppError({"code": "InvalidBatchSize", "message": f"batch_size must be 1 or more, got {batch_size}"})
    query = ctx.db.query("flights")
    for flight in await (query if name is None else query.index("key", name=name)).collect():
        if before is None or flight["_creationTime"] <= before:
            await ctx.db.delete(flight["_id"])
    until = ctx.now() if before is None else before
    size = min(batch_size, AT_ONCE)
    if name is None:
        stored = ctx.db.query("entries").index("stored", stored=Range(lte=until))
    else:
        stored = ctx.db.query("entries").index("named_stored", name=name, stored=Range(lte=until))
    rows = Portions(stored.order("desc"), size)
    async for row in rows:
        await _delete(ctx, row)
    if not rows.is_done:
        await ctx.scheduler.run_after(0, remove_all, name=name, batch_size=batch_size, before=until)


@component.mutation
async def remove_tag(ctx: MutationCtx, tag: str, before: float | None = None) -> None:
    """Remove what was stored with a tag, whatever its name: a batch now, the rest in the background."""
    until = ctx.now() if before is None else before
    if before is None:
        for flight in await ctx.db.query("flights").collect():
            if tag in flight["tags"]:
                await ctx.db.delete(flight["_id"])
    marks = await ctx.db.query("tags").index("tag", tag=tag, stored=Range(lte=until)).take(AT_ONCE)
    weight = 0
    for mark in marks:
        row = await ctx.db.get(mark["entry"])
        if row is not None:
            await _delete(ctx, row)
            weight += row["size"]
        if weight > WEIGHT_MOST:
            break
    if len(marks) == AT_ONCE or weight > WEIGHT_MOST:
        await ctx.scheduler.run_after(0, remove_tag, tag=tag, before=until)


@component.mutation(internal=True)
async def purge(ctx: MutationCtx) -> None:
    """Remove what nobody will be given any more."""
    rows = Portions(ctx.db.query("entries").index("gone", gone=Range(gt=0, lte=ctx.now())), AT_ONCE)
    async for row in rows:
        await _delete(ctx, row)
    late = await ctx.db.query("flights").index("until", until=Range(lte=ctx.now())).take(AT_ONCE)
    for flight in late:
        await ctx.db.delete(flight["_id"])
    if not rows.is_done or len(late) == AT_ONCE:
        await ctx.scheduler.run_after(0, purge)


component.cron("purge", every=HOUR)(purge)


async def _entry(ctx: QueryCtx, name: str, key: str) -> Row | None:
    return await ctx.db.query("entries").index("key", name=name, key=key).first()


async def _flight(ctx: QueryCtx, name: str, key: str) -> Row | None:
    return await ctx.db.query("flights").index("key", name=name, key=key).first()


def _found(row: Row) -> Found:
    found = Found(kind=row["kind"], value=row["value"], stored=row["stored"], used=row["used"])
    if "expires" in row:
        found["expires"] = row["expires"]
    return found


async def _store(ctx: MutationCtx, name: str, key: str, kind: str, value: Any, policy: Policy) -> str:
    size = len(to_text(value).encode()) + len(key.encode())
    old = await _entry(ctx, name, key)
    if old is not None:
        await _delete(ctx, old)
    if size > min(VALUE_MOST, policy.get("max_bytes", VALUE_MOST)):
        return "too large"
    now = ctx.now()
    row: Row = {
        "name": name,
        "key": key,
        "kind": kind,
        "value": value,
        "size": size,
        "stored": now,
        "used": now,
        "tags": policy.get("tags", []),
    }
    if "ttl" in policy:
        row["expires"] = now + policy["ttl"] * 1000
        row["gone"] = row["expires"] + policy.get("stale", 0.0) * 1000
    id = await ctx.db.insert("entries", row)
    for tag in set(row["tags"]):
        await ctx.db.insert("tags", {"tag": tag, "entry": id, "stored": now})
    total = await _add(ctx, name, {"entries": 1, "bytes": size, "stored": 1})
    await _evict(ctx, name, id, total, policy)
    return "created" if old is None else "replaced"


async def _evict(ctx: MutationCtx, name: str, kept: str, total: Row, policy: Policy) -> None:
    """Remove those that were not used for the longest, until the name is within its budget."""
    most_entries, most_bytes = policy.get("max_entries", math.inf), policy.get("max_bytes", math.inf)
    if total["entries"] <= most_entries and total["bytes"] <= most_bytes:
        return
    async for row in Portions(ctx.db.query("entries").index("used", name=name), EVICTED_MOST):
        if row["_id"] == kept:  # it is the newest: there are no others
            return
        await _delete(ctx, row)
        total = await _add(ctx, name, {"evicted": 1})
        if total["entries"] <= most_entries and total["bytes"] <= most_bytes:
            return


async def _delete(ctx: MutationCtx, row: Row) -> None:
    for mark in await ctx.db.query("tags").index("entry", entry=row["_id"]).collect():
        await ctx.db.delete(mark["_id"])
    await ctx.db.delete(row["_id"])
    await _add(ctx, row["name"], {"entries": -1, "bytes": -row["size"]})


async def _add(ctx: MutationCtx, name: str, amounts: Mapping[str, int]) -> Row:
    row = await ctx.db.query("totals").index("name", name=name).first()
    if row is None:
        row = {"name": name, "entries": 0, "bytes": 0, "stored": 0, "evicted": 0, **dict.fromkeys(COUNTERS, 0)}
        row |= {field: row[field] + amount for field, amount in amounts.items()}
        await ctx.db.insert("totals", row)
        return row
    fields = {field: row[field] + amount for field, amount in amounts.items()}
    await ctx.db.patch(row["_id"], fields)
    return {**row, **fields}


async def _note(ctx: MutationCtx, name: str, noted: Mapping[str, int] | None) -> None:
    counted = {field: noted[field] for field in COUNTERS if noted and noted.get(field)}
    if counted:
        await _add(ctx, name, counted)
