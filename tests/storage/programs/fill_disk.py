"""Appends on a small file system until it is full, makes room, and goes on. Prints what comes of it."""

import asyncio
import sys
from pathlib import Path

from interlock.storage.protocol import Commit, NothingWritten, TableRecord, Write
from interlock.storage.sqlite import SqliteStorage


async def main(root: Path) -> None:
    ballast = root / "ballast"
    ballast.write_bytes(bytes(3_000_000))
    storage = SqliteStorage(root / "data")
    await storage.load()
    await storage.append([Commit([], tables=[TableRecord(1, "", "things")])])
    written = 0
    try:
        while True:
            await storage.append([Commit([Write(1, f"i{written}", None, b"x" * 30_000)])])
            written += 1
    except NothingWritten as refusal:
        print(refusal.reason, refusal.remedy, flush=True)
    newest = (await storage.load()).newest
    ballast.unlink()
    await storage.append([])
    await storage.append([Commit([Write(1, "more", None, b"x" * 30_000)])])
    assert (await storage.load()).newest > newest
    await storage.close()
    storage = SqliteStorage(root / "data")
    [table] = (await storage.load()).tables
    print("kept", table.count == written + 1, len(await storage.tail(0)) == written + 2, flush=True)
    await storage.close()


asyncio.run(main(Path(sys.argv[1])))
