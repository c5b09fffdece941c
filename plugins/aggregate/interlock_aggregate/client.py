"""The typed face of the component: what an app imports.

It runs in the app, and does nothing but call the component through the mount that it was given.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, overload

from interlock import ActionCtx, AppError, Change, DeadlineExceeded, LimitExceeded, MutationCtx, Page, QueryCtx, mutation
from interlock_aggregate.bounds import Bounds, to_argument
from interlock_aggregate.errors import KeyExists, KeyMissing, typed
from interlock_aggregate.operations import (
    SAME,
    Delete,
    DeleteIfExists,
    Insert,
    InsertIfMissing,
    Operation,
    Replace,
    ReplaceOrInsert,
    checked,
)
from interlock_aggregate.tasks import BATCH, COUNTED, Batch, Progress, TaskName, begun

Number = int | float
Order = Literal["asc", "desc"]
Reader = QueryCtx | ActionCtx
Writer = MutationCtx | ActionCtx
Document = Mapping[str, Any]

_PUTS_RIGHT = {"insert": "insert_if_does_not_exist", "delete": "delete_if_exists", "replace": "replace_or_insert"}


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
            argument["bounds"] = to_argument(self.bounds)
        if self.namespace is not None:
            argument["namespace"] = self.namespace
        return argument


class Aggregate:
    """What both kinds have: reading, clearing, namespaces.

    Everywhere, `namespace` says in which tree (None: the default one) and `bounds` which keys. `stale=True` reads the state
    at the begin of the mutation, without its own writes and without depending on it. While writes are queued, stale reads are
    served, and `fresh=True` reads, which reckon with what is queued; others raise `PendingOperations`.
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

    # queued writes

    async def enqueue_batch(self, ctx: Writer, operations: Sequence[Operation]) -> None:
        """Queue many writes. Jobs apply them in this order; one that cannot be done becomes a dead letter."""
        await self._write(ctx, operations, True)

    async def dead_letters(self, ctx: Reader, cursor: str | None = None, page_size: int = 100) -> Page[dict[str, Any]]:
        """A page of the queued writes that could not be done: `id`, `commit_ts`, `namespace`, `operation`, `error`."""
        after = {} if cursor is None else {"cursor": cursor}
        return Page.from_arguments(await ctx.run_query(self._mount.dead_letter_list, limit=page_size, **after, **self._common))

    async def delete_dead_letter(self, ctx: Writer, id: str) -> bool:
        """Forget a dead letter. Says whether there was one."""
        existed: bool = await ctx.run_mutation(self._mount.dead_letter_delete, id=id)
        return existed

    # calling

    def _read(
        self, ctx: Reader, function: str, namespace: Any, bounds: Bounds | None, stale: bool, fresh: bool, /, **args: Any
    ) -> Awaitable[Any]:
        if bounds is not None:
            args["bounds"] = to_argument(bounds)
        if namespace is not None:
            args["namespace"] = namespace
        return self._query(ctx, function, stale, fresh, args)

    def _read_batch(self, ctx: Reader, function: str, queries: Sequence[Query], stale: bool, fresh: bool) -> Awaitable[Any]:
        return self._query(ctx, function, stale, fresh, {"queries": [query.to_argument() for query in queries]})

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

    async def _write(self, ctx: Writer, operations: Sequence[Operation], queued: bool) -> None:
        arguments = [operation.to_argument() for operation in operations]
        await self._run(ctx, "enqueue_batch" if queued else "write_batch", None, operations=arguments, **self._writing)


class DirectAggregate(Aggregate):
    """An aggregate whose items the app adds and removes by itself: `scores = DirectAggregate(components.scores)`.

    `name` tells several aggregates of one mount apart. With `shards`, each namespace is kept in so many trees: writers of
    neighbouring keys do not wait for each other, and readers read that much more.
    """

    async def insert(self, ctx: Writer, key: Any, id: str, sum_value: Number = 0, *, namespace: Any = None, queued: bool = False) -> None:
        """Add an item. Raises `KeyExists`."""
        if queued:
            await self._write(ctx, [Insert(key, id, sum_value, namespace)], True)
        else:
            await self._run(ctx, "insert", namespace, key=key, value=id, summand=checked(sum_value), **self._writing)

    async def insert_if_does_not_exist(
        self, ctx: Writer, key: Any, id: str, sum_value: Number = 0, *, namespace: Any = None, queued: bool = False
    ) -> None:
        """Add an item; one that is there gets this sum value."""
        await self._write(ctx, [InsertIfMissing(key, id, sum_value, namespace)], queued)

    async def insert_many(self, ctx: Writer, items: Sequence[Item], *, namespace: Any = None) -> None:
        """Add many items in one call: all of them, or none if one exists."""
        await self._write(ctx, [Insert(item.key, item.id, item.sum_value, namespace) for item in items], False)

    async def delete(self, ctx: Writer, key: Any, id: str, *, namespace: Any = None, queued: bool = False) -> None:
        """Remove an item. Raises `KeyMissing`."""
        await self._write(ctx, [Delete(key, id, namespace)], queued)

    async def delete_if_exists(self, ctx: Writer, key: Any, id: str, *, namespace: Any = None, queued: bool = False) -> None:
        """Remove an item, if it is there."""
        await self._write(ctx, [DeleteIfExists(key, id, namespace)], queued)

    async def replace(
        self,
        ctx: Writer,
        id: str,
        old_key: Any,
        new_key: Any,
        sum_value: Number = 0,
        *,
        namespace: Any = None,
        new_namespace: Any = SAME,
        queued: bool = False,
    ) -> None:
        """Give an item another key, sum value or namespace. Raises `KeyMissing`, `KeyExists`."""
        await self._write(ctx, [Replace(id, old_key, new_key, sum_value, namespace, new_namespace)], queued)

    async def replace_or_insert(
        self,
        ctx: Writer,
        id: str,
        old_key: Any,
        new_key: Any,
        sum_value: Number = 0,
        *,
        namespace: Any = None,
        new_namespace: Any = SAME,
        queued: bool = False,
    ) -> None:
        """The same for an item that need not be there."""
        await self._write(ctx, [ReplaceOrInsert(id, old_key, new_key, sum_value, namespace, new_namespace)], queued)


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
        self._runner: Any = None

    async def insert(self, ctx: Writer, doc: Document, *, queued: bool = False) -> None:
        """Add a document. Raises `KeyExists`."""
        await self._write(ctx, [self._put(Insert, doc)], queued)

    async def insert_if_does_not_exist(self, ctx: Writer, doc: Document, *, queued: bool = False) -> None:
        """Add a document; one that is there gets the sum value that it has now."""
        await self._write(ctx, [self._put(InsertIfMissing, doc)], queued)

    async def delete(self, ctx: Writer, doc: Document, *, queued: bool = False) -> None:
        """Remove a document. Raises `KeyMissing`."""
        await self._write(ctx, [self._taken(Delete, doc)], queued)

    async def delete_if_exists(self, ctx: Writer, doc: Document, *, queued: bool = False) -> None:
        """Remove a document, if it is there."""
        await self._write(ctx, [self._taken(DeleteIfExists, doc)], queued)

    async def replace(self, ctx: Writer, old_doc: Document, new_doc: Document, *, queued: bool = False) -> None:
        """Move a document from where the old one says to where the new one says. Raises `KeyMissing`, `KeyExists`."""
        await self._write(ctx, [self._moved(Replace, old_doc, new_doc)], queued)

    async def replace_or_insert(self, ctx: Writer, old_doc: Document, new_doc: Document, *, queued: bool = False) -> None:
        """The same for a document that need not be there."""
        await self._write(ctx, [self._moved(ReplaceOrInsert, old_doc, new_doc)], queued)

    async def index_of_doc(
        self, ctx: Reader, doc: Document, *, order: Order = "asc", bounds: Bounds | None = None, stale: bool = False, fresh: bool = False
    ) -> int:
        """The rank of a document in its namespace."""
        namespace = self._namespace_of(doc)
        key, id = self._sort_key(doc), doc["_id"]
        return await self.index_of(ctx, key, id=id, order=order, namespace=namespace, bounds=bounds, stale=stale, fresh=fresh)

    async def on_change(self, ctx: MutationCtx, changes: Change | list[Change]) -> None:
        """The trigger, told of many changes at once. It raises `KeyMissing` or `KeyExists` where the aggregate has drifted from the table.

        While the aggregate is being attached or repaired, it puts right what it meets instead.
        """
        operations = self._followed(changes)
        if not operations:
            return
        try:
            if len(operations) == 1 and operations[0]["kind"] == "insert":
                del operations[0]["kind"]
                await self._run(ctx, "insert", None, **operations[0], **self._writing)
            else:
                await self._run(ctx, "write_batch", None, operations=operations, **self._writing)
        except (KeyExists, KeyMissing) as error:
            if not await self._is_filling(ctx):
                why = f"the table {self.table} and its aggregate have drifted apart"
                then = "If the table had rows before it had the aggregate, call attach(ctx); otherwise repair(ctx)."
                raise type(error)({**error.data, "message": f"{why}: {error}. {then}"}) from None
            await self.on_change_idempotent(ctx, changes)

    async def on_change_idempotent(self, ctx: MutationCtx, changes: Change | list[Change]) -> None:
        """A trigger that puts right what it meets instead of raising."""
        operations = [{**operation, "kind": _PUTS_RIGHT[operation["kind"]]} for operation in self._followed(changes, all_updates=True)]
        if operations:
            await self._run(ctx, "write_batch", None, operations=operations, **self._writing)

    async def on_change_queued(self, ctx: MutationCtx, changes: Change | list[Change]) -> None:
        """A trigger whose writers never wait for each other: what they change is queued, and applied by jobs."""
        operations = self._followed(changes)
        if operations:
            await self._run(ctx, "enqueue_batch", None, operations=operations, **self._writing)

    def _followed(self, changes: Change | list[Change], *, all_updates: bool = False) -> list[dict[str, Any]]:
        """What changes of documents are to the aggregate, as the component takes it; nothing for updates that it does not see."""
        operations: list[dict[str, Any]] = []
        for change in [changes] if isinstance(changes, Change) else changes:
            old, new = change.old, change.new
            if old is None:
                namespace, key, summand = self._facts(new or {})
                operation = {"kind": "insert", "key": key, "value": change.id, "summand": summand}
            elif new is None:
                namespace = self._namespace_of(old)
                operation = {"kind": "delete", "key": self._sort_key(old), "value": change.id}
            else:
                before = namespace, key, _ = self._facts(old)
                after = target, new_key, summand = self._facts(new)
                # Compared as they are written: 1 and True are equal, but not the same key.
                if before == after and repr(before) == repr(after) and not all_updates:
                    continue
                operation = {"kind": "replace", "key": key, "new_key": new_key, "value": change.id, "summand": summand}
                if target is not namespace:
                    operation["new_namespace"] = target
            if namespace is not None:
                operation["namespace"] = namespace
            operations.append(operation)
        return operations

    # tasks over the whole table

    def runner(self, make: Any = mutation, *, name: str | None = None, batch_size: int = 250) -> Any:
        """The internal mutation behind `attach`, `verify` and `repair`, to be bound to a name in a module of the app.

        In a component, give the decorator: `leaderboard.runner(component.mutation, name="upkeep")`.
        """
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or not 1 <= batch_size <= 2_000:
            raise ValueError(f"batch_size must be from 1 to 2000, got {batch_size!r}")

        async def run_aggregate_task(
            ctx: MutationCtx, task: TaskName, run: int | None = None, restart: bool = False, state: dict[str, Any] | None = None
        ) -> Any:
            """Begin a task, or go on with it; with `run`, do the next batch of that run. Gives how far it is."""
            if state is not None:  # the batch alone: a sub-transaction, so that one which is too much can be tried with less
                batch = Batch(ctx, self._mount, self._common, state, runner)
                return await batch.run(self.table, self._facts, self._writing, batch_size)
            last = await ctx.run_query(self._mount.get_task, task=task, **self._common)
            if run is None:
                job = await ctx.scheduler.get(last["job"]) if last is not None and last["job"] else None
                state = begun(task, last, batch_size, restart=restart, has_failed=job is not None and job.state == "failed")
            elif last is None or last["run"] != run or last["state"] != "running":
                return None  # taken over by a later run
            else:
                try:
                    state = await ctx.run_mutation(runner.options(limits=BATCH), task=task, state=last)
                except (LimitExceeded, DeadlineExceeded) as error:
                    if last["size"] == 1:
                        raise
                    ctx.log.info(f"{task}: a batch of {last['size']} is too much ({error}); trying {last['size'] // 2}")
                    state = {**last, "size": last["size"] // 2}
                else:
                    return asdict(_progress(task, state))
            state["job"] = await ctx.scheduler.run_after(0, runner, task=task, run=state["run"])
            await ctx.run_mutation(self._mount.put_task, task=state, **self._common)
            return asdict(_progress(task, state))

        runner = self._runner = make(internal=True, name=name)(run_aggregate_task)
        return runner

    async def attach(self, ctx: Writer, *, restart: bool = False) -> None:
        """Add what is in the table already, by jobs, while writers go on; goes on where it stopped, if it was interrupted."""
        await self._start(ctx, "attach", restart)

    async def verify(self, ctx: Writer, *, restart: bool = False) -> None:
        """Look, by jobs, whether table and aggregate agree; `progress(ctx, "verify")` says what was found."""
        await self._start(ctx, "verify", restart)

    async def repair(self, ctx: Writer, *, restart: bool = False) -> None:
        """The same, and put right what does not agree."""
        await self._start(ctx, "repair", restart)

    async def progress(self, ctx: Reader, task: TaskName) -> Progress | None:
        """How far a task is; None if it was never begun."""
        state = await ctx.run_query(self._mount.get_task, task=task, **self._common)
        if state is None:
            return None
        found = _progress(task, state)
        job = await ctx.scheduler.get(state["job"]) if state["state"] == "running" and state["job"] else None
        return replace(found, state="failed", error=job.error) if job is not None and job.state in ("failed", "canceled") else found

    async def _start(self, ctx: Writer, task: TaskName, restart: bool) -> None:
        if self._runner is None:
            raise RuntimeError(f"{task} runs in jobs of the app: bind them to a name in a module, `upkeep = leaderboard.runner()`")
        await ctx.run_mutation(self._runner, task=task, restart=restart)

    async def _is_filling(self, ctx: MutationCtx) -> bool:
        for task in ("attach", "repair"):
            state = await ctx.run_query(self._mount.get_task, task=task, **self._common)
            if state is not None and state["state"] == "running":
                return True
        return False

    def _namespace_of(self, doc: Document) -> Any:
        return None if self._namespace is None else self._namespace(doc)

    def _number_of(self, doc: Document) -> Number:
        return 0 if self._sum_value is None else checked(self._sum_value(doc))

    def _facts(self, doc: Document) -> tuple[Any, Any, Number]:
        """All that the aggregate knows of a document."""
        return self._namespace_of(doc), self._sort_key(doc), self._number_of(doc)

    def _put(self, kind: type[Insert], doc: Document) -> Insert:
        namespace, key, summand = self._facts(doc)
        return kind(key, doc["_id"], summand, namespace)

    def _taken(self, kind: type[Delete], doc: Document) -> Delete:
        return kind(self._sort_key(doc), doc["_id"], self._namespace_of(doc))

    def _moved(self, kind: type[Replace], old: Document, new: Document) -> Replace:
        namespace, key, summand = self._facts(new)
        return kind(new["_id"], self._sort_key(old), key, summand, self._namespace_of(old), namespace)


def _progress(task: TaskName, state: Mapping[str, Any]) -> Progress:
    return Progress(task, state["state"], **{name: state[name] for name in (*COUNTED, "samples")})


def _item_or_none(item: dict[str, Any] | None) -> Item | None:
    return None if item is None else Item(**item)


def _descending(order: Order) -> bool:
    if order not in ("asc", "desc"):
        raise ValueError(f'order must be "asc" or "desc", got {order!r}')
    return order == "desc"


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
