"""What several of the cases need: data that outlives a backend, and apps as directories."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .deployments import Deployment

WriteApp = Callable[[dict[str, str]], Path]


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path)


@pytest.fixture
def write_app(tmp_path: Path) -> Iterator[WriteApp]:
    """Writes the modules of an app, all of them or some of them anew, into its directory. They are forgotten after the test."""
    name = "conformance_app"
    folder = tmp_path / name
    folder.mkdir()
    (folder / "app.py").write_text("from interlock import App\n\napp = App()\n")

    def write(modules: dict[str, str]) -> Path:
        for module, text in modules.items():
            (folder / f"{module}.py").write_text(text)
        return folder

    yield write
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        del sys.modules[module]
