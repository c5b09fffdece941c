"""336,776 flights in embedded backends: a migration, attaching an aggregate, and a migration of what that follows."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

from bench.flights import FLIGHTS
from bench.programs import SANDBOXED, program
from bench.rows import Figures, Row, Run, Work
from bench.servers import HERE, INTERLOCK, Servers

SQLALCHEMY = "SQLAlchemy's ORM"
_folder: list[Path] = []


def ours(kind: str, isolation: str) -> Run:
    def run(servers: Servers, seconds: float) -> Figures:
        if not _folder:  # the filled table, once for all of them
            _folder.append(Path(tempfile.mkdtemp(prefix=".bench-", dir=HERE.parent)))
            atexit.register(shutil.rmtree, _folder[0], ignore_errors=True)
        return program("flights", kind, isolation, str(_folder[0]))(servers, seconds)

    return run


_ORM = program("peers.sqlalchemy_migration", needs="sqlalchemy")

WORKS = [
    Work(
        f"migration of {FLIGHTS:,} flights",
        {INTERLOCK: ours("migrate", "inline"), SANDBOXED: ours("migrate", "sandbox"), SQLALCHEMY: _ORM},
        [
            Row(f"inline : {SQLALCHEMY}", "rows/s", over=SQLALCHEMY, at_least=1.5),
            Row(f"sandboxed : {SQLALCHEMY}", "rows/s", of=SANDBOXED, over=SQLALCHEMY, at_least=1),
            Row("sandboxed : inline", "rows/s", of=SANDBOXED, over=INTERLOCK, at_least=0.65),
        ],
        rounds=1,
        warm_up=False,
    ),
    Work(
        f"an aggregate over {FLIGHTS:,} flights",
        {INTERLOCK: ours("attach", "inline"), SANDBOXED: ours("attach", "sandbox"), SQLALCHEMY: _ORM},
        [
            Row("attached while others write, s", "attach, s", at_most=60, decimals=1),
            Row("attaching, sandboxed : inline", "attach, s", of=INTERLOCK, over=SANDBOXED, at_least=0.65),
            Row(f"migration with its trigger : {SQLALCHEMY}", "with triggers, rows/s", over=SQLALCHEMY, over_figure="rows/s", at_least=0.3),
            Row("migration with its trigger, sandboxed : inline", "with triggers, rows/s", of=SANDBOXED, over=INTERLOCK, at_least=0.65),
        ],
        rounds=1,
        warm_up=False,
    ),
]
