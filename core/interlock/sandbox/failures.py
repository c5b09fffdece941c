"""Errors as they cross between host and worker: told as data on one side, made again on the other.

    ["own", class name, args, said, frames]        one of `interlock.errors`
    ["python", class name, built-in base, args, said, frames]
    ["abort", representation, frames]              SystemExit and the like
    ["known", reference]                           one that the reader told itself, and still has

What a component says about its error is text and data. Nothing in it is looked up but names in fixed tables, and errors that
mean something to the engine or the server's operator cannot be made by it.
"""

from __future__ import annotations

import builtins
import traceback
from typing import Any

import interlock.errors as errors
from interlock.errors import AppError, FunctionAborted, InterlockError
from interlock.sandbox.strange import Strange

FRAMES = "__interlock_frames__"
"""The attribute of an error that holds its frames on the other side, innermost first."""

_TEXT_MAX = 10_000
_FRAMES_MAX = 40
_ARGS_MAX = 16
_ITEMS_MAX = 100
_OWN = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, InterlockError) and name[:1] != "_" and kind is not InterlockError
}
_HOSTS = frozenset({"WriteConflict", "StorageUnavailable", "MountError", "Unauthenticated", "ComponentCrashed", "FunctionAborted"})
"""Errors that only the host may raise of itself."""
_BUILT_IN = {
    name: kind
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, Exception) and kind.__name__ == name and not issubclass(kind, Warning | StopIteration)
}
_CONTROL = {
    code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    for code in (*range(32), *range(127, 160), 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A), 0xFEFF)
    if chr(code) not in "\n\t"
}


def cleaned(text: str) -> str:
    """Text of a component for a log or a terminal: no escapes, no forged direction of writing."""
    return text[:_TEXT_MAX].translate(_CONTROL)


def tell(error: BaseException, frames: list[str]) -> list[Any]:
    """An error as data."""
    if isinstance(error, AppError):
        return ["own", "AppError", [error.data], "", frames]  # an author's class stays on its own side
    if isinstance(error, InterlockError):
        name = next((kind.__name__ for kind in type(error).__mro__ if _OWN.get(kind.__name__) is kind), "")
        if name:
            return ["own", name, [_packable(argument) for argument in error.args], "", frames]
    if not isinstance(error, Exception):
        return ["abort", _said(lambda: repr(error)), frames]
    base = next((kind.__name__ for kind in type(error).__mro__ if _BUILT_IN.get(kind.__name__) is kind), "Exception")
    args = [argument for argument in error.args[:_ARGS_MAX] if isinstance(argument, str | int | float | bool | None)]
    return ["python", _said(lambda: type(error).__name__)[:200], base, args, _said(lambda: str(error)), frames]


def make(told: Any, label: str, *, trusted: bool) -> Exception:
    """The error that was told. `label` names the function; without `trusted`, errors that are the host's alone are not made."""
    match told:
        case ["own", str(name), list(args), _, frames] if name in _OWN and (trusted or name not in _HOSTS):
            try:
                plain = args if trusted or name == "AppError" else [_clean(argument) for argument in args[:_ARGS_MAX]]
                error: Exception = _OWN[name](*[_argument(argument) for argument in plain])
                str(error)
            except Exception:
                error = _python("InterlockError", "Exception", [], f"{name} of {args!r}"[:_TEXT_MAX])
        case ["python", str(name), str(base), list(args), str(said), frames]:
            error = _python(name, base, args, said)
        case ["abort", str(raised), frames]:
            error = FunctionAborted(label, cleaned(raised))
        case _:
            error, frames = _python("Exception", "Exception", [], "an error that was not told properly"), []
    if isinstance(frames, list):
        setattr(error, FRAMES, [cleaned(frame)[:500] for frame in frames[:_FRAMES_MAX] if isinstance(frame, str)])
    return error


def _python(name: str, base: str, args: list[Any], said: str) -> Exception:
    """An error of Python's own class, or of one with the author's name below the nearest of Python's own."""
    said = cleaned(said)
    kind = _BUILT_IN.get(base, Exception)
    plain = [cleaned(argument) if isinstance(argument, str) else argument for argument in args]
    try:
        error = kind(*plain)
        if name == base and str(error) == said:
            return error
    except Exception:
        kind, plain = Exception, []
    shown = name if name.isidentifier() else "Exception"
    made: Exception = type(shown, (kind,), {"__str__": lambda self: said, "__module__": "component"})(*plain)
    return made


def frames_of(error: BaseException, own: tuple[str, ...]) -> list[str]:
    """Where an error was raised on this side, innermost first, without the lines of files that begin with `own`."""
    found = [
        (frame.filename, f"{frame.name} ({frame.filename}:{frame.lineno})")
        for frame in reversed(traceback.extract_tb(error.__traceback__, limit=-_FRAMES_MAX))
    ]
    authors = [line for filename, line in found if not filename.startswith(own)]
    return authors or [line for _, line in found]


def _argument(argument: Any) -> Any:
    return tuple(argument) if type(argument) is list else argument


def _clean(argument: Any) -> Any:
    """What a component says of itself in an error that is no data of its author: it goes to logs and terminals."""
    if isinstance(argument, str):
        return cleaned(argument)
    if type(argument) is list:
        return [_clean(item) for item in argument[:_ITEMS_MAX]]
    return argument if isinstance(argument, int | float | None) else cleaned(_said(lambda: argument))


def _packable(argument: Any) -> Any:
    return argument if isinstance(argument, str | int | float | bool | bytes | dict | list | tuple | None) else _said(lambda: argument)


def _said(show: Any) -> str:
    try:
        return str(show()).encode("utf-8", "replace").decode()[:_TEXT_MAX]
    except Exception:
        return "(cannot be shown)"


__all__ = ["FRAMES", "Strange", "cleaned", "frames_of", "make", "tell"]
