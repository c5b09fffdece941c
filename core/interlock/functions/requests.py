"""Mutations that are sent twice and run once: the answer is kept under (session, request), in the mutation's own transaction.

The look-up is a read of that transaction, so two that run at the same time conflict, and one of them finds the other's
answer. Only successes are kept: what failed wrote nothing, and may be tried again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from interlock.engine import Engine, Interval, Table, TableSpec, Transaction
from interlock.engine.budget import COUNTED, Counts
from interlock.functions.caller import Answer
from interlock.limits import LIMITS
from interlock.values import CommitTimestamp, encode_id, encode_key, fill_commit_ts, pack, unpack

_TABLE = "_requests"
_PART_CHARACTERS = 250_000  # at most four bytes each: a document holds at most 1 MiB
_FORGET_AT_ONCE = 500


class Bracket(Protocol):
    """What surrounds a mutation in its own transaction: reads before it, writes after it. Like the mutation it may run several times."""

    async def before(self, tx: Transaction) -> Answer | None:
        """An answer that is known already; then the function is not run."""

    async def after(self, tx: Transaction, value: Any, log_lines: list[str]) -> None:
        """The function has succeeded with `value`."""


class RequestKey(NamedTuple):
    """Which request of which client."""

    session: str
    request: str


def requests_table() -> TableSpec:
    """The kept answers."""
    return TableSpec(component="", name=_TABLE)


class KeptAnswer:
    """The bracket of one request: gives the answer that was kept, or keeps it."""

    __slots__ = ("_first", "_key")

    def __init__(self, key: RequestKey) -> None:
        self._key = key
        self._first = ""  # id of the row that is looked for, and then written

    async def before(self, tx: Transaction) -> Answer | None:
        table = _table(tx)
        with free_of_charge(tx):
            self._first = self._first or self._id(table, 0)
            first = await tx.get(table, self._first)
            if first is None:
                return None
            text = first["answer"]
            for part in range(1, first["parts"]):
                row = await tx.get(table, self._id(table, part))
                assert row is not None, "all parts of an answer are written and forgotten together"
                text += row["answer"]
        ts = int(first["ts"])
        answer = unpack(fill_commit_ts(text.encode(), ts))
        return Answer(answer["value"], ts, answer["lines"])

    async def after(self, tx: Transaction, value: Any, log_lines: list[str]) -> None:
        table = _table(tx)
        text = pack({"value": value, "lines": log_lines}).decode()
        parts = [text[at : at + _PART_CHARACTERS] for at in range(0, len(text), _PART_CHARACTERS)]
        with free_of_charge(tx):
            for part, answer in enumerate(parts):
                row = {"answer": answer, "parts": len(parts), "ts": CommitTimestamp()}
                tx.insert(table, row, id=self._id(table, part) if part else self._first)

    def _id(self, table: Table, part: int) -> str:
        name = f"{part}|{len(self._key.session)}|{self._key.session}{self._key.request}"
        return encode_id(table.number, hashlib.sha256(name.encode()).digest()[:16])


async def forget_requests(engine: Engine, before_ms: float) -> int:
    """Drop answers that were kept before a point in time; gives how many rows went."""
    gone = 0
    while True:
        count = (await engine.mutate(lambda tx: _forget(tx, before_ms), label="forgetting kept answers")).value
        gone += count
        if count < _FORGET_AT_ONCE:
            return gone


async def _forget(tx: Transaction, before_ms: float) -> int:
    table = _table(tx)
    rows = await tx.scan(table.indexes["by_creation_time"], Interval(b"", encode_key(before_ms)), False, _FORGET_AT_ONCE)
    for row in rows:
        await tx.delete(table, row["_id"])
    return len(rows)


def _without_end() -> Counts:
    counts = Counts()
    for name in COUNTED:
        setattr(counts, name, 2**53)
    return counts


_WITHOUT_END = _without_end()


@contextmanager
def free_of_charge(tx: Transaction) -> Iterator[None]:
    """Reads and writes of the engine's own, which are not the function's to pay."""
    budget = tx.budget
    before = budget.used, budget.maximum
    budget.used, budget.maximum = Counts(), _WITHOUT_END
    try:
        yield
    finally:
        budget.used, budget.maximum = before


def _table(tx: Transaction) -> Table:
    table = tx.table("", _TABLE)
    assert table is not None, "system tables are deployed before functions run"
    return table


KEPT_MS = LIMITS["idempotency_kept"].value * 1000.0
