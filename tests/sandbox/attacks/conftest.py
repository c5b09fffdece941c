"""The thief and the vault, installed and mounted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.mounting.distributions import install
from tests.sandbox.attacks.scene import DEADLINE, Scene

from interlock import App, DeadlineExceeded, Limits
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
    app.use("thief", limits=Limits(deadline=DEADLINE), allow=["net:mail.example"])
    app.use("thief", name="patient", workers=2, limits=Limits(deadline=2), allow=["net:mail.example"])
    app.use("vault")
    async with Backend(app, data=":memory:", env={}) as backend:
        scene = Scene(backend)
        scene.secret = await scene.vault("put", text="the secret")
        for attempt in range(20):  # loaded, so that deadlines are those of calls
            try:
                assert await scene.thief("looted") == []
                break
            except DeadlineExceeded:
                assert attempt < 19
        yield scene
