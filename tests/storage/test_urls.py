"""Which storage a `data` argument means."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from interlock.clock import SystemClock
from interlock.errors import StorageUnavailable
from interlock.storage import open_storage
from interlock.storage.memory import MemoryStorage
from interlock.storage.sqlite import SqliteStorage


def test_memory_is_named_by_its_word() -> None:
    assert isinstance(open_storage(":memory:", SystemClock()), MemoryStorage)


@pytest.mark.parametrize(
    ("data", "file"),
    [
        ("data", "data/interlock.sqlite3"),
        (Path("/srv/app/data"), "/srv/app/data/interlock.sqlite3"),
        ("sqlite:///data", "data/interlock.sqlite3"),
        ("sqlite:///data/app.db", "data/app.db"),
        ("sqlite:////srv/app.sqlite3", "/srv/app.sqlite3"),
    ],
)
def test_a_path_or_sqlite_url_names_a_file(data: str | Path, file: str) -> None:
    storage = open_storage(data, SystemClock())
    assert isinstance(storage, SqliteStorage)
    assert storage.file == Path(file)


@pytest.mark.parametrize(
    "data", ["postgresql://user:secret@host/db", "postgres://host/db", "mysql://host/db", "sqlite://host/db", "sqlite:///", ""]
)
def test_anything_else_is_refused_with_what_to_write(data: str) -> None:
    with pytest.raises(StorageUnavailable) as refusal:
        open_storage(data, SystemClock())
    assert "sqlite:///" in str(refusal.value)
    assert "secret" not in str(refusal.value)


def test_sqlite_is_imported_when_it_is_used() -> None:
    look = "import sys, interlock.storage; assert 'sqlite3' not in sys.modules"
    subprocess.run([sys.executable, "-c", look], check=True)


def test_the_clock_gives_the_timestamps() -> None:
    class Noon(SystemClock):
        def now_ms(self) -> float:
            return 1_795_262_400_000.0

    storage = open_storage(":memory:", Noon())
    assert isinstance(storage, MemoryStorage)
    assert storage._clock_ns() == 1_795_262_400_000_000_000
