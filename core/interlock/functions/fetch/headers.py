"""The headers of a request: looked at, and with the values of secrets in place of their placeholders."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from interlock.errors import ArgumentError, PermissionDenied
from interlock.mounting.environment import HeldSecret

_BYTES_MAX = 64 * 1024
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_BREAKS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_OURS = "host connection content-length transfer-encoding te trailer upgrade keep-alive expect proxy-authorization proxy-connection"
_OWN = frozenset(_OURS.split())
_FOR_ONE_ORIGIN = frozenset(("authorization", "cookie"))
_BASIC = re.compile(r"(?i)basic +([A-Za-z0-9+/]+=*) *")


class Headers(NamedTuple):
    """Headers as they are sent, names in lower case. `secret` are those that a secret is in."""

    items: dict[str, str]
    secret: frozenset[str]

    def for_another_origin(self) -> Headers:
        """Without what was meant for the first one alone: credentials, and whatever holds a secret."""
        return Headers({name: value for name, value in self.items.items() if name not in self.secret | _FOR_ONE_ORIGIN}, frozenset())

    def without_body(self) -> Headers:
        """Without what describes a body that is no longer sent."""
        return Headers({name: value for name, value in self.items.items() if not name.startswith("content-")}, self.secret)


def check(headers: Any, *, who: str) -> dict[str, str]:
    """The headers that an author gave, names in lower case. Raises ArgumentError, PermissionDenied for those that are ours to set."""
    if headers is None:
        return {}
    if not isinstance(headers, Mapping):
        raise ArgumentError("ctx.fetch", ".headers", "a dict of strings", f"a {type(headers).__name__}")
    found: dict[str, str] = {}
    size = 0
    for name, value in headers.items():
        size += len(name) + len(value) if isinstance(name, str) and isinstance(value, str) else 1
        if size > _BYTES_MAX:
            raise ArgumentError("ctx.fetch", ".headers", f"at most {_BYTES_MAX:,} bytes", "more")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ArgumentError("ctx.fetch", ".headers", "a dict with names of headers", shown(name))
        if not isinstance(value, str):
            raise ArgumentError("ctx.fetch", f".headers[{name!r}]", "a string", f"a {type(value).__name__}")
        if name.lower() in _OWN:
            raise PermissionDenied(f"{who} sets the header {name} of a fetch", "It follows from the URL and the body. Leave it out.")
        _check_value(name, value, shown(value))
        found[name.lower()] = value.strip(" \t")
    return found


def shown(value: object) -> str:
    """What was given instead, short: it may be a text of megabytes, or a list of lists of lists."""
    return repr(value[:100]) if isinstance(value, str) else f"a {type(value).__name__}"


def fill(headers: Mapping[str, str], secrets: Mapping[str, HeldSecret]) -> Headers:
    """With the values of these secrets, and of no others: a placeholder of another instance is a text like any."""
    filled: dict[str, str] = {}
    holding: set[str] = set()
    for name, value in headers.items():
        new = _fill(value, secrets)
        if new is None:
            filled[name] = value
            continue
        for secret in secrets.values():
            if secret.value in new:
                _check_value(name, secret.value, f"the secret {secret.name}, which has line breaks or other control characters")
        filled[name] = new.strip(" \t")  # as any other value
        holding.add(name)
    return Headers(filled, frozenset(holding))


def _fill(value: str, secrets: Mapping[str, HeldSecret]) -> str | None:
    """The value with its placeholders replaced, within a user and password too; None where there is none in it."""
    basic = _BASIC.fullmatch(value)
    if basic is not None:
        try:
            inner = base64.b64decode(basic[1], validate=True).decode("utf-8")
        except (binascii.Error, ValueError):
            return None
        new = _replaced(inner, secrets)
        return None if new is None else f"Basic {base64.b64encode(new.encode()).decode()}"
    return _replaced(value, secrets)


def _replaced(text: str, secrets: Mapping[str, HeldSecret]) -> str | None:
    held = [placeholder for placeholder in secrets if placeholder in text]
    if not held:
        return None
    # In one pass: what a secret holds is never looked at for placeholders.
    return re.sub("|".join(map(re.escape, held)), lambda found: secrets[found[0]].value, text)


def _check_value(name: str, value: str, shown: str) -> None:
    if _BREAKS.search(value) or not _is_latin(value):
        raise ArgumentError("ctx.fetch", f".headers[{name!r}]", "a line of Latin-1 text", shown)


def _is_latin(value: str) -> bool:
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return True
