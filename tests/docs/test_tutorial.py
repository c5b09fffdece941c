"""The tutorial's page is what it says: live in two windows."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from .test_pages import NODE_MODULES, ROOT, staged


def test_the_live_page_of_the_tutorial_shows_in_one_window_what_happens_in_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with staged(ROOT / "docs/tutorial.md", tmp_path, monkeypatch) as stage:
        program = ["node", str(Path(__file__).with_name("live_page.mjs")), f"http://127.0.0.1:{stage.port}", str(NODE_MODULES)]
        answer = subprocess.run(program, capture_output=True, text=True, timeout=120)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout.splitlines() == ["grace: So was I. ♥ 1", "ada: I was here. ♥ 0"]
