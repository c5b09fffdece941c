"""What functions log: lines for the client that called, and events for the log of the server."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial

import structlog

from interlock.functions.log_volume import LogVolume
from interlock.limits import LIMITS

logger = structlog.get_logger("interlock.functions")
_LINES = int(LIMITS["log_lines"].value)
_LINE_BYTES = int(LIMITS["log_line_bytes"].value)
_CUT = " (cut: the line was too long)"


class LogLines:
    """The lines of one execution, of its sub-calls too. What is over the limit, or a mount's share, is dropped, and a line says so."""

    __slots__ = ("_dropped", "_events", "_secrets", "lines", "maximum")

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets = secrets
        self.lines: list[str] = []
        self.maximum = _LINES
        self._events: list[tuple[str, str, str, str, str]] = []  # the last is the mount whose volume it is
        self._dropped: dict[str, int] = {}  # of whom lines were dropped, and which line says so

    def add(self, level: str, text: str, component_path: str, function: str) -> None:
        if len(self.lines) >= self.maximum:
            is_share = self.maximum < _LINES
            whose = component_path if is_share else ""
            if whose not in self._dropped:
                self._dropped[whose] = len(self.lines)
                told = "its share of log lines is used up" if is_share else f"more than {_LINES} log lines"
                self._put("WARN", f"{told}: the rest is dropped", whose, function, component_path)
            return
        text = mask(readable(text), self._secrets)  # before it is cut: of half a secret nobody would know that it is one
        if len(text) * 4 > _LINE_BYTES and len(encoded := text.encode()) > _LINE_BYTES:
            text = encoded[: _LINE_BYTES - len(_CUT)].decode(errors="ignore") + _CUT
        self._put(level, text, component_path, function, component_path)

    def _put(self, level: str, text: str, component_path: str, function: str, counts_for: str) -> None:
        tag = f"{component_path}: " if component_path else ""
        self.lines.append(f"[{level.upper()}] {tag}{text}")
        self._events.append((level.lower(), text, component_path, function, counts_for))

    def forget_since(self, lines: int) -> None:
        """Of a run that does not count nothing is kept."""
        events = len(self._events) - (len(self.lines) - lines)
        del self.lines[lines:], self._events[max(0, events) :]
        self._dropped = {whose: at for whose, at in self._dropped.items() if at < lines}

    def extend(self, lines: Iterable[str]) -> None:
        """Take in lines of a transaction that this execution ran; they are in the server's log already."""
        for line in lines:
            if len(self.lines) < self.maximum:
                self.lines.append(line)

    def lower(self, share: int) -> int:
        """Give a call `share` lines at most; returns what `maximum` is set back to."""
        before = self.maximum
        self.maximum = min(before, len(self.lines) + share)
        return before

    def publish(self, request_id: str, volume: LogVolume) -> None:
        """Write what was logged to the server's log: once it stands, so that a run that lost and ran again is not heard twice."""
        if not self._events:
            return
        for level, text, component_path, function, counts_for in self._events:
            if not volume.admits(counts_for, len(text)):
                continue
            log = logger.bind(function=function, request_id=request_id)
            if component_path:
                log = log.bind(component=component_path)
                text = text.replace("\n", f"\n{component_path}| ")  # no line of it is to look like one of somebody else
            quietly(partial(getattr(log, _METHODS.get(level, "info")), text))
        self._events.clear()


def quietly(write: Callable[[], object]) -> bool:
    """Write to the log, and say whether it is written. A log that cannot be written to is nobody's error: least of all the function's
    that was logging."""
    with suppress(Exception):
        write()
        return True
    return False


def readable(text: str) -> str:
    """The text as it can be sent. File names and broken pairs of JavaScript bring lone surrogates, which UTF-8 has not."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


def mask(text: str, secrets: Iterable[str]) -> str:
    """The text without the values that components were given as secrets."""
    for secret in secrets:
        text = text.replace(secret, "…")
    return text


_METHODS = {"debug": "debug", "info": "info", "warn": "warning", "warning": "warning", "error": "error"}
