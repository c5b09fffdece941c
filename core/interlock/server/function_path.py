"""Which function a client means: the spellings of its name, as they come over the wire."""

from __future__ import annotations

from functools import lru_cache

from interlock.errors import FunctionNotFound
from interlock.mounting.names import canonical
from interlock.values import is_identifier

_LENGTH_MAX = 1000


class BadFunctionPath(ValueError):
    """A text that can be the name of no function, or of no component."""


def read_function(text: str, component_path: str) -> str:
    """`dir/mod.js:fn` → `dir/mod:fn`, `mod` → `mod:default`. Raises BadFunctionPath."""
    if len(text) > _LENGTH_MAX:
        raise BadFunctionPath(f"A function name of {len(text):,} characters is none.")
    if component_path and is_identifier(name := text.removesuffix(":default")):
        return name  # a component's functions have no module; clients add one where they see none
    return _read(text)


@lru_cache(maxsize=1024)
def _read(text: str) -> str:
    try:
        return canonical(text)
    except FunctionNotFound:
        raise BadFunctionPath(f"{text!r} is not a function name. Write module:function, like messages:list.") from None


def from_url(text: str) -> str:
    """`messages/list` → `messages:list`, as `/api/run/…` has it. Raises BadFunctionPath."""
    if ":" not in text and "/" in text:
        module, _, function = text.rpartition("/")
        text = f"{module}:{function}"
    return read_function(text, "")


def read_component(text: object) -> str:
    """A component path: "" for the app, "a/b" for child b of a. Raises BadFunctionPath."""
    if text is None or text == "":
        return ""
    if not isinstance(text, str) or len(text) > _LENGTH_MAX or not all(map(is_identifier, text.split("/"))):
        raise BadFunctionPath("That is not a component path. Write it like mailer/workpool.")
    return text
