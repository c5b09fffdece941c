"""What an error of SQLite means: was surely nothing written, or is the outcome unknown? And what can be done about it.

Up to COMMIT there is no commit record in the write-ahead log, so whatever goes wrong, surely nothing was written. COMMIT itself
writes the record, syncs, and then publishes. "Full" comes from the writing of frames, before a whole record is in the file, and
"busy" before anything; all else (an I/O error while writing or syncing, no memory for the shared index) can leave a
record that a recovery would find: unknown.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from interlock.errors import StorageUnavailable
from interlock.storage.protocol import NothingWritten, OutcomeUnknown

_NOTHING_AT_COMMIT = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY}


def write_failure(file: Path, error: BaseException, *, is_committing: bool, is_undone: bool) -> NothingWritten | OutcomeUnknown:
    """`is_committing`: the error came out of COMMIT. `is_undone`: afterwards the transaction was rolled back."""
    code = primary_code(error)
    reason = _WRITE_REASONS.get(code) if code is not None else None
    if _is_out_of_space(error):
        reason = _WRITE_REASONS[sqlite3.SQLITE_FULL]
    if isinstance(error, MemoryError):
        reason = ("the process has no memory left", "Give it more, or less to do.")
    if reason is None or not is_undone or (is_committing and code not in _NOTHING_AT_COMMIT):
        return OutcomeUnknown(f"{file}: {_text(error)}, {'in' if is_committing else 'before'} COMMIT")
    what, remedy = reason
    return NothingWritten(f"{file}: {what} ({_text(error)}).", remedy)


def read_failure(file: Path, error: Exception) -> StorageUnavailable:
    """An error met while opening or reading."""
    code = primary_code(error)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return damaged(file, error)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StorageUnavailable(f"{file} is locked by another program ({_text(error)}).", _CLOSE_IT)
    if code == sqlite3.SQLITE_FULL or _is_out_of_space(error):
        return StorageUnavailable(f"There is no space left for {file} ({_text(error)}).", "Free some space, and start again.")
    return StorageUnavailable(f"{file} cannot be read ({_text(error)}).", "Look at the disk and at the rights to the file.")


def damaged(file: Path, error: Exception | str) -> StorageUnavailable:
    return StorageUnavailable(
        f"{file} is damaged or not a database ({error if isinstance(error, str) else _text(error)}).",
        f'Nothing was changed. Put back a copy of the directory, or save what can be read: sqlite3 "{file}" .recover',
    )


def not_writable(file: Path, error: Exception) -> StorageUnavailable:
    why = error.strerror or str(error) if isinstance(error, OSError) else _text(error)
    return StorageUnavailable(
        f"{file} cannot be written ({why}).", "Give this user the right to write there, or choose another place for the data."
    )


def primary_code(error: BaseException) -> int | None:
    """SQLite's own code, without what the extended code adds. None: the error is not SQLite's."""
    code = getattr(error, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else None


def _is_out_of_space(error: BaseException) -> bool:
    """The index of the write-ahead log could not grow: SQLite calls that an error of the disk."""
    return getattr(error, "sqlite_errorname", "") == "SQLITE_IOERR_SHMSIZE"


def _text(error: BaseException) -> str:
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return f"{name}: {error}"


_CLOSE_IT = "Close the program that has it open, a SQLite shell perhaps."
_WRITE_REASONS: dict[int, tuple[str, str]] = {
    sqlite3.SQLITE_FULL: ("there is no space left", "Free some space; writing goes on by itself."),
    sqlite3.SQLITE_BUSY: ("another program holds it locked", _CLOSE_IT),
    sqlite3.SQLITE_LOCKED: ("another program holds it locked", _CLOSE_IT),
    sqlite3.SQLITE_READONLY: ("it is read-only", "Make it writable again; writing goes on by itself."),
    sqlite3.SQLITE_PERM: ("this process may not write it", "Give this user the right to write it."),
    sqlite3.SQLITE_AUTH: ("this process may not write it", "Give this user the right to write it."),
    sqlite3.SQLITE_CANTOPEN: ("a file beside it cannot be opened", "Look at the rights to the directory, and at the limit of open files."),
    sqlite3.SQLITE_IOERR: ("the disk reports an error", "Look at the disk and at the log of the system."),
    sqlite3.SQLITE_CORRUPT: ("it is damaged", "Stop, and put back a copy of the directory."),
    sqlite3.SQLITE_NOTADB: ("it is damaged", "Stop, and put back a copy of the directory."),
    sqlite3.SQLITE_NOMEM: ("the process has no memory left", "Give it more, or less to do."),
    sqlite3.SQLITE_TOOBIG: ("a document or commit is too large for SQLite", "Write less in one transaction."),
}
