"""The typed face of the component: what an app imports.

It runs in the app, and does nothing but call the component through the mount that it was given.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, overload

from interlock import ActionCtx, AppError, Change, MutationCtx, Page, QueryCtx
from interlock_aggregate.bounds import Bounds
from interlock_aggregate.errors import typed

Number = int | float
Order = Literal["asc", "desc"]
Reader = QueryCtx | ActionCtx
Writer = MutationCtx | ActionCtx
Document = Mapping[str, Any]


class _Same:
    def __repr__(self) -> str:
        return "SAME"


SAME = _Same()  # the namespace that the item has


@dataclass(frozen=True, slots=True)
class Item:
    """What is counted: its key, its id, and the number that sums add up."""

    key: Any
    id: str
    sum_value: Number = 0


class Query:
    """One question of a batch: `Query(bounds, namespace)`, or for `at_batch` `Query(offset, bounds, namespace)`."""

    __slots__ = ("bounds", "namespace", "offset")

    @overload
    def __init__(self, bounds: Bounds | None = None, namespace: Any = None, *, offset: int = 0) -> None: ...
    @overload
    def __init__(self, offset: int, bounds: Bounds | None = None, namespace: Any = None) -> None: ...
    def __init__(self, *given: Any, **named: Any) -> None:
        order = ("offset", "bounds", "namespace") if given and isinstance(given[0], int) else ("bounds", "namespace")
        if len(given) > len(order):
            raise TypeError("Query takes (bounds, namespace) or (offset, bounds, namespace)")
        values = dict(zip(order, given, strict=False))
        if named.keys() & values or named.keys() - {"offset", "bounds", "namespace"}:
            raise TypeError(f"Query takes offset, bounds and namespace, each once, not {', '.join(named)}")
        values |= named
        self.offset: int = values.get("offset", 0)
        self.bounds: Bounds | None = values.get("bounds")
        self.namespace: Any = values.get("namespace")

    def to_argument(self) -> dict[str, Any]:
        """As the component takes it."""
        argument: dict[str, Any] = {"offset": self.offset}
        if self.bounds is not None:
            argument["bounds"] = self.bounds.to_argument()
        if self.namespace is not None:
            argument["namespace"] = self.namespace
        return argument


class Aggregate:
    """What both kinds have: reading, clearing, namespaces.

    Everywhere, `namespace` says in which tree (None: the default one) and `bounds` which keys. `stale=True` reads the state
    at the begin of the mutation, without its own writes and without depending on it.
    """

    def __init__(self, component: Any, *, name: str = "", shards: int = 1) -> None:
        if isinstance(shards, bool) or not isinstance(shards, int):
            raise TypeError(f"shards must be an int, got {shards!r}")
        if shards < 1:
            raise ValueError(f"shards must be 1 or more, got {shards}")
        self._mount, self._name = component, name
        self._common: dict[str, Any] = {"name": name} if name else {}
        self._writing: dict[str, Any] = {**self._common, "shards": shards} if shards > 1 else self._common

    # counts and sums

    async def count(
        self, ctx: Reader, *, namespace: Any = None, bounds: Bounds | None = None, stale: bool = False, fresh: bool = False
    ) -> int:
        """How many items there are."""
        counted: int = await self._read(ctx, "count", namespace, bounds, stale, fresh)
        return counted

    async def sum(
        self, ctx: Reader, *, namespace: Any = None, bounds: Bounds | None = None, stale: bool = False, fresh: bool = False
    ) -> float:
        """The sum of their numbers: exact, and rounded once."""
        summed: float = await self._read(ctx, "sum", namespace, bounds, stale, fresh)
        return summed

    async def count_batch(self, ctx: Reader, queries: Sequence[Query], *, stale: bool = False, fresh: bool = False) -> list[int]:
        """The counts of several ranges, in one call."""
        counts: list[int] = await self._read_batch(ctx, "count_batch", queries, stale, fresh)
        return counts

    async def sum_batch(self, ctx: Reader, queries: Sequence[Query], *, stale: bool = False, fresh: bool = False) -> list[float]:
        """The sums of several ranges, in one call."""
        return [totals["sum"] for totals in await self._read_batch(ctx, "aggregate_between_batch", queries, stale, fresh)]

    # ranks

    async def at(
        self, ctx: Reader, offset: int, *, namespace: Any = None, bounds: Bounds | None = None, stale: bool = False, fresh: bool = False
    ) -> Item:
        """The item at a rank: 0 is the smallest of the range, -1 the largest. Raises `OffsetOutOfRange`."""
        if isinstance(offset, bool) or not isinstance(offset, int):
            raise TypeError(f"offset must be an int, got {offset!r}")
        function, offset = ("at_offset", offset) if offset >= 0 else ("at_negative_offset", -offset - 1)
        return Item(**await self._read(ctx, function, namespace, bounds, stale, fresh, offset=offset))

    async def at_batch(self, ctx: Reader, queries: Sequence[Query], *, stale: bool = False, fresh: bool = False) -> list[Item]:
        """The items at several ranks, in one call; it fails if one of them is out of range."""
        return [Item(**item) for item in await self._read_batch(ctx, "at_offset_batch", queries, stale, fresh)]

    async def index_of(
        self,
        ctx: Reader,
        key: Any,
        *,
        id: str | None = None,
        order: Order = "asc",
        namespace: Any = None,
        bounds: Bounds | None = None,
        stale: bool = False,
        fresh: bool = False,
    ) -> int:
        """The rank of a key, or of an item: how many of the range come before it; with order "desc", how many after it.

        A key that is not there has the rank that it would have.
        """
        function = "offset_until" if _descending(order) else "offset"
        place = {"key": key} if id is None else {"key": key, "id": id}
        rank: int = await self._read(ctx, function, namespace, bounds, stale, fresh, **place)
        return rank

    async def min(
        self, ctx: Reader, *, namespace: Any = None, bounds: Bounds | None = None, stale: bool = False, fresh: bool = False
    ) -> Item | None:
        """The smallest item of the range, or None."""
        return _item_or_none(await self._read(ctx, "end", namespace, bounds, stale, fresh, order="asc"))

    async def max(
        self, ctx: Reader, *, namespace: Any = None, bounds: Bounds | None = None, stale: bool = False, fresh: bool = False
    ) -> Item | None:
        """The largest item of the range, or None."""
        return _item_or_none(await self._read(ctx, "end", namespace, bounds, stale, fresh, order="desc"))

    async def random(
        self, ctx: Reader, *, namespace: Any = None, bounds: Bounds | None = None, stale: bool = False, fresh: bool = False
    ) -> Item | None:
        """Any item of the range, each as likely as the other, or None."""
        return _item_or_none(await self._read(ctx, "random", namespace, bounds, stale, fresh))

    # listings

    async def paginate(
        self,
        ctx: Reader,
        *,
        cursor: str | None = None,
        order: Order = "asc",
        page_size: int = 100,
        namespace: Any = None,
        bounds: Bounds | None = None,
        stale: bool = False,
        fresh: bool = False,
    ) -> Page[Item]:
        """A page of the items in order. The cursor of the last one is empty."""
        _descending(order)
        after = {} if cursor is None else {"cursor": cursor}
        page = await self._read(ctx, "paginate", namespace, bounds, stale, fresh, limit=page_size, order=order, **after)
        return Page([Item(**item) for item in page["page"]], page["is_done"], page["cursor"])

    async def iter(
        self,
        ctx: Reader,
        *,
        order: Order = "asc",
        page_size: int = 100,
        namespace: Any = None,
        bounds: Bounds | None = None,
        stale: bool = False,
        fresh: bool = False,
    ) -> AsyncIterator[Item]:
        """All items of the range in order, read a page at a time: `async for item in aggregate.iter(ctx)`."""
        cursor: str | None = None
        while cursor != "":
            page = await self.paginate(
                ctx, cursor=cursor, order=order, page_size=page_size, namespace=namespace, bounds=bounds, stale=stale, fresh=fresh
            )
            for item in page.page:
                yield item
            cursor = page.continue_cursor

    async def paginate_namespaces(self, ctx: Reader, cursor: str | None = None, page_size: int = 100) -> Page[Any]:
        """A page of the namespaces, in the order in which they were first written to; None is the default one."""
        after = {} if cursor is None else {"cursor": cursor}
        return Page.from_arguments(await ctx.run_query(self._mount.paginate_namespaces, limit=page_size, **after, **self._common))

    async def iter_namespaces(self, ctx: Reader, page_size: int = 100) -> AsyncIterator[Any]:
        """All namespaces."""
        cursor: str | None = None
        is_done = False
        while not is_done:
            page = await self.paginate_namespaces(ctx, cursor, page_size)
            for namespace in page.page:
                yield namespace
            cursor, is_done = page.continue_cursor, page.is_done

    # the life of the trees

    async def clear(
        self,
        ctx: Writer,
        *,
        namespace: Any = None,
        max_node_size: int | None = None,
        root_lazy: bool | None = None,
        lanes: int | None = None,
    ) -> None:
        """Remove all items of a namespace. Options that are given are those of its tree from now on."""
        options = _given(max_node_size=max_node_size, root_lazy=root_lazy, lanes=lanes)
        await self._run(ctx, "clear", namespace, **options, **self._common)

    async def clear_all(
        self, ctx: Writer, *, max_node_size: int | None = None, root_lazy: bool | None = None, lanes: int | None = None
    ) -> None:
        """Remove all items of all namespaces."""
        options = _given(max_node_size=max_node_size, root_lazy=root_lazy, lanes=lanes)
        await self._run(ctx, "clear_all", None, **options, **self._common)

    async def make_root_lazy(self, ctx: Writer, *, namespace: Any = None) -> None:
        """Make a tree that was built with `root_lazy=False` take concurrent writers."""
        await self._run(ctx, "make_root_lazy", namespace, **self._common)

    async def make_all_roots_lazy(self, ctx: Writer) -> None:
        """The same, for all namespaces."""
        async for namespace in self.iter_namespaces(ctx):
            await self.make_root_lazy(ctx, namespace=namespace)

    # calling

    async def _read(
        self, ctx: Reader, function: str, namespace: Any, bounds: Bounds | None, stale: bool, fresh: bool, /, **args: Any
    ) -> Any:
        if bounds is not None:
            args["bounds"] = bounds.to_argument()
        if namespace is not None:
            args["namespace"] = namespace
        return await self._query(ctx, function, stale, fresh, args)

    async def _read_batch(self, ctx: Reader, function: str, queries: Sequence[Query], stale: bool, fresh: bool) -> Any:
        return await self._query(ctx, function, stale, fresh, {"queries": [query.to_argument() for query in queries]})

    async def _query(self, ctx: Reader, function: str, stale: bool, fresh: bool, args: dict[str, Any]) -> Any:
        if stale and fresh:
            raise ValueError("a read is stale or fresh, not both")
        ref = self._mount[function]
        if stale:
            ref, args["stale"] = ref.options(stale=True), True
        if fresh:
            args["fresh"] = True
        try:
            return await ctx.run_query(ref, **args, **self._common)
        except AppError as error:
            raise typed(error) from error

    async def _run(self, ctx: Writer, function: str, namespace: Any, /, **args: Any) -> None:
        if namespace is not None:
            args["namespace"] = namespace
        try:
            await ctx.run_mutation(self._mount[function], **args)
        except AppError as error:
            raise typed(error) from error


class DirectAggregate(Aggregate):
    """An aggregate whose items the app adds and removes by itself: `scores = DirectAggregate(components.scores)`.

    `name` tells several aggregates of one mount apart. With `shards`, each namespace is kept in so many trees: writers of
    neighbouring keys do not wait for each other, and readers read that much more.
    """

    async def insert(self, ctx: Writer, key: Any, id: str, sum_value: Number = 0, *, namespace: Any = None) -> None:
        """Add an item. Raises `KeyExists`."""
        await self._run(ctx, "insert", namespace, key=key, value=id, summand=_number(sum_value), **self._writing)

    async def insert_if_does_not_exist(self, ctx: Writer, key: Any, id: str, sum_value: Number = 0, *, namespace: Any = None) -> None:
        """Add an item; one that is there gets this sum value."""
        await self._run(ctx, "insert_if_does_not_exist", namespace, key=key, value=id, summand=_number(sum_value), **self._writing)

    async def insert_many(self, ctx: Writer, items: Sequence[Item], *, namespace: Any = None) -> None:
        """Add many items in one call: all of them, or none if one exists."""
        within = {} if namespace is None else {"namespace": namespace}
        operations = [
            {"kind": "insert", "key": item.key, "value": item.id, "summand": _number(item.sum_value), **within} for item in items
        ]
        await self._run(ctx, "write_batch", None, operations=operations, **self._writing)

    async def delete(self, ctx: Writer, key: Any, id: str, *, namespace: Any = None) -> None:
        """Remove an item. Raises `KeyMissing`."""
        await self._run(ctx, "delete", namespace, key=key, value=id, **self._common)

    async def delete_if_exists(self, ctx: Writer, key: Any, id: str, *, namespace: Any = None) -> None:
        """Remove an item, if it is there."""
        await self._run(ctx, "delete_if_exists", namespace, key=key, value=id, **self._common)

    async def replace(
        self, ctx: Writer, id: str, old_key: Any, new_key: Any, sum_value: Number = 0, *, namespace: Any = None, new_namespace: Any = SAME
    ) -> None:
        """Give an item another key, sum value or namespace. Raises `KeyMissing`, `KeyExists`."""
        await self._replace(ctx, "replace", id, old_key, new_key, sum_value, namespace, new_namespace)

    async def replace_or_insert(
        self, ctx: Writer, id: str, old_key: Any, new_key: Any, sum_value: Number = 0, *, namespace: Any = None, new_namespace: Any = SAME
    ) -> None:
        """The same for an item that need not be there."""
        await self._replace(ctx, "replace_or_insert", id, old_key, new_key, sum_value, namespace, new_namespace)

    async def _replace(
        self, ctx: Writer, function: str, id: str, old_key: Any, new_key: Any, sum_value: Number, namespace: Any, new_namespace: Any
    ) -> None:
        moved = {} if new_namespace is SAME else {"new_namespace": new_namespace}
        keys = {"current_key": old_key, "new_key": new_key}
        await self._run(ctx, function, namespace, **keys, value=id, summand=_number(sum_value), **moved, **self._writing)


class TableAggregate(Aggregate):
    """An aggregate over the documents of a table, by their `_id`.

    `sort_key`, `sum_value` and `namespace` are pure functions of a document. `trigger(table)(aggregate.on_change)` keeps it
    right, whoever writes.
    """

    def __init__(
        self,
        component: Any,
        table: str,
        *,
        sort_key: Callable[[Document], Any],
        sum_value: Callable[[Document], Number] | None = None,
        namespace: Callable[[Document], Any] | None = None,
        name: str = "",
        shards: int = 1,
    ) -> None:
        super().__init__(component, name=name, shards=shards)
        self.table = table
        self._sort_key, self._sum_value, self._namespace = sort_key, sum_value, namespace

    async def insert(self, ctx: Writer, doc: Document) -> None:
        """Add a document. Raises `KeyExists`."""
        await self._put(ctx, "insert", doc)

    async def insert_if_does_not_exist(self, ctx: Writer, doc: Document) -> None:
        """Add a document; one that is there gets the sum value that it has now."""
        await self._put(ctx, "insert_if_does_not_exist", doc)

    async def delete(self, ctx: Writer, doc: Document) -> None:
        """Remove a document. Raises `KeyMissing`."""
        await self._take(ctx, "delete", doc)

    async def delete_if_exists(self, ctx: Writer, doc: Document) -> None:
        """Remove a document, if it is there."""
        await self._take(ctx, "delete_if_exists", doc)

    async def replace(self, ctx: Writer, old_doc: Document, new_doc: Document) -> None:
        """Move a document from where the old one says to where the new one says. Raises `KeyMissing`, `KeyExists`."""
        await self._replace(ctx, "replace", old_doc, new_doc)

    async def replace_or_insert(self, ctx: Writer, old_doc: Document, new_doc: Document) -> None:
        """The same for a document that need not be there."""
        await self._replace(ctx, "replace_or_insert", old_doc, new_doc)

    async def index_of_doc(
        self, ctx: Reader, doc: Document, *, order: Order = "asc", bounds: Bounds | None = None, stale: bool = False, fresh: bool = False
    ) -> int:
        """The rank of a document in its namespace."""
        namespace = self._namespace_of(doc)
        key, id = self._sort_key(doc), doc["_id"]
        return await self.index_of(ctx, key, id=id, order=order, namespace=namespace, bounds=bounds, stale=stale, fresh=fresh)

    async def on_change(self, ctx: MutationCtx, change: Change) -> None:
        """The trigger. It raises `KeyMissing` or `KeyExists` where the aggregate has drifted from the table."""
        if change.old is None:
            await self._put(ctx, "insert", _there(change.new))
        elif change.new is None:
            await self._take(ctx, "delete", change.old)
        elif repr(self._facts(change.old)) != repr(self._facts(change.new)):
            await self._replace(ctx, "replace", change.old, change.new)

    async def on_change_idempotent(self, ctx: MutationCtx, change: Change) -> None:
        """A trigger that puts right what it meets instead of raising."""
        if change.old is None:
            await self._put(ctx, "insert_if_does_not_exist", _there(change.new))
        elif change.new is None:
            await self._take(ctx, "delete_if_exists", change.old)
        else:
            await self._replace(ctx, "replace_or_insert", change.old, change.new)

    def _namespace_of(self, doc: Document) -> Any:
        return None if self._namespace is None else self._namespace(doc)

    def _number_of(self, doc: Document) -> Number:
        return 0 if self._sum_value is None else _number(self._sum_value(doc))

    def _facts(self, doc: Document) -> tuple[Any, Any, Number]:
        """All that the aggregate knows of a document."""
        return self._namespace_of(doc), self._sort_key(doc), self._number_of(doc)

    async def _put(self, ctx: Writer, function: str, doc: Document) -> None:
        namespace, key, summand = self._facts(doc)
        await self._run(ctx, function, namespace, key=key, value=doc["_id"], summand=summand, **self._writing)

    async def _take(self, ctx: Writer, function: str, doc: Document) -> None:
        await self._run(ctx, function, self._namespace_of(doc), key=self._sort_key(doc), value=doc["_id"], **self._common)

    async def _replace(self, ctx: Writer, function: str, old: Document, new: Document) -> None:
        namespace, key, summand = self._facts(new)
        await self._run(
            ctx,
            function,
            self._namespace_of(old),
            current_key=self._sort_key(old),
            new_key=key,
            value=new["_id"],
            summand=summand,
            new_namespace=namespace,
            **self._writing,
        )


def _there(doc: Document | None) -> Document:
    assert doc is not None
    return doc


def _item_or_none(item: dict[str, Any] | None) -> Item | None:
    return None if item is None else Item(**item)


def _descending(order: Order) -> bool:
    if order not in ("asc", "desc"):
        raise ValueError(f'order must be "asc" or "desc", got {order!r}')
    return order == "desc"


def _number(value: Number) -> Number:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"a sum value must be a number, got {value!r}")
    return value


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
