"""What a component prints: lines of its log."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from interlock.sandbox.worker.running import Worker

_LINE_MAX = 32 * 1024


class Output(io.TextIOBase):
    """`print` outside of a call goes nowhere: there is nobody whose log it would belong to."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._rest = ""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        if len(self._rest) > _LINE_MAX:
            lines.append(self._rest)
            self._rest = ""
        running = self._worker.running()
        if running is not None and not running.is_ended:
            for line in lines:
                running.log("INFO", line)
        return len(text)
