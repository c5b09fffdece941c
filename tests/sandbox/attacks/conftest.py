"""The thief and the vault, installed and mounted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.mounting.distributions import install
from tests.sandbox.attacks.scene import Scene

from interlock import App
from interlock.backend import Backend

HERE = Path(__file__).parent


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("thief", "vault"):
        files = {f"interlock_{name}/__init__.py": "", f"interlock_{name}/component.py": (HERE / name / "component.py").read_text()}
        install(tmp_path / "site", f"interlock-{name}", components={name: f"interlock_{name}.component:component"}, files=files)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))


@pytest.fixture
async def scene(installed: None) -> AsyncIterator[Scene]:
    app = App()
    app.use("thief", allow=["net:mail.example"])
    app.use("thief", name="patient", workers=2, allow=["net:mail.example"])
    app.use("vault")
    async with Backend(app, data=":memory:", env={}) as backend:
        scene = Scene(backend)
        scene.secret = await scene.vault("put", text="the secret")
        assert await scene.thief("looted") == []  # loaded, so that deadlines are those of calls
        yield scene
