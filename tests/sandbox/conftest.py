"""An app that mounts an installed component, isolated in either way, and the component's own functions to call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from interlock import App
from interlock.sdk.declarations import Isolation
from interlock.testing import TestBackend

from .installed import imported, install_ledger


@pytest.fixture
def ledger_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    install_ledger(tmp_path / "site", monkeypatch)
    yield
    assert imported() == [], "the process of the app has imported a component that it mounts isolated"


@pytest.fixture(params=["process", "sandbox"])
def isolation(request: pytest.FixtureRequest) -> Isolation:
    found: Isolation = request.param
    return found


@pytest.fixture
async def app(ledger_installed: None, isolation: Isolation) -> AsyncIterator[TestBackend]:
    """Mounts the ledger as `ledger`."""
    made = App()
    made.use("ledger", env={"UNIT": "euro"})
    async with TestBackend(made, isolation=isolation) as backend:
        yield backend
