"""Writes under a limit of the system on the size of files, so that the write-ahead log cannot be written in COMMIT."""

import asyncio
import resource
import signal
import sys

from interlock.storage.protocol import Commit, OutcomeUnknown, TableRecord, Write
from interlock.storage.sqlite import SqliteStorage


async def main() -> None:
    storage = SqliteStorage(sys.argv[1])
    await storage.load()
    await storage.append([Commit([Write(1, "kept", None, b"1")], tables=[TableRecord(1, "", "things")])])
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    for size in (1_000_000, 10):
        try:
            await storage.append([Commit([Write(1, f"lost{size}", None, b"x" * size)])])
        except OutcomeUnknown as unknown:
            print("unknown:", unknown, flush=True)
    print((await storage.get(1, ["kept"])).rows[0].doc.decode(), flush=True)


asyncio.run(main())
