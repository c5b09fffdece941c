"""What a module declares while it is being loaded: its functions and triggers, in order.

The record lies in the module's own globals. So a module that somebody imported earlier still has its declarations, a
helper of another package declares for the module that called it, and a module that is dropped takes its record along.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePath
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interlock.sdk.functions import Function

_RECORD = "__interlock_made__"


@dataclass(slots=True)
class Made:
    """The declarations of one module. A trigger is its table and its callable."""

    functions: list[Function[..., Any]] = field(default_factory=list)
    triggers: list[tuple[str, Callable[..., Any]]] = field(default_factory=list)


def made_by(module: ModuleType) -> Made:
    """What `module` declared when it was loaded, whoever imported it."""
    made = vars(module).get(_RECORD)
    return made if isinstance(made, Made) else Made()


def loading(handler: object = None) -> tuple[str | None, Made]:
    """The module that is being loaded now and its record; outside of a load (None, a record that nobody keeps)."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "<module>":
            name = frame.f_globals.get("__name__")
            # The main script is "being loaded" as long as the process runs; only what is written in it belongs to it.
            if name == "__main__" and getattr(handler, "__module__", None) != "__main__":
                break
            if isinstance(name, str):
                return name, frame.f_globals.setdefault(_RECORD, Made())
        frame = frame.f_back
    return None, Made()


def here(depth: int = 2) -> str:
    """The line that is being executed `depth` frames up, like `app.py:7`."""
    frame = sys._getframe(depth)
    return f"{PurePath(frame.f_code.co_filename).name}:{frame.f_lineno}"


def where_defined(handler: object) -> str:
    """The file and line of a function, like `guesses.py:12`; empty for what has no code of its own."""
    inner = getattr(handler, "__wrapped__", getattr(handler, "func", handler))
    code = getattr(inner, "__code__", None)
    return f"{PurePath(code.co_filename).name}:{code.co_firstlineno}" if code is not None else ""
