"""Function handles: texts that let whoever holds them call one function.

A handle is the function's place and a generation, sealed with the backend's secret: nobody can make one up, a query can
make one without writing, and the same function has the same handle until that is revoked. A row in the root's `_handles`
holds the generation of a function that has been revoked; no row is generation 0.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache

from interlock.engine import Table, TableSpec, Transaction
from interlock.errors import FunctionHandleNotFound
from interlock.functions.sealing import Seal
from interlock.sdk.references import HANDLE_PREFIX
from interlock.values import encode_id

_TABLE = "_handles"
_KEPT = 4_096


def handles_table() -> TableSpec:
    """The generations of functions whose handles have been revoked."""
    return TableSpec(component="", name=_TABLE)


class Handles:
    """The handles of one backend."""

    def __init__(self, secret: bytes) -> None:
        self._seal = Seal(secret, "function handle")
        # Sealing costs more than a small mutation, and the same few functions are named over and over.
        self._made = lru_cache(_KEPT)(self._make)
        self._opened = lru_cache(_KEPT)(self._open)

    async def make(self, tx: Transaction, component_path: str, function: str) -> str:
        """The handle of a function."""
        return self._made(component_path, function, await self._generation(tx, component_path, function))

    def _make(self, component_path: str, function: str, generation: int) -> str:
        return HANDLE_PREFIX + self._seal.close(json.dumps([component_path, function, generation]).encode())

    async def open(self, tx: Transaction, handle: str) -> tuple[str, str]:
        """Component path and name of the function behind a handle. Raises FunctionHandleNotFound for one that is revoked or no handle."""
        component_path, function, generation = self._read(handle)
        if await self._generation(tx, component_path, function) != generation:
            raise FunctionHandleNotFound(handle)
        return component_path, function

    async def revoke(self, tx: Transaction, handle: str) -> None:
        """End a handle, and with it all that were made of the same function so far."""
        component_path, function = await self.open(tx, handle)
        table = self._table(tx)
        row_id = _row_id(table, component_path, function)
        generation = await self._generation(tx, component_path, function)
        row = {"component": component_path, "function": function, "generation": generation + 1}
        if generation:
            await tx.replace(table, row_id, row)
        else:
            tx.insert(table, row, id=row_id)

    def _read(self, handle: str) -> tuple[str, str, int]:
        if not isinstance(handle, str) or not handle.startswith(HANDLE_PREFIX):
            raise FunctionHandleNotFound(str(handle))
        return self._opened(handle)

    def _open(self, handle: str) -> tuple[str, str, int]:
        contents = self._seal.open(handle.removeprefix(HANDLE_PREFIX))
        if contents is None:
            raise FunctionHandleNotFound(handle)
        component_path, function, generation = json.loads(contents)
        return component_path, function, generation

    async def _generation(self, tx: Transaction, component_path: str, function: str) -> int:
        table = self._table(tx)
        row = await tx.get(table, _row_id(table, component_path, function))
        return 0 if row is None else int(row["generation"])

    @staticmethod
    def _table(tx: Transaction) -> Table:
        table = tx.table("", _TABLE)
        assert table is not None, "system tables are deployed before functions run"
        return table


def _row_id(table: Table, component_path: str, function: str) -> str:
    return _id_in(table.number, component_path, function)


@lru_cache(_KEPT)
def _id_in(table: int, component_path: str, function: str) -> str:
    return encode_id(table, hashlib.sha256(json.dumps([component_path, function]).encode()).digest()[:16])
