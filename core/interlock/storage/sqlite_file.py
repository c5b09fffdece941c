"""Opening `interlock.sqlite3`: whose file it is, which format it has, whether it can be read and written at all."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from pathlib import Path

from interlock.errors import StorageUnavailable
from interlock.storage import sqlite_schema
from interlock.storage.protocol import Boot, TableRecord
from interlock.storage.sqlite_failures import damaged, not_writable, primary_code, read_failure
from interlock.storage.wal_size import LIMIT_BYTES

NAME = "interlock.sqlite3"
_SUFFIXES = (".sqlite3", ".sqlite", ".db")
_WAIT_FOR_OTHERS_S = 2.0
_CANNOT_WRITE = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN)


def database_file(path: str | os.PathLike[str]) -> Path:
    """The file that is meant: the path itself if it is one or is called like one, else the one in that directory."""
    given = Path(path)
    return given if given.is_file() or (given.suffix in _SUFFIXES and not given.is_dir()) else given / NAME


def make_directory(directory: Path) -> None:
    """Make it durably, with what is above it."""
    if directory.is_dir():
        return
    try:
        make_directory(directory.parent)
        directory.mkdir(exist_ok=True)
        sync_directory(directory.parent)
    except OSError as error:
        raise not_writable(directory, error) from None


def sync_directory(directory: Path) -> None:
    if os.name == "posix":
        file = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)


def connect(file: Path, synchronous: str, cache_kib: int) -> sqlite3.Connection:
    """A connection without transactions of its own making. It does not wait for locks: whoever may wait, waits outside the loop."""
    connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False, cached_statements=512, timeout=0)
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute(f"PRAGMA cache_size = -{cache_kib}")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute(f"PRAGMA journal_size_limit = {LIMIT_BYTES}")
    return connection


def open_for_writing(file: Path, synchronous: str, cache_kib: int) -> sqlite3.Connection:
    """The writer's connection to a file that is ours, of a format we know, whose recovered commits are on disk."""
    _make_private(file)
    try:
        connection = connect(file, synchronous, cache_kib)
    except sqlite3.Error as error:
        raise _open_failure(file, error) from None
    try:
        connection.execute(f"PRAGMA busy_timeout = {int(_WAIT_FOR_OTHERS_S * 1000)}")
        _make_or_check(file, connection)
        _settle(connection)
        connection.execute("PRAGMA busy_timeout = 0")
    except sqlite3.Error as error:
        connection.close()
        raise _open_failure(file, error) from None
    except BaseException:
        connection.close()
        raise
    return connection


def _make_private(file: Path) -> None:
    """A new file is its owner's alone, and so are those that SQLite lays beside it: it holds what admin keys are signed with."""
    with suppress(OSError):  # where it cannot be made, SQLite says so below
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _make_or_check(file: Path, connection: sqlite3.Connection) -> None:
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    (format,) = connection.execute("PRAGMA user_version").fetchone()
    (objects,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if owner == 0 and objects == 0:
        connection.execute("PRAGMA page_size = 4096")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")
        for statement in sqlite_schema.CREATE:
            connection.execute(statement)
        connection.execute("COMMIT")
        return
    if owner != sqlite_schema.APPLICATION_ID:
        raise StorageUnavailable(f"{file} is a database of another program.", "Choose another place for the data.")
    if format > sqlite_schema.FORMAT:
        raise StorageUnavailable(
            f"{file} was made by a newer Interlock: it has format {format}, this one knows formats up to {sqlite_schema.FORMAT}.",
            "Upgrade: pip install --upgrade interlock",
        )
    if format < 1:
        raise damaged(file, f"it says that its format is {format}")
    connection.execute("PRAGMA journal_mode = WAL")
    for statement in sqlite_schema.LOOK:
        connection.execute(statement).fetchall()


def _settle(connection: sqlite3.Connection) -> None:
    """Put what was recovered on disk before anything is answered from it.

    A process that was killed between writing and syncing leaves commits that only the system's memory holds. A probe syncs
    the write-ahead log, and copying it into the database writes anew what an earlier failed sync may have let go.
    """
    connection.execute(sqlite_schema.PROBE)
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except sqlite3.OperationalError as error:
        # A disk without room for the copy can still be read, and has the log itself.
        if primary_code(error) != sqlite3.SQLITE_FULL:
            raise


def read_boot(connection: sqlite3.Connection) -> Boot:
    """What `load` answers, from one snapshot."""
    connection.execute("BEGIN")
    try:
        (newest,) = connection.execute(sqlite_schema.NEWEST).fetchone()
        (next_number,) = connection.execute("SELECT value FROM meta WHERE name = 'next_number'").fetchone()
        tables = connection.execute(
            "SELECT number, component, name, validator, coalesce(count, 0), coalesce(size, 0)"
            " FROM tables LEFT JOIN sizes ON table_number = number ORDER BY number"
        ).fetchall()
        indexes = connection.execute("SELECT number, table_number, name, fields FROM indexes ORDER BY number").fetchall()
        facts = connection.execute("SELECT name, value FROM facts").fetchall()
    finally:
        connection.execute("COMMIT")
    return Boot(
        newest=newest,
        tables=[TableRecord(*row) for row in tables],
        indexes=[sqlite_schema.to_index(*row) for row in indexes],
        next_number=next_number,
        facts=dict(facts),
    )


def _open_failure(file: Path, error: sqlite3.Error) -> StorageUnavailable:
    return not_writable(file, error) if primary_code(error) in _CANNOT_WRITE else read_failure(file, error)
