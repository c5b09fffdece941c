"""One result for many connections: the message that most of them need is made once.

A session takes it where it stands exactly where the one before it stood (`SyncSession._tell_as_others`).
"""

from __future__ import annotations

from interlock.clock import Clock
from interlock.server import messages
from interlock.server.messages import StateVersion
from interlock.server.service import QueryResult, Service, Snapshot


class FanOut:
    """What the turns of one go have in common, and the Transition that one of them made last: most of the others need the same.

    The message takes a client from `start` and the result `before` to `end` and `result`; it is empty if the two look alike.
    """

    __slots__ = ("_clock", "_service", "before", "end", "go", "message", "now_ms", "query_id", "result", "snapshot", "start")

    def __init__(self, service: Service, clock: Clock) -> None:
        self._service, self._clock = service, clock
        self.go = -1
        self.now_ms = 0.0
        self.snapshot = Snapshot(-1, 0)
        self.start = self.end = StateVersion()
        self.query_id = -1
        self.before: QueryResult | None = None
        self.result: QueryResult | None = None
        self.message = b""

    def begin(self, go: int) -> None:
        """Nothing waits within a go, so the newest snapshot is one."""
        self.go = go
        self.snapshot = self._service.newest()
        self.now_ms = self._clock.now_ms()

    def prepare(self, start: StateVersion, query_id: int, before: QueryResult | None, result: QueryResult) -> None:
        end = StateVersion(start.query_set, start.identity, max(self.snapshot.ts, start.ts))
        alike = result.looks_like(before)
        self.message = b"" if alike else messages.transition(start, end, [messages.query_result(query_id, result)], None)
        self.start, self.end, self.query_id, self.before, self.result = start, end, query_id, before, result
