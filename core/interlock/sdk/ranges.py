"""A range of values of one field of an index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

OPEN: Any = object()
"""A bound that is not given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Values of one field of an index: above `gt` or from `gte`, below `lt` or up to `lte`.

    All types have one order, so a bound is also one on other types; UNSET, which is first, stands for "not there".
    """

    gt: Any = OPEN
    gte: Any = OPEN
    lt: Any = OPEN
    lte: Any = OPEN

    def __repr__(self) -> str:
        given = {name: getattr(self, name) for name in ("gt", "gte", "lt", "lte")}
        return f"Range({', '.join(f'{name}={value!r}' for name, value in given.items() if value is not OPEN)})"
