"""What the tests of examples/guessing_game share: the app, players in it, and all that it has stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from interlock.testing import TestBackend
from interlock.testing.backend import TestClient

APP = Path(__file__).parents[2] / "examples/guessing_game"
ISSUER = "https://guessing-game.invalid"


async def begin(backend: TestBackend) -> dict[str, Any]:
    """A round is on. What is stored of it, its word too."""
    await backend.mutation("rounds:ensure")
    await backend.finish_in_progress()
    return await newest_round(backend)


async def newest_round(backend: TestBackend) -> dict[str, Any]:
    round: dict[str, Any] = await backend.run(lambda ctx: ctx.db.query("rounds").order("desc").first())
    return round


async def join(backend: TestBackend, name: str) -> tuple[str, TestClient]:
    """A new player: the id, and a client whose calls are theirs."""
    player: str = await backend.mutation("players:enroll", name=name)
    return player, backend.with_identity(subject=player, issuer=ISSUER)


async def stored(backend: TestBackend) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Every document of the app and of its components, by component path and table; jobs are none of them."""
    tables = [(instance.path, table) for instance in (await backend.opened()).tree.by_path.values() for table in instance.tables]
    return {
        (path, table): await backend.run(lambda ctx, table=table: ctx.db.query(table).collect(), component=path) for path, table in tables
    }
