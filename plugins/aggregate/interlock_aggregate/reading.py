"""Questions: how many and how much in a range, which item at a rank, which rank, the items in order."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from heapq import merge
from typing import Any, Literal, NotRequired, TypedDict

from interlock import AppError, Page, PaginationOptions, QueryCtx
from interlock_aggregate.exact import Sum, rounded, total
from interlock_aggregate.lookup import Place
from interlock_aggregate.node import Number
from interlock_aggregate.nodes import size_of
from interlock_aggregate.positions import ALL, Stretch, after, before, is_position, item_at, position, stretch
from interlock_aggregate.tree import Tree
from interlock_aggregate.trees import Trees

NO_CURSOR = ""


class End(TypedDict):
    """One end of a range: at a key, or with an id at one item of it."""

    key: Any
    id: NotRequired[str]
    inclusive: NotRequired[bool]


class Bounds(TypedDict):
    """A range: two ends, or all items of one key, or all tuple keys that begin alike."""

    lower: NotRequired[End]
    upper: NotRequired[End]
    eq: NotRequired[Any]
    prefix: NotRequired[list[Any]]


class Item(TypedDict):
    """What is counted."""

    key: Any
    id: str
    sum_value: Number


class Between(TypedDict):
    """One question of a batch."""

    bounds: NotRequired[Bounds]
    namespace: NotRequired[Any]
    offset: NotRequired[int]


class Totals(TypedDict):
    """How many, and how much."""

    count: int
    sum: Number


def _item(place: Place) -> Item:
    key, id = item_at(place[0])
    return {"key": key, "id": id, "sum_value": rounded(place[1])}


def _between(opened: Trees, bounds: Mapping[str, Any] | None, namespace: Any, *, sums: bool = False) -> Awaitable[tuple[int, Sum]]:
    return _within(opened, stretch(bounds) if bounds else ALL, namespace, sums=sums)


async def _within(opened: Trees, reach: Stretch, namespace: Any, *, sums: bool = False) -> tuple[int, Sum]:
    found = await opened.of(namespace)
    if len(found) == 1:
        return await found[0].between(reach, sums)
    parts = [await tree.between(reach, sums) for tree in found]
    return sum(count for count, _ in parts), total([part for _, part in parts])


async def count(
    ctx: QueryCtx, bounds: Bounds | None = None, namespace: Any = None, name: str = "", stale: bool = False, fresh: bool = False
) -> int:
    """How many items there are."""
    if not bounds:
        rows = await ctx.db.query("trees").index("by_namespace", name=name, namespace=namespace).collect()
        if stale or not any([row["queued"] for row in rows]):
            return sum([await size_of(ctx, row) for row in rows])
    counted, _ = await _between(Trees(ctx, name, stale=stale, fresh=fresh), bounds, namespace)
    return counted


async def sum_of(
    ctx: QueryCtx, bounds: Bounds | None = None, namespace: Any = None, name: str = "", stale: bool = False, fresh: bool = False
) -> Number:
    """The sum of their numbers."""
    _, summed = await _between(Trees(ctx, name, stale=stale, fresh=fresh), bounds, namespace, sums=True)
    return rounded(summed)


async def aggregate_between(
    ctx: QueryCtx, bounds: Bounds | None = None, namespace: Any = None, name: str = "", stale: bool = False, fresh: bool = False
) -> Totals:
    """Both."""
    counted, summed = await _between(Trees(ctx, name, stale=stale, fresh=fresh), bounds, namespace, sums=True)
    return {"count": counted, "sum": rounded(summed)}


async def aggregate_between_batch(
    ctx: QueryCtx, queries: list[Between], name: str = "", stale: bool = False, fresh: bool = False
) -> list[Totals]:
    """Both, for several ranges, in order."""
    opened = Trees(ctx, name, stale=stale, fresh=fresh)
    answers: list[Totals] = []
    for asked in queries:
        counted, summed = await _between(opened, asked.get("bounds"), asked.get("namespace"), sums=True)
        answers.append({"count": counted, "sum": rounded(summed)})
    return answers


async def count_batch(ctx: QueryCtx, queries: list[Between], name: str = "", stale: bool = False, fresh: bool = False) -> list[int]:
    """The counts of several ranges, in order."""
    opened = Trees(ctx, name, stale=stale, fresh=fresh)
    return [(await _between(opened, asked.get("bounds"), asked.get("namespace")))[0] for asked in queries]


async def at_offset(
    ctx: QueryCtx,
    offset: int,
    bounds: Bounds | None = None,
    namespace: Any = None,
    name: str = "",
    stale: bool = False,
    fresh: bool = False,
) -> Item:
    """The item that has `offset` items before it in the range; `OFFSET_OUT_OF_RANGE` if there is none."""
    return await _at(Trees(ctx, name, stale=stale, fresh=fresh), _not_negative(offset), bounds, namespace)


async def at_negative_offset(
    ctx: QueryCtx,
    offset: int,
    bounds: Bounds | None = None,
    namespace: Any = None,
    name: str = "",
    stale: bool = False,
    fresh: bool = False,
) -> Item:
    """The item that has `offset` items after it in the range."""
    return await _at(Trees(ctx, name, stale=stale, fresh=fresh), -_not_negative(offset) - 1, bounds, namespace)


async def at_offset_batch(ctx: QueryCtx, queries: list[Between], name: str = "", stale: bool = False, fresh: bool = False) -> list[Item]:
    """Several of them; here a negative offset counts from the end."""
    opened = Trees(ctx, name, stale=stale, fresh=fresh)
    return [await _at(opened, asked.get("offset", 0), asked.get("bounds"), asked.get("namespace")) for asked in queries]


def _not_negative(offset: int) -> int:
    if offset < 0:
        raise AppError({"code": "INVALID_OFFSET", "message": f"an offset must be 0 or more, got {offset}"})
    return offset


async def _at(opened: Trees, offset: int, bounds: Mapping[str, Any] | None, namespace: Any) -> Item:
    place = await _place_at(await opened.of(namespace), offset, stretch(bounds) if bounds else ALL)
    if place is None:
        raise AppError({"code": "OFFSET_OUT_OF_RANGE", "message": f"there is no item at offset {offset} of this range", "offset": offset})
    return _item(place)


async def _place_at(found: list[Tree], offset: int, reach: Stretch) -> Place | None:
    if not found:
        return None
    if len(found) == 1:
        return await found[0].at(offset, reach)
    # In shards: narrow the range down to one item. Every round halves what one of the trees can still hold.
    counts = [(await tree.between(reach))[0] for tree in found]
    left = offset if offset >= 0 else sum(counts) + offset
    if not 0 <= left < sum(counts):
        return None
    while True:
        widest = max(range(len(found)), key=counts.__getitem__)
        middle = await found[widest].at(counts[widest] // 2, reach)
        assert middle is not None
        lower = Stretch(reach.start, middle[0])
        below = [(await tree.between(lower))[0] for tree in found]
        if left == sum(below):
            return middle
        if left < sum(below):
            reach, counts = lower, below
        else:
            left -= sum(below) + 1
            reach = Stretch(middle[0] + "\0", reach.stop)
            counts = [(await tree.between(reach))[0] for tree in found]


async def offset(
    ctx: QueryCtx,
    key: Any,
    id: str | None = None,
    bounds: Bounds | None = None,
    namespace: Any = None,
    name: str = "",
    stale: bool = False,
    fresh: bool = False,
) -> int:
    """How many items of the range come before the key, or before the item."""
    start, stop = stretch(bounds)
    end = before(key, id)
    reach = Stretch(start, end if stop is None else min(stop, end))
    return (await _within(Trees(ctx, name, stale=stale, fresh=fresh), reach, namespace))[0]


async def offset_until(
    ctx: QueryCtx,
    key: Any,
    id: str | None = None,
    bounds: Bounds | None = None,
    namespace: Any = None,
    name: str = "",
    stale: bool = False,
    fresh: bool = False,
) -> int:
    """How many items of the range come after the key, or after the item."""
    start, stop = stretch(bounds)
    reach = Stretch(max(start, after(key, id)), stop)
    return (await _within(Trees(ctx, name, stale=stale, fresh=fresh), reach, namespace))[0]


async def get(
    ctx: QueryCtx, key: Any, value: str, namespace: Any = None, name: str = "", stale: bool = False, fresh: bool = False
) -> Item | None:
    """The item of this key and id, or None."""
    for tree in await Trees(ctx, name, stale=stale, fresh=fresh).of(namespace):
        found = await tree.get(position(key, value))
        if found is not None:
            return {"key": key, "id": value, "sum_value": rounded(found)}
    return None


async def end(
    ctx: QueryCtx,
    order: Literal["asc", "desc"],
    bounds: Bounds | None = None,
    namespace: Any = None,
    name: str = "",
    stale: bool = False,
    fresh: bool = False,
) -> Item | None:
    """The first item of the range, or with `desc` the last one; None if it is empty."""
    found = await _page(Trees(ctx, name, stale=stale, fresh=fresh), namespace, stretch(bounds), 1, order == "desc")
    return _item(found[0]) if found else None


async def random(
    ctx: QueryCtx, bounds: Bounds | None = None, namespace: Any = None, name: str = "", stale: bool = False, fresh: bool = False
) -> Item | None:
    """Any item of the range, each with the same probability; None if it is empty."""
    opened, reach = Trees(ctx, name, stale=stale, fresh=fresh), stretch(bounds)
    counted, _ = await _within(opened, reach, namespace)
    place = await _place_at(await opened.of(namespace), ctx.random.randrange(counted), reach) if counted else None
    return _item(place) if place is not None else None


async def _page(opened: Trees, namespace: Any, reach: Stretch, limit: int, descending: bool) -> list[Place]:
    pages = [await tree.page(reach, limit, descending=descending) for tree in await opened.of(namespace)]
    return pages[0] if len(pages) == 1 else list(merge(*pages, reverse=descending))[:limit]


class ItemPage(TypedDict):
    """A page of items."""

    page: list[Item]
    cursor: str
    is_done: bool


async def paginate(
    ctx: QueryCtx,
    limit: int = 100,
    order: Literal["asc", "desc"] = "asc",
    cursor: str | None = None,
    bounds: Bounds | None = None,
    namespace: Any = None,
    name: str = "",
    stale: bool = False,
    fresh: bool = False,
) -> ItemPage:
    """The next `limit` items of the range. The last page says that it is, and its cursor is empty."""
    if limit < 1:
        raise AppError({"code": "INVALID_LIMIT", "message": f"a page has at least 1 item, not {limit}"})
    if cursor == NO_CURSOR:
        return {"page": [], "cursor": NO_CURSOR, "is_done": True}
    start, stop = stretch(bounds)
    if cursor is not None:
        if not is_position(cursor):
            raise AppError(
                {"code": "INVALID_CURSOR", "message": "this is no cursor of a page. Start from the first page, with cursor None"}
            )
        start, stop = (start, cursor if stop is None else min(stop, cursor)) if order == "desc" else (max(start, cursor + "\0"), stop)
    found = await _page(Trees(ctx, name, stale=stale, fresh=fresh), namespace, Stretch(start, stop), limit + 1, order == "desc")
    is_done = len(found) <= limit
    return {
        "page": [_item(place) for place in found[:limit]],
        "cursor": NO_CURSOR if is_done else found[limit - 1][0],
        "is_done": is_done,
    }


async def paginate_namespaces(ctx: QueryCtx, limit: int = 100, cursor: str | None = None, name: str = "") -> Page[Any]:
    """The namespaces that have a tree, in the order in which they got it."""
    options = PaginationOptions(num_items=limit, cursor=cursor)
    page = await ctx.db.query("trees").index("by_name", name=name, shard=0).paginate(options)
    return page.map(lambda row: row["namespace"])
