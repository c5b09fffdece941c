"""Components as the tests of the sandbox need them: installed beside each other in a folder, and not imported by anybody."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from tests.mounting.distributions import install

from interlock import App
from interlock.testing import TestBackend

LEDGER = Path(__file__).with_name("ledger")
"""The sources of a component: nobody imports them from here."""

FACE = """
raise RuntimeError("the face is the app's half")
"""


def install_ledger(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The distribution `interlock-ledger` on the path of this process, and not imported."""
    files = {
        "interlock_ledger/__init__.py": FACE,
        "interlock_ledger/component.py": (LEDGER / "component.py").read_text(),
        "interlock_ledger/helpers.py": (LEDGER / "helpers.py").read_text(),
    }
    install(site, "interlock-ledger", "1.0.0", components={"ledger": "interlock_ledger.component:component"}, files=files)
    monkeypatch.syspath_prepend(str(site))


def imported() -> list[str]:
    """Which modules of it this process has imported."""
    return [name for name in sys.modules if name.partition(".")[0] == "interlock_ledger"]


def inline_ledger() -> TestBackend:
    """The same component where its code is imported: what an isolated one is to do."""
    namespace: dict[str, Any] = {"__name__": "inline_ledger"}
    source = (LEDGER / "component.py").read_text().replace("from .helpers import twice", "twice = None")
    exec(compile(source, "inline_ledger.py", "exec", dont_inherit=True), namespace)
    mounts = App()
    mounts.use(namespace["component"], isolation="inline")
    return TestBackend(mounts, isolation="inline")
