"""Opens the storage in a directory, says so, and holds it until its input ends. A second argument is the user to do it as."""

import asyncio
import os
import sys

from interlock.errors import StorageUnavailable
from interlock.storage.sqlite import SqliteStorage


async def main() -> None:
    if len(sys.argv) > 2:
        os.setuid(int(sys.argv[2]))
    storage = SqliteStorage(sys.argv[1])
    try:
        await storage.load()
    except StorageUnavailable as refusal:
        print("refused:", refusal, flush=True)
        return
    print("held", flush=True)
    sys.stdin.read()
    await storage.close()


asyncio.run(main())
