"""Ranges of keys, as an app writes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Bound:
    """One end of a range: at a key, or with an `id` at one item in a run of equal keys."""

    key: Any
    id: str | None = None
    inclusive: bool = True

    def to_argument(self) -> dict[str, Any]:
        """As the component takes it."""
        argument: dict[str, Any] = {"key": self.key, "inclusive": self.inclusive}
        return argument if self.id is None else {**argument, "id": self.id}


@dataclass(frozen=True, slots=True)
class Bounds:
    """All items between two ends, either of which may be missing."""

    lower: Bound | None = None
    upper: Bound | None = None

    def __post_init__(self) -> None:
        for end in (self.lower, self.upper):
            if end is not None and not isinstance(end, Bound):
                raise TypeError(f"an end of Bounds is Bound(key), got {end!r}")

    def to_argument(self) -> dict[str, Any]:
        """As the component takes it."""
        ends = {"lower": self.lower, "upper": self.upper}
        return {name: end.to_argument() for name, end in ends.items() if end is not None}


@dataclass(frozen=True, slots=True)
class Eq(Bounds):
    """All items of one key."""

    key: Any = None

    def __init__(self, key: Any) -> None:
        object.__setattr__(self, "lower", Bound(key))
        object.__setattr__(self, "upper", Bound(key))
        object.__setattr__(self, "key", key)

    def to_argument(self) -> dict[str, Any]:
        """As the component takes it."""
        return {"eq": self.key}


@dataclass(frozen=True, slots=True)
class Prefix(Bounds):
    """All items whose key is a tuple that begins with these parts; without any, all tuples."""

    parts: tuple[Any, ...] = ()

    def __init__(self, *parts: Any) -> None:
        object.__setattr__(self, "lower", None)
        object.__setattr__(self, "upper", None)
        object.__setattr__(self, "parts", parts)

    def to_argument(self) -> dict[str, Any]:
        """As the component takes it."""
        return {"prefix": list(self.parts)}


def to_argument(bounds: Any) -> dict[str, Any]:
    """Bounds as the component takes them. Raises TypeError for what is none."""
    if not isinstance(bounds, Bounds):
        raise TypeError(f"bounds are Bounds(lower, upper), Eq(key) or Prefix(part, …), got {bounds!r}")
    return bounds.to_argument()
