"""Results of queries that were asked once, kept while they are true: asking again is a look into a dictionary."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from interlock.server.service import Answer

_COUNT_MAX = 4096
_BYTES_EACH = 1024


class KeptResult:
    """One result, from before it is asked for until it ends. `end` is to be called when it ends."""

    __slots__ = ("_results", "answer", "close", "expires_ms", "has_ended", "key")

    def __init__(self, results: KeptResults, key: Hashable) -> None:
        self._results, self.key = results, key
        self.has_ended = False
        self.answer: Answer | None = None
        self.expires_ms: float | None = None
        self.close: Callable[[], None] | None = None

    def end(self) -> None:
        self.has_ended = True
        self._results.drop(self)


class KeptResults:
    """The results, least recently asked for first. `now_ms` is the time of day; they may take `bytes_max`."""

    def __init__(self, now_ms: Callable[[], float], bytes_max: int) -> None:
        self._now_ms, self._bytes_max = now_ms, bytes_max
        self._by_key: dict[Hashable, KeptResult] = {}
        self._bytes = 0

    def get(self, key: Hashable) -> Answer | None:
        """What is known to be true now."""
        kept = self._by_key.get(key)
        if kept is None:
            return None
        if kept.expires_ms is not None and kept.expires_ms <= self._now_ms():
            self.drop(kept)
            return None
        if len(self._by_key) > 1:
            self._by_key[key] = self._by_key.pop(key)
        return kept.answer

    def keep(self, kept: KeptResult, answer: Answer, expires_ms: float | None, close: Callable[[], None]) -> None:
        """Keep an answer. `close` lets go of what watches over it, and is called when it is kept no longer."""
        if kept.has_ended or kept.key in self._by_key or len(answer.json) > self._bytes_max // 8:
            close()
            return
        kept.answer, kept.expires_ms, kept.close = answer, expires_ms, close
        self._by_key[kept.key] = kept
        self._bytes += len(answer.json) + _BYTES_EACH
        while len(self._by_key) > _COUNT_MAX or self._bytes > self._bytes_max:
            self.drop(next(iter(self._by_key.values())))

    def drop(self, kept: KeptResult) -> None:
        if self._by_key.get(kept.key) is not kept:
            return
        del self._by_key[kept.key]
        assert kept.answer is not None and kept.close is not None, "only what was answered is kept"
        self._bytes -= len(kept.answer.json) + _BYTES_EACH
        kept.close()
