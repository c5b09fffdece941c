"""Which storage a `data` argument means: `:memory:`, a directory, or `sqlite:///path`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from interlock.clock import Clock
from interlock.errors import StorageUnavailable
from interlock.storage.protocol import Storage

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+)://(?P<rest>.*)", re.DOTALL)


def open_storage(data: str | os.PathLike[str], clock: Clock) -> Storage:
    """The storage that `data` names. Nothing is opened before its `load`."""
    text = os.fspath(data)
    if text == ":memory:":
        from interlock.storage.memory import MemoryStorage

        return MemoryStorage(clock_ns=_nanoseconds(clock))
    url = _URL.fullmatch(text)
    if url is None:
        return _sqlite(text, clock)
    scheme, rest = url["scheme"].lower(), url["rest"]
    if scheme == "sqlite":
        # As elsewhere: three slashes and a relative path, four and an absolute one.
        if not rest.startswith("/") or len(rest) == 1:
            raise StorageUnavailable(f"{text!r} names no file.", "Write sqlite:///relative/path or sqlite:////absolute/path.")
        return _sqlite(rest[1:], clock)
    if scheme in ("postgres", "postgresql"):
        raise StorageUnavailable(
            f"{text.split('@')[-1] if '@' in text else text!r}: Postgres is not supported yet.",
            "Give a directory, sqlite:///path or :memory:.",
        )
    raise StorageUnavailable(f"No storage is called {scheme!r}.", "Give a directory, sqlite:///path or :memory:.")


def _sqlite(path: str, clock: Clock) -> Storage:
    if not path:
        raise StorageUnavailable("The path of the data is empty.", "Give a directory, sqlite:///path or :memory:.")
    from interlock.storage.sqlite import SqliteStorage

    return SqliteStorage(path, clock_ns=_nanoseconds(clock))


def _nanoseconds(clock: Clock) -> Callable[[], int]:
    now_ms = clock.now_ms
    return lambda: int(now_ms() * 1_000_000)
