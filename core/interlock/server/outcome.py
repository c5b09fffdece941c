"""How a call ended, in the form that clients get: results are finished wire JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence


class Answer:
    """A call that succeeded. `json` is the wire JSON of its value, `ts` the commit (or the snapshot, when nothing was written)."""

    __slots__ = ("json", "log_lines", "ts")

    def __init__(self, json: bytes, ts: int, log_lines: Sequence[str] = ()) -> None:
        self.json, self.ts, self.log_lines = json, ts, log_lines

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Answer) and (self.json, self.ts) == (other.json, other.ts) and list(self.log_lines) == list(other.log_lines)
        )

    def __hash__(self) -> int:
        return hash((self.json, self.ts))

    def __repr__(self) -> str:
        return f"Answer({self.json!r}, {self.ts}, {self.log_lines!r})"


class Failure:
    """A call that failed, as the client is to see it. `data` is the wire JSON of an `AppError`'s data, `code` the error's stable name."""

    __slots__ = ("code", "data", "log_lines", "message")

    def __init__(self, message: str, data: bytes | None = None, log_lines: Sequence[str] = (), code: str = "") -> None:
        self.message, self.data, self.log_lines, self.code = message, data, log_lines, code

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Failure)
            and (self.message, self.data, self.code) == (other.message, other.data, other.code)
            and list(self.log_lines) == list(other.log_lines)
        )

    def __hash__(self) -> int:
        return hash((self.message, self.data, self.code))

    def __repr__(self) -> str:
        return f"Failure({self.message!r}, {self.data!r}, {self.log_lines!r}, {self.code!r})"


class Standing:
    """A mutation that will surely be answered, and need not be waited for."""

    __slots__ = ()

    def then(self, told: Callable[[Answer | Failure], None]) -> None:
        """Have `told` called with the answer; it must not raise, nor call a function. To be called once, and at once."""
        raise NotImplementedError


class QueryResult:
    """What a live query gave at one snapshot. From `expires_ms` on it is not given to anybody who does not have it."""

    __slots__ = ("expires_ms", "journal", "outcome")

    def __init__(self, outcome: Answer | Failure, journal: str | None = None, expires_ms: float | None = None) -> None:
        self.outcome, self.journal, self.expires_ms = outcome, journal, expires_ms

    def looks_like(self, other: QueryResult | None) -> bool:
        """Whether a client that has `other` would see no difference."""
        if other is None or self.journal != other.journal:
            return False
        ours, theirs = self.outcome, other.outcome
        if isinstance(ours, Answer):
            if not isinstance(theirs, Answer) or ours.json != theirs.json:
                return False
            return not (ours.log_lines or theirs.log_lines) or list(ours.log_lines) == list(theirs.log_lines)
        return ours == theirs
