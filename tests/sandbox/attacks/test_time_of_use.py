"""Time of check and time of use: what was right once counts as it is now, and what comes too late counts no more."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.sandbox.attacks.scene import Scene

from interlock.sandbox.confinement import available

pytestmark = pytest.mark.skipif(bool(available().missing), reason=f"not here: {available().missing}")


async def test_a_component_that_was_changed_on_the_disk_is_still_the_one_that_was_mounted(scene: Scene, tmp_path: Path) -> None:
    file = tmp_path / "site" / "interlock_thief" / "component.py"
    file.write_text(file.read_text().replace('VERSION = "one"', 'VERSION = "two"'))
    await scene.denied("end", how="exit")  # the next worker is a new one
    await scene.unharmed()
    assert await scene.thief("version") == "one"
    await scene.backend.reload()
    assert await scene.thief("version") == "two"  # the canary: it is there to be read


async def test_a_handle_that_was_revoked_is_worth_nothing_from_then_on(scene: Scene) -> None:
    handle = await scene.vault("handle")
    assert await scene.thief("call_by_name", name=handle) == ["the secret"]  # the canary
    await scene.vault("revoke", handle=handle)
    assert "FunctionHandleNotFound" in await scene.denied("call_by_name", name=handle)
    await scene.unharmed()


async def test_what_is_told_after_the_answer_comes_too_late_however_close_behind_it(scene: Scene) -> None:
    assert await scene.thief("answer_and_go_on") == 1
    assert await scene.thief("looted") == ["before the answer"]  # the canary: the same, in time
