"""The typed face of the component: what an app imports.

It runs in the app, and does nothing but call the component through the mount that it was given.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

from interlock import ActionCtx, AppError, Function, MutationCtx, QueryCtx, mutation, query
from interlock_rate_limiter.arithmetic import on_whole_ms
from interlock_rate_limiter.errors import typed
from interlock_rate_limiter.limits import ConcurrencyLimit, Config, FixedWindow, Limit, SlidingWindow, TokenBucket, from_config

Reader = QueryCtx | ActionCtx
Writer = MutationCtx | ActionCtx
ClientKey = str | Callable[[QueryCtx, str | None], Awaitable[str | None]]


@dataclass(frozen=True, slots=True)
class Status:
    """The answer of a limit.

    Refused: the same call fits after `retry_after` seconds. Reserved: begin the work after `retry_after` seconds, without asking
    again. `name` is the limit that has the longest wait. `leases` are what a concurrency limit gave, one an ask.
    """

    ok: bool
    retry_after: float | None = None
    name: str | None = None
    leases: tuple[str | None, ...] = ()

    @property
    def lease(self) -> str | None:
        """What to give back, of a single ask of a concurrency limit."""
        return self.leases[0] if self.leases else None

    def retry_after_jittered(self, spread: float = 0.5, *, random: Random | None = None) -> float | None:
        """`retry_after` and up to `spread` of it more, by chance: so that not all who were refused come back at one moment.

        In a mutation pass `random=ctx.random`.
        """
        if self.retry_after is None:
            return None
        return self.retry_after * (1 + spread * (random or Random()).random())


_TAKEN = Status(True)


@dataclass(frozen=True, slots=True)
class Value:
    """What a limit has left as of `ts` (ms), not moved on to now: `calculate_rate_limit(value, value.config, ctx.now())` does that.

    `shard` is the fullest that was read. `exact` is False for an estimate from some of the shards. `config` has its defaults
    filled in, and the start of a window for `start`.
    """

    value: float
    ts: float
    shard: int
    config: Any
    exact: bool


@dataclass(frozen=True, slots=True)
class Ask:
    """One of several limits that are asked at once."""

    name: str
    key: str | None = None
    count: float = 1
    reserve: bool = False
    config: Limit | None = None


class RateLimiter:
    """Limits by name: `RateLimiter(components.rate_limiter, {"send": TokenBucket(rate=10, period=MINUTE)})`.

    Several objects may share a mount if their names differ. A call may bring its limit along as `config`.
    """

    def __init__(self, component: Any, limits: Mapping[str, Limit] | None = None) -> None:
        self._mount, self._rate_limit = component, component.rate_limit
        self._limits = dict(limits or {})
        self._configs = {name: _config(name, limit) for name, limit in self._limits.items()}

    async def limit(
        self,
        ctx: Writer,
        name: str,
        *,
        key: str | None = None,
        count: float = 1,
        reserve: bool = False,
        throws: bool = False,
        config: Limit | None = None,
    ) -> Status:
        """Take `count` tokens; a refused call takes none.

        `reserve` takes them ahead: the answer says when the work may begin. With `throws`, whatever carries a wait raises
        `RateLimited`, a reservation too, which is undone with it.
        """
        args = self._args(name, key, count, config)
        if reserve:
            args["reserve"] = True
        if args["config"].get("deferred"):
            return await self._limit_deferred(ctx, [args], throws)
        if throws:
            args["throws"] = True
        try:
            return _status(await ctx.run_mutation(self._rate_limit, **args))
        except AppError as error:
            raise typed(error) from None

    async def limit_many(self, ctx: Writer, asks: Sequence[Ask], *, throws: bool = False) -> Status:
        """Take from several limits: from all or from none. `retry_after` is the longest, `name` says whose.

        Raises ValueError for deferred limits and others in one call.
        """
        asked = self._asks(asks)
        deferred = [bool(ask["config"].get("deferred")) for ask in asked]
        if any(deferred):
            if not all(deferred):
                raise ValueError("deferred limits and others are not asked in one call: what is deferred could not be undone with them")
            return await self._limit_deferred(ctx, asked, throws)
        try:
            return _status(await ctx.run_mutation(self._mount.rate_limit_many, asks=asked, throws=throws))
        except AppError as error:
            raise typed(error) from None

    async def _limit_deferred(self, ctx: Writer, asks: list[dict[str, Any]], throws: bool) -> Status:
        try:
            return _status(await ctx.run_mutation(self._mount.rate_limit_deferred, asks=asks, throws=throws))
        except AppError as error:
            raise typed(error) from None

    async def check(
        self,
        ctx: Reader,
        name: str,
        *,
        key: str | None = None,
        count: float = 1,
        reserve: bool = False,
        throws: bool = False,
        config: Limit | None = None,
    ) -> Status:
        """What `limit` would answer. Takes nothing; in queries too."""
        args = self._args(name, key, count, config)
        ref = self._mount.check_rate_limit
        if args["config"].get("deferred"):
            ref = ref.options(stale=True)  # as `limit` looks: in a mutation without depending on what it sees
        try:
            return _status(await ctx.run_query(ref, reserve=reserve, throws=throws, **args))
        except AppError as error:
            raise typed(error) from None

    async def check_many(self, ctx: Reader, asks: Sequence[Ask], *, throws: bool = False) -> Status:
        """What `limit_many` would answer."""
        try:
            return _status(await ctx.run_query(self._mount.check_rate_limit_many, asks=self._asks(asks), throws=throws))
        except AppError as error:
            raise typed(error) from None

    async def refund(self, ctx: Writer, name: str, *, key: str | None = None, count: float = 1, config: Limit | None = None) -> None:
        """Give tokens back, at most up to what the limit can hold."""
        await ctx.run_mutation(self._mount.refund, **self._args(name, key, count, config))

    async def release(self, ctx: Writer, name: str, lease: str, *, key: str | None = None) -> bool:
        """Give back what a concurrency limit let in; whether it was still held."""
        held: bool = await ctx.run_mutation(self._mount.release, name=name, lease=lease, **_keyed(key))
        return held

    async def renew(self, ctx: Writer, name: str, lease: str, *, key: str | None = None, config: Limit | None = None) -> bool:
        """Hold on for another period from now; whether it was still held."""
        config_ = self._config_of(name, config)
        held: bool = await ctx.run_mutation(self._mount.renew, name=name, lease=lease, config=config_, **_keyed(key))
        return held

    @asynccontextmanager
    async def hold(
        self, ctx: ActionCtx, name: str, *, key: str | None = None, count: int = 1, config: Limit | None = None
    ) -> AsyncIterator[str]:
        """In an action: `async with limits.hold(ctx, "renders"):`. Raises `RateLimited` when full; gives back at the end."""
        status = await self.limit(ctx, name, key=key, count=count, throws=True, config=config)
        if status.lease is None:
            raise ValueError(f"{name!r} is no concurrency limit, so there is nothing to hold: call limit()")
        try:
            yield status.lease
        finally:
            await self.release(ctx, name, status.lease, key=key)

    async def reset(self, ctx: Writer, name: str, *, key: str | None = None, config: Limit | None = None) -> None:
        """As if the limit had never been used. Without a key: the one that is shared, not those of keys."""
        known = self._configs.get(name) if config is None else _config(name, config)
        if known is not None and known.get("deferred"):
            update = {"kind": "reset", "name": name, "config": known, **_keyed(key)}
            await ctx.run_mutation(self._mount.enqueue_updates, updates=[update])
        else:
            await ctx.run_mutation(self._mount.reset_rate_limit, name=name, **_keyed(key))

    async def clear_all(self, ctx: Writer, *, before: float | None = None) -> None:
        """Forget every limit of the mount that began before a time (ms), in the background if there are many."""
        await ctx.run_mutation(self._mount.clear_all, **({} if before is None else {"before": before}))

    async def get_value(
        self, ctx: Reader, name: str, *, key: str | None = None, sample_shards: int = 1, config: Limit | None = None
    ) -> Value:
        """What the limit has left, as stored: a query that shows it is run again only when the limit is used."""
        found = await self._stored(ctx, name, key, sample_shards, config)
        return Value(found["value"], found["ts"], found["shard"], from_config(found["config"]), found["exact"])

    def client_api(
        self, name: str, *, key: ClientKey | None = None, sample_shards: int = 1
    ) -> tuple[Function[..., Any], Function[..., Any]]:
        """The two public functions that the official React hook `useRateLimit` calls:
        `get_rate_limit, get_server_time = limits.client_api("send", key=…)`.

        `key` is a constant, or `async (ctx, key_from_client) -> key`, which says what this client may see; a key that a client
        sends without there being such a function is refused.
        """
        limit = self._limits.get(name)
        if not isinstance(limit, TokenBucket | FixedWindow):
            self._config_of(name, None)
            raise ValueError(f"rate limit {name!r}: the client hook knows token buckets and fixed windows alone")

        @query
        async def get_rate_limit(
            ctx: QueryCtx,
            name: str | None = None,
            key: str | None = None,
            sample_shards: int | None = None,
            config: Any = None,
        ) -> dict[str, Any]:
            """What is left of the limit, in the shape of the official hook: milliseconds throughout."""
            return await self._for_client(ctx, shown, name, key_of, key, sample_shards or shards_read, config)

        @mutation
        async def get_server_time(ctx: MutationCtx) -> float:
            """Now, in ms."""
            return ctx.now()

        shown, key_of, shards_read = name, key, sample_shards
        return get_rate_limit, get_server_time

    async def _for_client(
        self, ctx: QueryCtx, name: str, asked_name: str | None, key_of: ClientKey | None, asked_key: str | None, reads: int, config: Any
    ) -> dict[str, Any]:
        if asked_name not in (None, name):
            raise AppError({"code": "OtherLimit", "message": f"this function shows the rate limit {name!r}, not {asked_name!r}"})
        if config is not None:
            raise AppError({"code": "ConfigRefused", "message": "a client does not say what a rate limit allows: leave out config"})
        if callable(key_of):
            key = await key_of(ctx, asked_key)
        elif asked_key is not None and asked_key != key_of:
            message = "a client may not choose the key: give client_api a function of the key that it sent"
            raise AppError({"code": "KeyRefused", "message": message})
        else:
            key = key_of
        found = await self._stored(ctx, name, key, reads, None)
        config = found["config"]
        wire = {field: config[field] for field in ("kind", "rate", "capacity", "shards", "start") if field in config}
        if "max_reserved" in config:
            wire["maxReserved"] = config["max_reserved"]
        value, ts = on_whole_ms(found["value"], found["ts"], from_config(config))
        return {"value": value, "ts": ts, "shard": found["shard"], "config": {**wire, "period": config["period"] * 1000}}

    async def _stored(self, ctx: Reader, name: str, key: str | None, reads: int, config: Limit | None) -> dict[str, Any]:
        config_ = self._config_of(name, config)
        found: dict[str, Any] = await ctx.run_query(self._mount.get_value, name=name, config=config_, sample_shards=reads, **_keyed(key))
        return found

    def _args(self, name: str, key: str | None, count: float, config: Limit | None) -> dict[str, Any]:
        args: dict[str, Any] = {"name": name, "config": self._config_of(name, config)}
        if count != 1 or isinstance(count, bool):  # the component refuses True
            args["count"] = count
        if key is not None:
            args["key"] = key
        return args

    def _asks(self, asks: Sequence[Ask]) -> list[dict[str, Any]]:
        return [{**self._args(ask.name, ask.key, ask.count, ask.config), "reserve": ask.reserve} for ask in asks]

    def _config_of(self, name: str, config: Limit | None) -> Config:
        if config is not None:
            return _config(name, config)
        if name not in self._configs:
            known = ", ".join(sorted(self._configs)) or "none"
            raise ValueError(f"no rate limit is named {name!r} (there are: {known}). Name it in RateLimiter(…, {{…}}) or pass config=")
        return self._configs[name]


def _config(name: str, limit: Limit) -> Config:
    if not isinstance(limit, TokenBucket | FixedWindow | SlidingWindow | ConcurrencyLimit):
        raise TypeError(f"the rate limit {name!r} must be a TokenBucket, FixedWindow, SlidingWindow or ConcurrencyLimit, got {limit!r}")
    return limit.to_config()


def _keyed(key: str | None) -> dict[str, str]:
    return {} if key is None else {"key": key}


def _status(answer: dict[str, Any]) -> Status:
    if len(answer) == 1 and answer["ok"]:
        return _TAKEN
    return Status(answer["ok"], answer.get("retry_after"), answer.get("name"), tuple(answer.get("leases", ())))
