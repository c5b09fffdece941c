"""Values as text: for packages that keep any value in a document, also one that is deeper or larger than a document may be."""

from __future__ import annotations

from typing import Any

from interlock.sdk.conversion import lower
from interlock.values import dumps, loads


def to_text(value: Any) -> str:
    """A value as the JSON of the wire, for `from_text`. Equal values give equal text. Raises ValueRefused for what is no value."""
    return dumps(lower(value)).decode()


def from_text(text: str) -> Any:
    """The value that `to_text` made the text of. A whole number comes back as an int, also one that was a float."""
    return loads(text)
