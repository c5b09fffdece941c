"""An app that mounts the courier, inline and sandboxed, and a web server for it to go to."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.fetch.web import Web, serving
from tests.mounting.distributions import install

from interlock import App, secret
from interlock.sandbox.confinement import available
from interlock.sdk.declarations import Isolation
from interlock.testing import TestBackend

SOURCE = Path(__file__).with_name("courier") / "component.py"
LOCAL = ("net:127.0.0.1", "net:localhost")
NUMBERS = itertools.count()
KEY = "sk-very-secret-0123456789"

Mounted = Callable[..., AbstractAsyncContextManager[TestBackend]]


@pytest.fixture
async def web() -> AsyncIterator[Web]:
    async with serving() as made:
        yield made


@pytest.fixture(params=["inline", "sandbox"])
def isolation(request: pytest.FixtureRequest) -> Isolation:
    found: Isolation = request.param
    if found == "sandbox" and available().missing:
        pytest.skip(f"not here: {available().missing}")
    return found


@pytest.fixture
def mounted(isolation: Isolation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mounted:
    """`async with mounted("net:…") as courier`: the mount's functions, for a component that asks for these and is allowed them."""
    return courier_mounted(isolation, tmp_path, monkeypatch)


def courier_mounted(isolation: Isolation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mounted:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))

    @asynccontextmanager
    async def mount(
        *asked: str, allow: tuple[str, ...] | None = None, key: Any = None, both: bool = False, **options: Any
    ) -> AsyncIterator[Any]:
        app = App()
        keys = {"courier": key or secret(KEY), **({"other": secret("the secret of another")} if both else {})}
        for name, bound in keys.items():
            package = f"courier_{next(NUMBERS)}"  # one that is imported is not imported again
            source = SOURCE.read_text().replace("PERMISSIONS", repr(list(asked)))
            place = f"{package}.component:component"
            install(tmp_path / "site", package, components={package: place}, files={f"{package}/component.py": source})
            app.use(package, name=name, allow=asked if allow is None else allow, env={"API_KEY": bound})
        importlib.invalidate_caches()
        async with TestBackend(app, isolation=isolation, **options) as backend:
            yield backend if both else backend.component("courier")

    return mount
