"""`from interlock import *` gives the same names however a component is isolated, but for what the app's process alone has."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.mounting.distributions import install

import interlock
from interlock import App, MountError
from interlock.sandbox.confinement import available
from interlock.sdk.declarations import Isolation
from interlock.testing import TestBackend

COMPONENT = """
from interlock import *

names = sorted(name for name in globals() if name[:1] != "_")
component = Component("star")


@component.query
async def given(ctx: QueryCtx) -> list[str]:
    return names
"""


@pytest.mark.parametrize("isolation", ["inline", "process", "sandbox"])
async def test_all_names_but_the_backend_are_there(isolation: Isolation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if isolation == "sandbox" and available().missing:
        pytest.skip(f"not here: {available().missing}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files = {"interlock_star/__init__.py": "", "interlock_star/component.py": COMPONENT}
    install(tmp_path, "interlock-star", components={"star": "interlock_star.component:component"}, files=files)
    monkeypatch.syspath_prepend(str(tmp_path))
    app = App()
    app.use("star", isolation=isolation)
    async with TestBackend(app, isolation=isolation) as backend:
        given = await backend.component("star").query("given")
    assert set(interlock.__all__) - set(given) == ({"Backend"} if isolation != "inline" else set())


@pytest.mark.parametrize("isolation", ["process", "sandbox"])
async def test_whoever_asks_for_the_backend_is_told_where_it_is(
    isolation: Isolation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if isolation == "sandbox" and available().missing:
        pytest.skip(f"not here: {available().missing}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files = {"interlock_asks/__init__.py": "", "interlock_asks/component.py": "from interlock import Backend\n"}
    install(tmp_path, "interlock-asks", components={"asks": "interlock_asks.component:component"}, files=files)
    monkeypatch.syspath_prepend(str(tmp_path))
    app = App()
    app.use("asks", isolation=isolation)
    with pytest.raises(MountError, match=r"ImportError: Backend runs apps, .* Import it where the app is run"):
        async with TestBackend(app, isolation=isolation) as backend:
            await backend.opened()
