"""In a query or mutation the standard library's clocks stand still, and its randomness comes from the seed of the call.

No boundary, a help: a function that is run again on the same state does the same, whatever library it draws from. What is shown
follows the call that runs, so it is patched once, in the zygote; outside of calls, and in actions, everything is as always.
Native code that asks the kernel for the time by itself is not reached.

Start at `install`; `current` says which call it is whose code runs.
"""

from __future__ import annotations

import _random
import _tracemalloc
import contextvars
import ctypes
import datetime
import gc
import os
import random
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Protocol

try:
    import resource
except ImportError:  # Windows has none
    resource = None  # type: ignore[assignment]

_CLOCKS = ("time", "monotonic", "perf_counter", "process_time", "thread_time", "clock_gettime")
_OF_RANDOM = (
    "betavariate binomialvariate choice choices expovariate gammavariate gauss getrandbits getstate lognormvariate normalvariate "
    "paretovariate randbytes randint random randrange sample seed setstate shuffle triangular uniform vonmisesvariate weibullvariate"
)
_NODE = 0x02_00_00_00_00_01  # "locally administered": no machine has it


class Frozen(Protocol):
    """A call whose time stands still unless it `goes_on`, and that is told when it has looked at it. `still` is what it is shown, once
    that was asked for.
    """

    goes_on: bool
    now_ms: float
    seed: int
    still: Still | None

    @property
    def label(self) -> str: ...

    def look_at_time(self) -> None: ...

    def look_at_seed(self) -> None: ...


class Still:
    """What one call is shown."""

    __slots__ = ("_call", "_generator", "last_timestamp")

    def __init__(self, call: Frozen) -> None:
        self._call = call
        self._generator: random.Random | None = None
        self.last_timestamp: int | None = None
        """Of the UUIDs of version 1, each of which is later than the one before."""

    @property
    def label(self) -> str:
        return self._call.label

    @property
    def now(self) -> float:
        """Seconds since the epoch."""
        self._call.look_at_time()
        return self._call.now_ms / 1000.0

    @property
    def generator(self) -> random.Random:
        """Another one than the context's, so that who draws there is not disturbed by a library that draws here."""
        self._call.look_at_seed()
        if self._generator is None:
            self._generator = _Seeded(self._call.seed ^ 0x5DEECE66D)
        return self._generator


current: contextvars.ContextVar[Any] = contextvars.ContextVar("interlock_running", default=None)
"""The call whose code runs, a `Frozen`; None outside of calls."""
_call_of = current.get


def shown() -> Still | None:
    """What is shown to the code that runs; None where it is told the truth."""
    call: Frozen | None = _call_of()
    if call is None or call.goes_on:
        return None
    if call.still is None:
        call.still = Still(call)
    return call.still


class _Seeded(random.Random):
    """A generator whose seed is given: the patched `Random.seed` leaves it alone."""


def install() -> None:
    """Patch the standard library, once a process."""
    _patch_clocks()
    _patch_dates()
    _patch_randomness()
    _patch_usage()


def _patch_clocks() -> None:
    for name in _CLOCKS:
        setattr(time, name, _clock(getattr(time, name), in_ns=False))
        setattr(time, f"{name}_ns", _clock(getattr(time, f"{name}_ns"), in_ns=True))
    real_time = time.time  # patched by now
    for name in ("localtime", "gmtime", "ctime"):
        setattr(time, name, _of_now(getattr(time, name), real_time))
    strftime, localtime = time.strftime, time.localtime
    time.strftime = lambda form, moment=None: strftime(form, localtime() if moment is None else moment)
    asctime = time.asctime
    time.asctime = lambda moment=None: asctime(localtime() if moment is None else moment)


def _clock(real: Callable[..., Any], *, in_ns: bool) -> Callable[..., Any]:
    def clock(*args: Any) -> Any:
        still = shown()
        if still is None:
            return real(*args)
        return int(still.now * 1e9) if in_ns else still.now

    clock.__name__ = real.__name__
    return clock


def _of_now(real: Callable[[float], Any], now: Callable[[], float]) -> Callable[..., Any]:
    def of_now(seconds: float | None = None) -> Any:
        return real(now() if seconds is None else seconds)

    of_now.__name__ = real.__name__
    return of_now


def _patch_dates() -> None:
    now_seconds = time.time

    def now(cls: type[datetime.datetime], tz: datetime.tzinfo | None = None) -> datetime.datetime:
        return cls.fromtimestamp(now_seconds(), tz)

    def utcnow(cls: type[datetime.datetime]) -> datetime.datetime:
        return cls.fromtimestamp(now_seconds(), datetime.UTC).replace(tzinfo=None)

    def today(cls: type[datetime.date]) -> datetime.date:
        return cls.fromtimestamp(now_seconds())

    for kind, methods in ((datetime.datetime, (now, utcnow, today)), (datetime.date, (today,))):
        replace_methods(kind, {method.__name__: classmethod(method) for method in methods})


def replace_methods(kind: type, methods: Mapping[str, Any]) -> None:
    """In a class of C's itself: others hold references to it, and compare by identity."""
    [attributes] = gc.get_referents(kind.__dict__)
    attributes.update(methods)
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(kind))


def _patch_randomness() -> None:
    real_urandom = os.urandom

    def urandom(size: int, /) -> bytes:
        still = shown()
        return real_urandom(size) if still is None else still.generator.randbytes(size)

    native: Any = sys.modules[os.name]  # where `os` has it from
    os.urandom = native.urandom = urandom
    random._urandom = urandom  # type: ignore[attr-defined]
    real_getrandom = getattr(os, "getrandom", None)  # of Linux
    if real_getrandom is not None:

        def getrandom(size: int, flags: int = 0) -> bytes:
            still = shown()
            return bytes(real_getrandom(size, flags)) if still is None else still.generator.randbytes(size)

        os.getrandom = native.getrandom = getrandom
    for name in ("_ssl", "ssl"):
        tls: Any = sys.modules.get(name)
        if tls is not None:
            tls.RAND_bytes = _drawn_by(urandom, tls.RAND_bytes)
    generators: Any = _random.Random  # what `random.Random` is made of, and may be used by itself
    real_seed = generators.seed

    def seed(self: Any, a: Any = None, /) -> None:
        still = shown()
        if a is None and still is not None and type(self) is not _Seeded:
            a = still.generator.getrandbits(128)
        real_seed(self, a)

    generators.seed = generators.__init__ = seed
    for name in _OF_RANDOM.split():
        shared = getattr(random, name, None)
        if shared is not None:
            setattr(random, name, _of_the_call(name, shared))
    uuid._generate_time_safe = None  # type: ignore[attr-defined]
    uuid.getnode = lambda: _NODE
    real_uuid1 = uuid.uuid1

    def uuid1(node: int | None = None, clock_seq: int | None = None) -> uuid.UUID:
        still = shown()
        if still is None:
            return real_uuid1(node, clock_seq)
        module: Any = uuid  # what it remembers there is of whoever was called before
        elsewhere, module._last_timestamp = module._last_timestamp, still.last_timestamp
        try:
            return real_uuid1(node, clock_seq)
        finally:
            still.last_timestamp, module._last_timestamp = module._last_timestamp, elsewhere

    uuid.uuid1 = uuid1


def _drawn_by(urandom: Callable[[int], bytes], real: Callable[[int], bytes]) -> Callable[[int], bytes]:
    def rand_bytes(size: int, /) -> bytes:
        return real(size) if shown() is None else urandom(size)

    return rand_bytes


def _of_the_call(name: str, shared: Callable[..., Any]) -> Callable[..., Any]:
    def draw(*args: Any, **kwargs: Any) -> Any:
        still = shown()
        return shared(*args, **kwargs) if still is None else getattr(still.generator, name)(*args, **kwargs)

    draw.__name__ = name
    return draw


def _patch_usage() -> None:
    """What the process has used is another in every run: a call is shown that nothing has been."""
    nothing_collected = {"collections": 0, "collected": 0, "uncollectable": 0}
    shown: list[tuple[Any, str, Callable[[], Any]]] = [
        (gc, "get_count", lambda: (0, 0, 0)),
        (gc, "get_stats", lambda: [dict(nothing_collected) for _ in range(3)]),
        (sys, "getallocatedblocks", lambda: 0),
        (_tracemalloc, "get_traced_memory", lambda: (0, 0)),
        (_tracemalloc, "get_tracemalloc_memory", lambda: 0),
        (os, "getloadavg", lambda: (0.0, 0.0, 0.0)),
    ]
    if hasattr(os, "times"):
        shown.append((os, "times", lambda: os.times_result((0.0, 0.0, 0.0, 0.0, time.monotonic()))))
    if resource is not None:
        shown.append((resource, "getrusage", lambda: resource.struct_rusage((0.0, 0.0, *[0] * 14))))
    for module, name, nothing in shown:
        if (real := getattr(module, name, None)) is not None:
            setattr(module, name, _used(real, nothing))


def _used(real: Callable[..., Any], nothing: Callable[[], Any]) -> Callable[..., Any]:
    def used(*args: Any) -> Any:
        return real(*args) if shown() is None else nothing()

    used.__name__ = real.__name__
    return used
