"""What a running function asks of the engine: the seam under every context.

`ctx.db.get(…)` and its like end here. Inline, `functions.inline` answers; in a sandbox the worker's channel does. So the
query builder, pagination and the contexts are written once, and behave the same on both sides.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from interlock.limits import Limits
from interlock.sdk.fetch import Fetched

Document = dict[str, Any]
Kind = Literal["query", "mutation", "action"]


@dataclass(frozen=True, slots=True)
class FunctionInfo:
    """Who is running: `name` as callers write it, `component_path` "" for the app."""

    name: str
    kind: Kind
    component_path: str


@dataclass(frozen=True, slots=True)
class Target:
    """What a reference names: a function of the running instance (`mount` ""), of its child `mount`, or a handle.

    The options are those of `ref.options`; `label` is its `name`.
    """

    name: str
    mount: str = ""
    handle: str = ""
    stale: bool = False
    limits: Limits | None = None
    label: str | None = None
    at_once: bool = False


@dataclass(frozen=True, slots=True)
class Bounds:
    """A range on one field of an index; at most one of gt/gte and one of lt/lte is set, each as a 1-tuple of the value."""

    field: str
    lower: tuple[Any] | None = None
    lower_inclusive: bool = True
    upper: tuple[Any] | None = None
    upper_inclusive: bool = False


class Scan(NamedTuple):
    """One read of an index: equality on a prefix of its fields (dotted paths; UNSET = absent), then at most one range."""

    table: str
    index: str = "by_creation_time"  # type: ignore[assignment]  # hides a method of tuple that nobody calls here
    equal: tuple[tuple[str, Any], ...] = ()
    bounds: Bounds | None = None
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Metrics:
    """Of the running transaction, by limit name (`interlock limits`): what is used, what remains."""

    used: Mapping[str, float]
    remaining: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Job:
    """A scheduled function call. `scheduled_time` is ms since the epoch, as asked for; `error` is set when it failed.

    `state` is one of pending, running, success, failed, canceled. `name` starts with the component path where that is not the asker's own.
    """

    id: str
    state: Literal["pending", "running", "success", "failed", "canceled"]
    name: str
    args: dict[str, Any]
    scheduled_time: float
    error: str | None = None


class Cursor(Protocol):
    """An open scan. What is fetched counts as read only once `consume` says that the function has looked at it."""

    async def fetch(self, count: int) -> list[Document]:
        """The next `count` rows, fewer at the end of the interval (or where a read limit stops it: `stopped` is then True).

        Raises LimitExceeded when a limit leaves no room for a single row.
        """

    def consume(self, count: int) -> None:
        """The function has looked at `count` more of the fetched rows. After the last one of an exhausted scan, all of it counts as read.

        An interval without rows is told by `consume(0)`.
        """

    @property
    def exhausted(self) -> bool:
        """A fetch came to the end of the interval, so it gave fewer rows than asked for. One that was filled exactly has not come there."""

    @property
    def stopped(self) -> bool:
        """The last fetch gave fewer rows than asked for because of a read limit."""

    @property
    def open_ended(self) -> bool:
        """Nothing bounds the scan but its own range: `until` was None or the mark of the end. Rows that come later at its end are in it."""

    def mark(self, back: int = 0) -> str:
        """A page cursor: the place after the last consumed row, or after the one `back` rows before it.

        It is the mark of the end when the scan is exhausted, all of it is consumed, and `back` is 0.
        """


class Host(Protocol):
    """The engine as one running function sees it. Every awaited operation is served in the order started."""

    @property
    def function(self) -> FunctionInfo: ...
    @property
    def env(self) -> Mapping[str, Any]: ...
    @property
    def random(self) -> random.Random: ...
    @property
    def transaction(self) -> str: ...

    def now(self) -> float: ...
    def uuid4(self) -> Any: ...
    def log(self, level: str, text: str) -> None: ...
    def metrics(self) -> Metrics: ...

    # database
    def get(self, id: str) -> Awaitable[Document | None]: ...
    def get_many(self, ids: Sequence[str]) -> Awaitable[list[Document | None]]: ...
    def normalize_id(self, table: str, text: str) -> Awaitable[str | None]: ...
    def insert(self, table: str, document: Mapping[str, Any]) -> Awaitable[str]: ...
    def patch(self, id: str, fields: Mapping[str, Any]) -> Awaitable[None]: ...
    def replace(self, id: str, document: Mapping[str, Any]) -> Awaitable[None]: ...
    def delete(self, id: str) -> Awaitable[None]: ...
    def scan(self, scan: Scan, count: int | None) -> Awaitable[list[Document]]:
        """The first `count` rows (None: all), all of them consumed: the short way for take, first, unique, collect without a filter."""

    def first(self, scan: Scan) -> Awaitable[Document | None]:
        """The first row, or None."""

    def count(self, scan: Scan) -> Awaitable[int]:
        """How many rows; depends on the whole interval, but reads no documents."""

    def open(self, scan: Scan, after: str | None, until: str | None) -> Awaitable[Cursor]:
        """Open a scan between two page cursors, (after, until]. Raises InvalidCursor."""

    def page_end(self, ordinal: int) -> str | None:
        """Where the journal says that the `ordinal`-th page of this call ended last time."""

    def set_page_end(self, ordinal: int, mark: str) -> None: ...

    # calls
    def run(self, kind: Kind, target: Target, args: Mapping[str, Any]) -> Awaitable[Any]: ...
    def schedule(self, when_ms: float | None, after_s: float | None, target: Target, args: Mapping[str, Any]) -> Awaitable[str]:
        """Exactly one of `when_ms` and `after_s` is given."""

    def cancel(self, job_id: str) -> Awaitable[None]: ...
    def job(self, job_id: str) -> Awaitable[Job | None]: ...
    def jobs(self, state: str | None) -> Awaitable[list[Job]]: ...
    def identity(self) -> Awaitable[Mapping[str, Any] | None]: ...
    def function_handle(self, target: Target) -> Awaitable[str]: ...
    def revoke_handle(self, handle: str) -> Awaitable[None]: ...
    def fetch(
        self, url: str, *, method: str, headers: Mapping[str, str] | None, body: bytes | str | None, timeout: float | None, whole: bool
    ) -> Awaitable[Fetched]:
        """Send a request. With `whole` the body is wanted at once: then it is short, and all of it is there within `timeout`."""
