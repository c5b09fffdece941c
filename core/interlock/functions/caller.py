"""Who calls from outside, and what is answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Source = Literal["client", "http", "scheduler", "cron", "cli", "embedded", "test"]
OUTSIDE_PYTHON = frozenset({"client", "http", "cli"})


class Caller(NamedTuple):
    """Who makes a top-level call. `admin` may call every function of every instance; `job` is the job that runs it, if one does."""

    identity: Mapping[str, Any] | None = None
    admin: bool = False
    source: Source = "client"
    request_id: str = ""
    job: str | None = None

    @property
    def writes_camel_case(self) -> bool:
        """Whether names and arguments may come in the spelling of other languages."""
        return self.source in OUTSIDE_PYTHON

    @property
    def identity_key(self) -> str | None:
        """What tells two identities apart in the query cache: all of it, a changed claim is another one."""
        return None if self.identity is None else repr(sorted(self.identity.items()))


@dataclass(slots=True)
class Answer:
    """What a top-level call gave. `ts` is its commit timestamp, or that of the snapshot it rests on; 0 for an action.

    `encoded` is the value as wire JSON, where it was needed on the way.
    """

    value: Any
    ts: int = 0
    log_lines: list[str] = field(default_factory=list)
    encoded: bytes | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class QueryResult:
    """The result of a query as it is shared: encoded once, as wire JSON. `journal` is for the next run; None if nothing was paginated."""

    json: bytes
    log_lines: list[str]
    journal: str | None


def log_lines_of(error: BaseException) -> list[str]:
    """What the execution logged that ended with this error."""
    lines: list[str] = getattr(error, _LINES, [])
    return lines


def keep_log_lines(error: BaseException, lines: list[str]) -> None:
    """Lay log lines beside an error on its way to the client."""
    if lines:
        setattr(error, _LINES, lines)


_LINES = "__interlock_log_lines__"
