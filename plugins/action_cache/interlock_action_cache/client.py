"""The typed face of the component: what an app imports.

It runs in the app, calls the app's action, and calls the component through the mount that it was given.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from interlock import ActionCtx, AppError, Function, InterlockError, MutationCtx, QueryCtx, Reference, ValueRefused, reference, to_text
from interlock_action_cache.heartbeat import ALIVE, heartbeat
from interlock_action_cache.keys import key_of

Reader = QueryCtx | ActionCtx
Writer = MutationCtx | ActionCtx
Tags = Iterable[str] | Callable[[Mapping[str, Any]], Iterable[str]]

LOOK_FIRST, LOOK_MOST, LOOK_GROWTH = 0.005, 0.25, 1.5  # seconds between two looks at a run that another process has begun
KEYS_KEPT, KEY_KEPT = 1_000, 200  # keys that are remembered, and of how many characters at most
ALONE: Final[dict[str, Any]] = {}  # of a run whose result cannot be kept: whoever waited runs the action by itself
DATA_MOST = 900_000  # characters of the data of an error that others get
_EXACT = frozenset({str, int, bool, type(None)})  # what can be looked up as it is: 0.0 and -0.0 are equal
TOUCHED_EVERY = 60_000.0  # ms: how exactly it is known which entry was used last


class _Default:
    """`ttl` was not given: the one of the cache holds."""


DEFAULT: Final = _Default()


class ActionFailed(AppError):
    """The run that this call waited for failed with an error that was no AppError. Not kept: the next call runs the action."""


@dataclass(frozen=True, slots=True)
class Cached:
    """An entry that holds. `stored` and `expires` are ms since the epoch; `expires` is None without an end."""

    value: Any
    stored: float
    expires: float | None


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a name holds, and what has happened since it was first used. Of other processes' hits, those that were written so far."""

    entries: int
    bytes: int
    stored: int
    evicted: int
    hits: int
    stale: int
    misses: int
    shared: int
    failures: int


class ActionCache:
    """Results of one action: `embeddings = ActionCache(components.action_cache, embed, ttl=DAY)`.

    Durations are seconds or a `timedelta`. `ttl`: how long a result holds, None is for ever. `stale`: for how long after that it is
    still given while one run in the background refreshes it. `negative_ttl`: how long an AppError is given again. `max_entries` and
    `max_bytes` bound what the name keeps; those not used for the longest go. `tags`: of every entry, or a function of the arguments.
    `lease`: how long a run may take until another caller begins its own. `log` writes a line of JSON a fetch.
    """

    def __init__(
        self,
        component: Any,
        action: Reference | str,
        *,
        name: str | None = None,
        ttl: float | timedelta | None = None,
        stale: float | timedelta | None = None,
        negative_ttl: float | timedelta | None = None,
        max_entries: int | None = None,
        max_bytes: int | None = None,
        tags: Tags = (),
        lease: float | timedelta = 60.0,
        log: bool = False,
    ) -> None:
        if isinstance(action, Function) and action.kind != "action":
            raise TypeError(f"{action.own_name} is a {action.kind}: an ActionCache keeps what an action gave")
        if stale is not None and ttl is None:
            raise ValueError("stale needs a ttl: without one nothing gets stale")
        self._mount, self._action, self._name, self._log = component, action, name, log
        self._ttl, self._tags, lease_seconds = _seconds("ttl", ttl), tags, _seconds("lease", lease)
        if lease_seconds is None:
            raise ValueError("lease must be a number of seconds, or a timedelta: None is for ever, and a run may never end")
        if not lease_seconds:
            raise ValueError("lease must be more than 0 seconds: no run would ever be waited for")
        self._lease = lease_seconds
        self._policy: dict[str, Any] = {}
        for field, value in (("stale", _seconds("stale", stale)), ("negative_ttl", _seconds("negative_ttl", negative_ttl))):
            if value is not None:
                self._policy[field] = value
        for field, most in (("max_entries", max_entries), ("max_bytes", max_bytes)):
            if most is not None:
                if isinstance(most, bool) or not isinstance(most, int) or most < 1:
                    raise ValueError(f"{field} must be a whole number from 1, got {most!r}")
                self._policy[field] = most
        self._defaults: dict[str, Any] | None = None  # of the action's parameters
        self._keys: dict[tuple[Any, ...], str] = {}  # of arguments that were given lately
        # Hits are counted here and written along with the next write, so that a hit writes nothing.
        self._noted: Counter[str] = Counter()
        # Those in this process who wait for a run of this process: they look again as soon as it has ended. A hint, nothing more.
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}

    @property
    def name(self) -> str:
        """Under which name the results are kept: the action's own, unless another was given."""
        if self._name is None:
            target = (reference(self._action) if isinstance(self._action, str) else self._action).target
            self._name = f"{target.mount}/{target.name}" if target.mount else target.name
        return self._name

    async def fetch(
        self,
        ctx: ActionCtx,
        args: Mapping[str, Any] | None = None,
        *,
        ttl: float | timedelta | _Default | None = DEFAULT,
        force: bool = False,
        single_flight: bool = True,
    ) -> Any:
        """The result of the action for these arguments: a kept one, or that of a run, which is then kept.

        Calls that miss at once, in whatever process, share one run, and its error if it fails. `ttl` says for this call how old a
        result may be and how long a new one holds; None is for ever. `force` runs the action and replaces what is there.
        """
        key, seconds_ = self._key(args), self._ttl if isinstance(ttl, _Default) else _seconds("ttl", ttl)
        found = None if force else await ctx.run_query(self._mount.entry, name=self.name, key=key)
        if found is not None and self._holds(found, seconds_, ctx.now()):
            return await self._hit(ctx, key, found, "hit")
        policy = self._policy_for(args, seconds_)
        if found is not None and found["kind"] == "value" and self._may_be_stale(found, seconds_, ctx.now()):
            noted = self._take_noted()
            handle = await ctx.function_handle(self._action)
            await ctx.run_mutation(
                self._mount.revalidate,
                handle=handle,
                args=dict(args or {}),
                policy=policy,
                seen=found["stored"],
                noted=noted,
                name=self.name,
                key=key,
                lease=self._lease,
            )
            return await self._hit(ctx, key, found, "stale")
        seen = None if found is None else found["stored"]
        return await self._miss(ctx, key, args, policy, seconds_, seen, force, single_flight)

    async def get_cached(self, ctx: Reader, args: Mapping[str, Any] | None = None) -> Cached | None:
        """The kept result, if there is one that holds; the action is not run. In queries and mutations too."""
        found = await ctx.run_query(self._mount.entry, name=self.name, key=self._key(args))
        if found is None or found["kind"] == "error" or not self._holds(found, self._ttl, ctx.now()):
            return None
        return Cached(found["value"], found["stored"], found.get("expires"))

    async def remove(self, ctx: Writer, args: Mapping[str, Any] | None = None) -> bool:
        """Forget one result; whether there was one. A run that is under way will not be kept."""
        removed: bool = await ctx.run_mutation(self._mount.remove, name=self.name, key=self._key(args))
        return removed

    async def remove_all_for_name(self, ctx: Writer, *, batch_size: int = 100) -> None:
        """Forget all results of this name that were kept until now; in the background if they are many."""
        await ctx.run_mutation(self._mount.remove_all, name=self.name, batch_size=batch_size)

    @staticmethod
    async def remove_all(ctx: Writer, component: Any, *, before: float | None = None) -> None:
        """Forget all results of a mount that were kept until now, or until `before` (ms)."""
        await ctx.run_mutation(component.remove_all, **({} if before is None else {"before": before}))

    @staticmethod
    async def remove_tag(ctx: Writer, component: Any, tag: str) -> None:
        """Forget all results of a mount that have this tag, whatever their names."""
        await ctx.run_mutation(component.remove_tag, tag=tag)

    async def statistics(self, ctx: Reader) -> Statistics:
        """What is kept under this name, and what has happened."""
        counted = await ctx.run_query(self._mount.statistics, name=self.name)
        return Statistics(**{field: number + self._noted[field] for field, number in counted.items()})

    async def _miss(
        self,
        ctx: ActionCtx,
        key: str,
        args: Mapping[str, Any] | None,
        policy: dict[str, Any],
        ttl: float | None,
        seen: float | None,
        force: bool,
        single_flight: bool,
    ) -> Any:
        while True:
            begun = await ctx.run_mutation(
                self._mount.start,
                tags=policy["tags"],
                seen=seen,
                force=force,
                alone=not single_flight,
                noted=self._take_noted(),
                name=self.name,
                key=key,
                lease=min(self._lease, ALIVE),
            )
            if begun["kind"] == "found":
                if self._holds(begun["entry"], ttl, ctx.now()):
                    return await self._hit(ctx, key, begun["entry"], "hit")
                seen = begun["entry"]["stored"]
            elif begun["kind"] == "run":
                return await self._run(ctx, key, args, policy, begun["token"])
            else:
                landed = await self._wait(ctx, key, begun["token"])
                if landed is ALONE:
                    self._noted["misses"] += 1
                    return await ctx.run_action(self._action, **(args or {}))
                if landed is not None:
                    return await self._hit(ctx, key, landed, "shared")

    async def _run(self, ctx: ActionCtx, key: str, args: Mapping[str, Any] | None, policy: dict[str, Any], token: str) -> Any:
        self._noted["misses"] += 1
        flight = {"name": self.name, "key": key, "token": token}
        place = {**flight, "policy": policy}
        try:
            async with heartbeat(ctx, self._mount.renew, flight, self._lease):
                value = await ctx.run_action(self._action, **(args or {}))
        except Exception as error:
            told = _told(error) or {"message": f"the run of {self.name} that was waited for failed"}
            with suppress(Exception):  # then the lease ends it
                await ctx.run_mutation(self._mount.fail, error=told, noted=self._take_noted(), **place)
            raise
        except BaseException:
            with suppress(Exception):  # cancelled: somebody else may run it
                await ctx.run_mutation(self._mount.drop, **flight)
            raise
        else:
            try:
                kept = await ctx.run_mutation(self._mount.finish, value=value, noted=self._take_noted(), **place)
            except InterlockError as error:  # the run has its result all the same
                kept = "not kept"
                ctx.log.warning(f"a result of {self.name} is given but not kept: {error}")
                with suppress(InterlockError):
                    await ctx.run_mutation(self._mount.drop, **flight, is_over=True)
            self._write_log(ctx, "miss", kept)
            return value
        finally:
            self._wake(key)

    async def _wait(self, ctx: ActionCtx, key: str, token: str) -> dict[str, Any] | None:
        """What the run of another came to; None if that is for this caller to begin again, ALONE if it cannot be shared."""
        pause = LOOK_FIRST
        while True:
            seen = await ctx.run_query(self._mount.look, name=self.name, key=key, token=token)
            if seen["kind"] == "landed":
                entry: dict[str, Any] | None = seen.get("entry")
                return entry
            if seen.get("alone"):
                return ALONE
            if seen["kind"] == "failed":
                error = seen["error"]
                raise AppError(error["data"]) if "data" in error else ActionFailed({"code": "ActionFailed", "message": error["message"]})
            if seen["until"] <= ctx.now():
                return None
            await self._pause(key, pause)
            pause = min(pause * LOOK_GROWTH, LOOK_MOST)

    async def _pause(self, key: str, seconds: float) -> None:
        ended = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(ended)
        try:
            await asyncio.wait([ended], timeout=seconds)
        finally:
            waiting = self._waiting.get(key, [])
            if ended in waiting:
                waiting.remove(ended)
                if not waiting:
                    del self._waiting[key]

    def _wake(self, key: str) -> None:
        for ended in self._waiting.pop(key, []):
            with suppress(RuntimeError):  # the loop of the one who waited has ended
                ended.get_loop().call_soon_threadsafe(_set, ended)

    async def _hit(self, ctx: ActionCtx, key: str, found: dict[str, Any], how: str) -> Any:
        self._noted["hits" if how == "hit" else how] += 1
        self._write_log(ctx, how, None)
        if ("max_entries" in self._policy or "max_bytes" in self._policy) and ctx.now() - found["used"] >= TOUCHED_EVERY:
            await ctx.run_mutation(self._mount.touch, name=self.name, key=key, noted=self._take_noted())
        if found["kind"] == "error":
            raise AppError(found["value"])
        return found["value"]

    def _write_log(self, ctx: ActionCtx, get: str, put: str | None) -> None:
        if self._log:
            ctx.log.info(json.dumps({"type": "action_cache", "name": self.name, "get": get, "put": put}))

    def _take_noted(self) -> dict[str, int]:
        noted, self._noted = dict(self._noted), Counter()
        return noted

    def _policy_for(self, args: Mapping[str, Any] | None, ttl: float | None) -> dict[str, Any]:
        tags = self._tags(args or {}) if callable(self._tags) else self._tags
        policy = {**self._policy, "tags": [tags] if isinstance(tags, str) else sorted(set(tags))}
        if ttl is not None:
            policy["ttl"] = ttl
        return policy

    def _holds(self, found: dict[str, Any], ttl: float | None, now: float) -> bool:
        return _expiry(found, ttl) > now

    def _may_be_stale(self, found: dict[str, Any], ttl: float | None, now: float) -> bool:
        return "stale" in self._policy and _expiry(found, ttl) + self._policy["stale"] * 1000 > now

    def _key(self, args: Mapping[str, Any] | None) -> str:
        """The same for arguments that the action cannot tell apart: checked, coerced, with defaults filled in."""
        if not args or not all([type(value) in _EXACT for value in args.values()]):
            return self._made_key(args)
        mark = (*args.items(), *map(type, args.values()))  # 1 and True are equal, and two values
        key = self._keys.get(mark)
        if key is None:
            key = self._made_key(args)
            if len(key) <= KEY_KEPT:
                if len(self._keys) >= KEYS_KEPT:
                    self._keys.clear()
                self._keys[mark] = key
        return key

    def _made_key(self, args: Mapping[str, Any] | None) -> str:
        given = dict(args or {})
        if isinstance(self._action, Function):
            if self._defaults is None:
                self._defaults = _defaults(self._action.handler)
            given = {**self._defaults, **self._action.check_arguments(given)}
        return key_of(to_text(given))


def _set(ended: asyncio.Future[None]) -> None:
    if not ended.done():
        ended.set_result(None)


def _told(error: Exception) -> dict[str, Any] | None:
    """What others are told of an error. What is no AppError is not for their eyes: who ran the action gets it, and it is logged there.
    Nor is what no document can hold."""
    if not isinstance(error, AppError):
        return None
    try:
        return {"data": error.data} if len(to_text(error.data)) <= DATA_MOST else None
    except ValueRefused:
        return None


def _expiry(found: dict[str, Any], ttl: float | None) -> float:
    """When it no longer holds, for one who wants nothing older than `ttl`. An error has its own time alone."""
    stored_until: float = found.get("expires", float("inf"))
    if ttl is None or found["kind"] == "error":
        return stored_until
    return min(stored_until, float(found["stored"]) + ttl * 1000)


def _defaults(handler: Any) -> dict[str, Any]:
    """The defaults of parameters, those that are values."""
    found: dict[str, Any] = {}
    for name, parameter in inspect.signature(handler).parameters.items():
        if parameter.default is not inspect.Parameter.empty:
            with suppress(ValueRefused):
                to_text(parameter.default)
                found[name] = parameter.default
    return found


def _seconds(name: str, duration: float | timedelta | None) -> float | None:
    if duration is None:
        return None
    number = duration.total_seconds() if isinstance(duration, timedelta) else duration
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number < float("inf"):
        raise ValueError(f"{name} must be a number of seconds from 0, or a timedelta, got {duration!r}")
    return float(number)
