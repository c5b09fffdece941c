"""Appends to the storage in a directory until it is killed, and prints the timestamps of each batch once it is answered.

Arguments: the directory, a seed, and "forget" to keep only a short log. Documents say at which key they are: see `document`.
"""

import asyncio
import random
import sys

from interlock.storage.protocol import Commit, Entry, IndexRecord, Interval, TableRecord, Write
from interlock.storage.sqlite import SqliteStorage

TABLE, BY_ID, BY_KEY = 1, 2, 3


def document(version: int, key: bytes, size: int) -> bytes:
    return b"%d %s " % (version, key) + b"x" * size


def key_of(doc: bytes) -> bytes:
    return doc.split(b" ")[1]


async def main(directory: str, seed: str, *more: str) -> None:
    chance = random.Random(seed)
    storage = SqliteStorage(directory)
    boot = await storage.load()
    if not boot.tables:
        indexes = [IndexRecord(BY_ID, TABLE, "by_id", ("_id",)), IndexRecord(BY_KEY, TABLE, "by_key", ("key",))]
        await storage.append([Commit([], [TableRecord(TABLE, "", "things")], indexes)])
    documents = {row.id: row.doc for row in (await storage.scan(BY_ID, Interval(b"", None), "asc", 10**9)).rows}
    version = boot.newest
    print("loaded", boot.newest, flush=True)
    while True:
        commits = []
        for _ in range(chance.choice([1, 1, 1, 4, 30])):
            writes = []
            for id in {f"i{chance.randrange(400):03}" for _ in range(chance.choice([1, 2, 5]))}:
                version += 1
                old = documents.pop(id, None)
                new = None
                if old is None or chance.random() < 0.8:
                    new = documents[id] = document(
                        version, b"%02d-%s" % (chance.randrange(50), id.encode()), chance.choice([5, 100, 9_000])
                    )
                old_key, new_key = old and key_of(old), new and key_of(new)
                writes.append(Write(TABLE, id, old, new, [Entry(BY_KEY, old_key, new_key)] if old_key != new_key else []))
            commits.append(Commit(writes))
        await storage.append(commits)
        print(*(commit.ts for commit in commits), flush=True)
        if more and chance.random() < 0.1:
            await storage.forget(commits[0].ts)


asyncio.run(main(*sys.argv[1:]))
