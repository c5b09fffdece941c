"""Log: `ctx.log.info(…)`, one line of a function's output."""

from __future__ import annotations

import traceback
from typing import Any

from interlock.sdk.host import Host


class Log:
    """Lines of the running call, by level.

    Values are written as `logging` does where the message has their places (`"%s of %s"`), else one after the other; fields follow as
    name=value.
    """

    __slots__ = ("_host",)

    def __init__(self, host: Host) -> None:
        self._host = host

    def debug(self, message: object, /, *values: Any, **fields: Any) -> None:
        self._host.log("DEBUG", _line(message, values, fields))

    def info(self, message: object, /, *values: Any, **fields: Any) -> None:
        self._host.log("INFO", _line(message, values, fields))

    def warning(self, message: object, /, *values: Any, **fields: Any) -> None:
        self._host.log("WARN", _line(message, values, fields))

    def error(self, message: object, /, *values: Any, **fields: Any) -> None:
        self._host.log("ERROR", _line(message, values, fields))

    def exception(self, message: object, /, *values: Any, **fields: Any) -> None:
        """An error line with the traceback of the exception that is being handled."""
        self._host.log("ERROR", f"{_line(message, values, fields)}\n{traceback.format_exc()}".rstrip())


def _line(message: object, values: tuple[Any, ...], fields: dict[str, Any]) -> str:
    """The text of a line. A value that cannot be shown is no reason to fail the call that logs it."""
    try:
        return _formatted(message, values, fields)
    except Exception as error:
        return f"(a line that cannot be shown: {type(error).__name__} in a __str__ or __repr__)"


def _formatted(message: object, values: tuple[Any, ...], fields: dict[str, Any]) -> str:
    text = str(message)
    if values:
        try:
            text = text % values
        except (TypeError, ValueError):
            text = " ".join([text, *map(str, values)])
    return " ".join([text, *(f"{name}={value!r}" for name, value in fields.items())])
