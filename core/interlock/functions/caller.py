"""Who calls from outside, and what is answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from interlock.sandbox.share import Share

Source = Literal["client", "http", "scheduler", "cron", "cli", "embedded", "test"]
OUTSIDE_PYTHON = frozenset({"client", "http", "cli"})


class Caller:
    """Who makes a top-level call. `admin` may call every function of every instance; `job` is the job that runs it, if one does;
    `share` is that of the mount whose action has asked for it.
    """

    __slots__ = ("admin", "identity", "job", "request_id", "share", "source")

    def __init__(
        self,
        identity: Mapping[str, Any] | None = None,
        admin: bool = False,
        source: Source = "client",
        request_id: str = "",
        job: str | None = None,
        share: Share | None = None,
    ) -> None:
        self.identity, self.admin, self.source, self.request_id, self.job = identity, admin, source, request_id, job
        self.share = share

    def called(self, identity: Mapping[str, Any] | None, share: Share | None) -> Caller:
        """The same with another identity, at the cost of this share."""
        return Caller(identity, self.admin, self.source, self.request_id, self.job, share)

    @property
    def writes_camel_case(self) -> bool:
        """Whether names and arguments may come in the spelling of other languages."""
        return self.source in OUTSIDE_PYTHON

    @property
    def identity_key(self) -> str | None:
        """What tells two identities apart in the query cache: all of it, a changed claim is another one."""
        return None if self.identity is None else repr(sorted(self.identity.items()))


class Answer:
    """What a top-level call gave. `ts` is its commit timestamp, or that of the snapshot it rests on; 0 for an action.

    `encoded` is the value as wire JSON, where it was needed on the way.
    """

    __slots__ = ("encoded", "log_lines", "ts", "value")

    def __init__(self, value: Any, ts: int = 0, log_lines: list[str] | None = None, encoded: bytes | None = None) -> None:
        self.value, self.ts, self.encoded = value, ts, encoded
        self.log_lines: list[str] = log_lines if log_lines is not None else []

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Answer) and (self.value, self.ts, self.log_lines) == (other.value, other.ts, other.log_lines)

    def __hash__(self) -> int:
        return hash(self.ts)

    def __repr__(self) -> str:
        return f"Answer({self.value!r}, ts={self.ts}, log_lines={self.log_lines!r})"


class QueryResult:
    """The result of a query as it is shared: encoded once, as wire JSON. `journal` is for the next run; None if nothing was paginated."""

    __slots__ = ("journal", "json", "log_lines")

    def __init__(self, json: bytes, log_lines: list[str], journal: str | None) -> None:
        self.json, self.log_lines, self.journal = json, log_lines, journal


def log_lines_of(error: BaseException) -> list[str]:
    """What the execution logged that ended with this error."""
    lines: list[str] = getattr(error, _LINES, [])
    return lines


def keep_log_lines(error: BaseException, lines: list[str]) -> None:
    """Lay log lines beside an error on its way to the client."""
    if lines:
        setattr(error, _LINES, lines)


_LINES = "__interlock_log_lines__"
