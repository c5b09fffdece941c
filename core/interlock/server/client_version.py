"""Which client is at the other end, told from the `Convex-Client` header or the version segment of the socket's URL."""

from __future__ import annotations

import re
from typing import NamedTuple

_SEMVER = r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?"
_WHOLE = re.compile(_SEMVER)
_HEADER = re.compile(r"([a-z-]+?)-" + _SEMVER)


class ClientVersion(NamedTuple):
    """`name` is "npm", "python", … or "unknown"."""

    name: str
    version: tuple[int, int, int]

    @property
    def takes_chunks(self) -> bool:
        """Whether it puts a Transition that comes in parts together again."""
        return self.name == "npm" and self.version >= (1, 28, 0)

    @property
    def defaults_to_encoded(self) -> bool:
        """Whether it is so old that it expects encoded values where it names no format."""
        return (self.name == "npm" and self.version <= (1, 4, 1)) or (self.name == "python" and self.version < (0, 5, 0))


UNKNOWN_CLIENT = ClientVersion("unknown", (0, 0, 0))


def from_header(text: str) -> ClientVersion:
    """Of a `Convex-Client` header; a missing or odd one is an unknown client."""
    match = _HEADER.fullmatch(text)
    if match is None:
        return UNKNOWN_CLIENT
    return ClientVersion(match[1], (int(match[2]), int(match[3]), int(match[4])))


def from_url_segment(text: str) -> ClientVersion | None:
    """Of the segment in `/api/<version>/sync`, which npm clients send; None when it is no version."""
    match = _WHOLE.fullmatch(text)
    if match is None:
        return None
    return ClientVersion("npm", (int(match[1]), int(match[2]), int(match[3])))
