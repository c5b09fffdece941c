"""Long tasks over a whole table, a batch at a time: attach an aggregate to it, verify that the two agree, repair what does not.

The functions of a document are the app's, so the app's own jobs do the work. How far they are is kept in the component, in
the same transaction as the batch: a task that was interrupted goes on where it stopped.

Start at `Batch.run`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Literal

from interlock import AppError, DeadlineExceeded, LimitExceeded, Limits, MutationCtx, PaginationOptions

TaskName = Literal["attach", "verify", "repair"]
PHASES: dict[str, tuple[str, ...]] = {"attach": ("rows",), "verify": ("trees", "rows", "items"), "repair": ("trees", "rows", "items")}
COUNTED = ("rows", "items", "missing", "wrong", "extra", "miscounted", "broken")
SAMPLES = 20
# Less than a transaction may use, so that its job can still note that a batch was too much.
BATCH = Limits(deadline=10.0, cpu=0.4, documents_read=28_000, bytes_read=14 << 20, documents_written=14_000, bytes_written=13 << 20)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a task is and what it has found so far.

    `rows` of the table and `items` of the aggregate were looked at. `missing`, `wrong` and `extra` items were found, and, after
    `attach` and `repair`, put right; `samples` are some of them. `miscounted` and `broken` are about the trees themselves.
    """

    task: TaskName
    state: Literal["running", "done", "failed"]
    rows: int = 0
    items: int = 0
    missing: int = 0
    wrong: int = 0
    extra: int = 0
    miscounted: int = 0
    broken: int = 0
    samples: list[dict[str, Any]] = field(default_factory=list)
    error: str | None = None

    @property
    def differences(self) -> int:
        """All that was found."""
        return self.missing + self.wrong + self.extra + self.miscounted + self.broken


def begun(task: TaskName, last: Mapping[str, Any] | None, size: int, *, restart: bool, has_failed: bool = False) -> dict[str, Any]:
    """The state of a task that begins, or goes on if it was not done: in smaller batches, if its job has failed."""
    run = 1 if last is None else last["run"] + 1
    if last is not None and last["state"] == "running" and not restart:
        return {**last, "run": run, "size": max(1, last["size"] // 2) if has_failed else last["size"]}
    fresh: dict[str, Any] = {"task": task, "state": "running", "run": run, "job": "", "phase": PHASES[task][0], "size": size}
    return {**fresh, "namespace_cursor": None, "cursor": None, **dict.fromkeys(COUNTED, 0), "samples": []}


def note(state: MutableMapping[str, Any], differences: list[Any]) -> None:
    """Count what was found, and keep some of it."""
    for difference in differences:
        state[difference["kind"]] += 1
    if state["task"] != "attach":  # there, what is missing is what was there before
        state["samples"] = (state["samples"] + differences)[:SAMPLES]


class Batch:
    """One batch of a task, in one transaction."""

    def __init__(self, ctx: MutationCtx, mount: Any, common: Mapping[str, Any], state: dict[str, Any], runner: Any) -> None:
        self._ctx, self._mount, self._common, self.state, self._size = ctx, mount, common, state, int(state["size"])
        self._mend = state["task"] != "verify"
        self._runner = runner

    async def run(
        self, table: str, facts: Callable[[Mapping[str, Any]], tuple[Any, Any, Any]], shards: Mapping[str, Any], size_most: int
    ) -> dict[str, Any]:
        """Look at the next rows, items or leaves. Gives the state that is kept then, with the job of the next batch."""
        state = self.state
        if self._size < size_most:  # a batch was too much; it may have met a bad moment
            state["size"] = min(size_most, self._size + 1 + self._size // 8)
        if state["phase"] == "rows":
            return await self._rows(table, facts, shards)
        await self._namespaces(table, facts)
        await self._plan()
        await self._ctx.run_mutation(self._mount.put_task, task=state, **self._common)
        return state

    async def _plan(self) -> None:
        state = self.state
        if state["state"] == "running":
            state["job"] = await self._ctx.scheduler.run_after(0, self._runner, task=state["task"], run=state["run"])

    async def _rows(
        self, table: str, facts: Callable[[Mapping[str, Any]], tuple[Any, Any, Any]], shards: Mapping[str, Any]
    ) -> dict[str, Any]:
        state = self.state
        page = await self._ctx.db.query(table).paginate(PaginationOptions(num_items=self._size, cursor=state["cursor"]))
        rows = []
        for doc in page.page:
            namespace, key, summand = self._facts_of(doc, facts)
            rows.append({"namespace": namespace, "key": key, "id": doc["_id"], "summand": summand})
        state["rows"] += len(rows)
        state["cursor"] = page.continue_cursor
        if page.is_done:
            self._next_phase()
        await self._plan()
        # In one call, and the last: a writer who comes between two of them makes the batch run again.
        kept: dict[str, Any] = await self._ctx.run_mutation(self._mount.compare, rows=rows, mend=self._mend, task=state, **shards)
        return kept

    async def _namespaces(self, table: str, facts: Callable[[Mapping[str, Any]], tuple[Any, Any, Any]]) -> None:
        """As many namespaces as a batch has room for, or a part of one."""
        ctx, state, left = self._ctx, self.state, self._size
        while left > 0:
            at = {} if state["namespace_cursor"] is None else {"cursor": state["namespace_cursor"]}
            page = await ctx.run_query(self._mount.paginate_namespaces, limit=1, **at, **self._common)
            for namespace in page["page"]:
                used, state["cursor"] = await (
                    self._items(namespace, table, facts, left) if state["phase"] == "items" else self._leaves(namespace, left)
                )
                left -= used + 1
            if state["cursor"] is None:
                state["namespace_cursor"] = page["continueCursor"]
                if page["isDone"]:
                    self._next_phase()
                    return

    async def _leaves(self, namespace: Any, left: int) -> tuple[int, str | None]:
        where = {"namespace": namespace, "cursor": self.state["cursor"], **self._common}
        found = await self._ctx.run_mutation(self._mount.check, **where, leaves=max(1, left // 4), mend=self._mend)
        self.state["miscounted"] += found["miscounted"]
        self.state["broken"] += found["broken"]
        return left // 4, found["cursor"]

    async def _items(
        self, namespace: Any, table: str, facts: Callable[[Mapping[str, Any]], tuple[Any, Any, Any]], left: int
    ) -> tuple[int, str | None]:
        ctx, state = self._ctx, self.state
        at = {} if state["cursor"] is None else {"cursor": state["cursor"]}
        # `stale` as an argument only: queued writes are looked past, but the reads do count for conflicts.
        page = await ctx.run_query(self._mount.paginate, namespace=namespace, limit=left, stale=True, **at, **self._common)
        items: list[dict[str, Any]] = []
        for item in page["page"]:
            held = {"key": item["key"], "id": item["id"]}
            id = await ctx.db.normalize_id(table, item["id"])
            doc = None if id is None else await ctx.db.get(id)
            items.append(held if doc is None else {**held, "right": list(self._facts_of(doc, facts)[:2])})
        state["items"] += len(items)
        self._note(await ctx.run_mutation(self._mount.prune, items=items, mend=self._mend, namespace=namespace, **self._common))
        return len(items), None if page["is_done"] else page["cursor"]

    def _facts_of(self, doc: Mapping[str, Any], facts: Callable[[Mapping[str, Any]], tuple[Any, Any, Any]]) -> tuple[Any, Any, Any]:
        """What the app's functions make of a document. An error of theirs names it."""
        try:
            return facts(doc)
        except (LimitExceeded, DeadlineExceeded):
            raise
        except Exception as error:
            then = f"Change the document or the functions of the aggregate, and call {self.state['task']}(ctx) again: it goes on there"
            message = f"document {doc['_id']}: {type(error).__name__}: {error}. {then}"
            raise AppError({"code": "DOCUMENT_REFUSED", "message": message, "id": doc["_id"]}) from error

    def _note(self, differences: list[dict[str, Any]]) -> None:
        note(self.state, differences)

    def _next_phase(self) -> None:
        state = self.state
        phases = PHASES[state["task"]]
        at = phases.index(state["phase"]) + 1
        state["cursor"] = state["namespace_cursor"] = None
        if at == len(phases) or (state["broken"] and not self._mend):  # what is in a broken tree cannot be compared
            state["state"] = "done"
        else:
            state["phase"] = phases[at]
