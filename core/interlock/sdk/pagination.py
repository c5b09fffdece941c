"""Pages: what `paginate` is asked for, and what it gives.

Both travel with the field names of the official clients (`numItems`, `isDone`, …), so their hooks work unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, Self, TypeVar

from interlock.errors import LimitExceeded, QueryError
from interlock.limits import LIMITS
from interlock.values import from_annotation

T = TypeVar("T")
U = TypeVar("U")

PageStatus = Literal["SplitRecommended", "SplitRequired"]

_OPTIONS = {
    "numItems": "num_items",
    "cursor": "cursor",
    "endCursor": "end_cursor",
    "maximumRowsRead": "maximum_rows_read",
    "maximumBytesRead": "maximum_bytes_read",
    "id": "id",
}
_NUMBER = {"type": "number"}
_TEXT_OR_NULL = {"type": "union", "value": [{"type": "string"}, {"type": "null"}]}
_ITEMS_MAX = int(LIMITS["page_size"].value)


def _object(required: Mapping[str, Any], optional: Mapping[str, Any]) -> dict[str, Any]:
    fields = {name: {"fieldType": validator, "optional": False} for name, validator in required.items()}
    return {"type": "object", "value": fields | {name: {"fieldType": validator, "optional": True} for name, validator in optional.items()}}


@dataclass(frozen=True, slots=True)
class PaginationOptions:
    """Which page: the first `num_items` after `cursor` (None: from the start), or all up to `end_cursor`.

    `maximum_rows_read` and `maximum_bytes_read` end a page early; `id` tells equal requests of a client apart.
    """

    num_items: int
    cursor: str | None = None
    end_cursor: str | None = None
    maximum_rows_read: int | None = None
    maximum_bytes_read: int | None = None
    id: float | None = None

    @classmethod
    def __interlock_validator__(cls, *_: Any) -> dict[str, Any]:
        """The validator of these options as an argument."""
        return _object(
            {"numItems": _NUMBER},
            {"cursor": _TEXT_OR_NULL, "endCursor": _TEXT_OR_NULL, "id": _NUMBER, "maximumRowsRead": _NUMBER, "maximumBytesRead": _NUMBER},
        )

    @classmethod
    def from_arguments(cls, options: PaginationOptions | Mapping[str, Any]) -> Self:
        """Options out of an argument: themselves, or a mapping in either spelling."""
        if isinstance(options, cls):
            return options
        if not isinstance(options, Mapping):
            raise QueryError("", f"paginate takes PaginationOptions(num_items, cursor=None), not {options!r}")
        given = {_OPTIONS.get(name, name): value for name, value in options.items()}
        unknown = given.keys() - set(_OPTIONS.values())
        if unknown or len(given) < len(options) or "num_items" not in given:
            named = f"unknown: {', '.join(sorted(unknown))}" if unknown else "num_items is missing, or something is given twice"
            raise QueryError("", f"pagination options are {', '.join(_OPTIONS.values())}; {named}")
        return cls(**{name: _whole(value) if name not in ("cursor", "end_cursor", "id") else value for name, value in given.items()})

    def to_wire_fields(self) -> dict[str, Any]:
        """A plain dict with the clients' names; what was left out is left out."""
        fields = {wire: getattr(self, name) for wire, name in _OPTIONS.items()}
        return {wire: value for wire, value in fields.items() if value is not None or wire == "cursor"}

    def check(self, table: str) -> None:
        """Refuse options that ask for no page at all, or for too large a one."""
        if not _is_count(self.num_items):
            raise QueryError(table, f"a page has at least 1 item, not num_items={self.num_items!r}")
        if self.num_items > _ITEMS_MAX:
            raise LimitExceeded("page_size", self.num_items, _ITEMS_MAX)
        for name in ("maximum_rows_read", "maximum_bytes_read"):
            value = getattr(self, name)
            if value is not None and not _is_count(value):
                raise QueryError(table, f"{name} must be at least 1, not {value!r}")
        for name in ("cursor", "end_cursor"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise QueryError(table, f"{name} must be the continue_cursor of a page, or None, not {value!r}")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page: its items, whether nothing follows, and the cursor to go on from.

    `split_cursor` divides it in two; `page_status` says when that should be done, or must be because a limit ended the page.
    """

    page: list[T]
    is_done: bool
    continue_cursor: str
    split_cursor: str | None = None
    page_status: PageStatus | None = None

    @classmethod
    def __interlock_validator__(cls, item: Any = Any, *_: Any) -> dict[str, Any]:
        """The validator of a page as a result; `item` is the annotation of its items."""
        status = {"type": "union", "value": [*({"type": "literal", "value": name} for name in PageStatus.__args__), {"type": "null"}]}  # type: ignore[attr-defined]
        return _object(
            {
                "page": {"type": "array", "value": from_annotation(item, where="Page")},
                "isDone": {"type": "boolean"},
                "continueCursor": {"type": "string"},
            },
            {"splitCursor": _TEXT_OR_NULL, "pageStatus": status},
        )

    @classmethod
    def from_arguments(cls, fields: Page[T] | Mapping[str, Any]) -> Page[T]:
        """A page out of its plain dict, or itself."""
        if isinstance(fields, Page):
            return fields
        return Page(fields["page"], fields["isDone"], fields["continueCursor"], fields.get("splitCursor"), fields.get("pageStatus"))

    def to_wire_fields(self) -> dict[str, Any]:
        """A plain dict with the clients' names."""
        return {
            "page": self.page,
            "isDone": self.is_done,
            "continueCursor": self.continue_cursor,
            "splitCursor": self.split_cursor,
            "pageStatus": self.page_status,
        }

    def map(self, change: Callable[[T], U], /) -> Page[U]:
        """The same page with `change(item)` for each item."""
        return Page([change(item) for item in self.page], self.is_done, self.continue_cursor, self.split_cursor, self.page_status)


def _whole(value: Any) -> Any:
    """Numbers of clients are floats; a whole one counts as an int."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
