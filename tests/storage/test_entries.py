from pathlib import Path

import pytest

from interlock.storage.memory import MemoryStorage
from interlock.storage.protocol import Commit, Entry, IndexRecord, Interval, Storage, TableRecord, Write
from interlock.storage.sqlite import SqliteStorage


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_entries_are_those_of_a_scan_without_documents(kind: str, tmp_path: Path) -> None:
    storage: Storage = MemoryStorage() if kind == "memory" else SqliteStorage(tmp_path)
    await storage.load()
    writes = [Write(1, f"id{n}", None, b"{}", [Entry(2, None, b"k%03d" % (n * 7 % 50))]) for n in range(50)]
    await storage.append([Commit(writes, [TableRecord(1, "", "items")], [IndexRecord(2, 1, "by_n", ("n",))])])
    scanned = [(row.key, row.id) for row in (await storage.scan(2, Interval(b"", None), "asc", 100)).rows]
    found: list[tuple[bytes, str]] = []
    while chunk := await storage.entries(2, found[-1][0] if found else b"", 7):
        found += chunk
    assert found == scanned and len(found) == 50
    assert await storage.entries(99, b"", 7) == []
    await storage.close()
