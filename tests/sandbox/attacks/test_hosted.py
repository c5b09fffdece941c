"""Attacks on the host and on the component beside, by a component that is mounted in a real backend.

Each is denied with a clear error, nothing of it is committed, and afterwards the host and the other mount answer as before. That
the attack is real is shown next to it: what it is after is there, and who may have it gets it.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.mounting.distributions import install
from tests.sandbox.attacks.thief.component import LIES, STEPS

from interlock import App, ComponentCrashed, DeadlineExceeded, InterlockError, Limits
from interlock.backend import Backend
from interlock.functions.caller import Caller
from interlock.sandbox.confinement import available

pytestmark = pytest.mark.skipif(bool(available().missing), reason=f"not here: {available().missing}")
HERE = Path(__file__).parent
DEADLINE = 1.0


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("thief", "vault"):
        files = {f"interlock_{name}/__init__.py": "", f"interlock_{name}/component.py": (HERE / name / "component.py").read_text()}
        install(tmp_path / "site", f"interlock-{name}", components={name: f"interlock_{name}.component:component"}, files=files)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))


class Scene:
    """A backend with the thief and the vault, what lies in the vault, and how to call either."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.secret = ""

    async def call(self, path: str, name: str, /, **args: Any) -> Any:
        caller = Caller(admin=True, source="test", request_id="r")
        return (await self.backend.dispatcher.call(None, name, args, caller=caller, component_path=path)).value

    async def thief(self, name: str, /, **args: Any) -> Any:
        return await self.call("thief", name, **args)

    async def vault(self, name: str, /, **args: Any) -> Any:
        return await self.call("vault", name, **args)

    async def denied(self, name: str, /, path: str = "thief", **args: Any) -> str:
        """What the thief is told; it must be an error of Interlock's or of Python's, with words."""
        with pytest.raises(Exception) as raised:
            await self.call(path, name, **args)
        assert str(raised.value)
        return f"{type(raised.value).__name__}: {raised.value}"

    async def unharmed(self) -> None:
        """Everything is as it was: the vault answers, and so does the thief again; nothing that was not meant to be is there."""
        assert await self.vault("texts") == ["the secret"]
        for attempt in range(5):
            try:
                assert await self.thief("looted") == []
            except (ComponentCrashed, DeadlineExceeded):  # what an attack has left in its own channel is its own trouble
                assert attempt < 4
            else:
                break
        assert await self.thief("loot_something", text="honest")
        assert await self.thief("looted") == ["honest"]


@pytest.fixture
async def scene(installed: None) -> AsyncIterator[Scene]:
    app = App()
    app.use("thief", limits=Limits(deadline=DEADLINE), allow=["net:mail.example"])
    app.use("thief", name="patient", workers=2, limits=Limits(deadline=3), allow=["net:mail.example"])
    app.use("vault")
    async with Backend(app, data=":memory:", env={}) as backend:
        scene = Scene(backend)
        scene.secret = await scene.vault("put", text="the secret")
        assert await scene.thief("looted") == []  # loaded, so that deadlines are those of calls
        yield scene


# What belongs to others


async def test_a_document_of_another_is_not_there(scene: Scene) -> None:
    assert await scene.thief("read_by_id", id=scene.secret) is None
    for name in ("change_by_id", "replace_by_id", "delete_by_id"):
        assert "DocumentNotFound" in await scene.denied(name, id=scene.secret)
    await scene.unharmed()
    await scene.vault("change", id=scene.secret, text="changed by its owner")
    assert await scene.vault("texts") == ["changed by its owner"]


async def test_a_table_of_the_same_name_is_another_table(scene: Scene) -> None:
    assert await scene.thief("scan_a_table_of_the_same_name") == []
    await scene.unharmed()


@pytest.mark.parametrize("table", ["vault/secrets", "../vault/secrets", "_scheduled", "_jobs", "_tables", "app/own", ""])
async def test_no_name_reaches_the_table_of_another(scene: Scene, table: str) -> None:
    try:
        assert await scene.thief("scan_by_any_name", table=table) == []  # a name like any other, and nothing in it
    except InterlockError:
        pass
    await scene.unharmed()


async def test_a_cursor_of_another_is_worth_nothing(scene: Scene) -> None:
    cursor = await scene.vault("page")
    assert "InvalidCursor" in await scene.denied("go_on_with_a_cursor", cursor=cursor)
    await scene.unharmed()


@pytest.mark.parametrize(
    "name", ["vault:texts", "vault/texts", "texts", "vault/vault:texts", "/vault/texts", "../vault:texts", "app:texts"]
)
async def test_no_name_reaches_a_function_of_another(scene: Scene, name: str) -> None:
    assert "FunctionNotFound" in await scene.denied("call_by_name", name=name)
    assert "FunctionNotFound" in await scene.denied("change_by_name", name=name)
    await scene.denied("schedule_by_name", name=name)
    await scene.unharmed()
    assert await scene.vault("inner") == "the secret"


@pytest.mark.parametrize(
    "target", [("texts", "vault", ""), ("texts", "", "vault"), ("texts", "..", ""), ("vault/texts", "", ""), ("texts", "/", "")]
)
async def test_no_target_made_by_hand_reaches_another(scene: Scene, target: tuple[str, str, str]) -> None:
    name, mount, handle = target
    await scene.denied("call_by_target", name=name, mount=mount, handle=handle)
    await scene.unharmed()


async def test_a_handle_opens_what_it_was_given_for_and_cannot_be_made(scene: Scene) -> None:
    handle = await scene.vault("handle")
    assert await scene.thief("call_by_name", name=handle) == ["the secret"]  # given away: that is what it is for
    for forged in (handle[:-1] + ("A" if handle[-1] != "A" else "B"), handle[:-4], handle.swapcase(), "function://" + "A" * 60):
        await scene.denied("call_by_name", name=forged)
    await scene.unharmed()


async def test_a_job_of_another_is_not_there(scene: Scene) -> None:
    job = await scene.vault("later")
    with pytest.raises(InterlockError):
        await scene.thief("cancel_a_job", id=job)
    assert await scene.thief("look_at_a_job", id=job) is None
    assert await scene.thief("list_jobs") == []
    await scene.unharmed()


async def test_nobody_tells_a_component_who_calls(scene: Scene) -> None:
    ada = Caller(identity={"subject": "ada"}, admin=True, source="test", request_id="r")
    answer = await scene.backend.dispatcher.call("query", "ask_who_is_there", {}, caller=ada, component_path="thief")
    assert answer.value is None
    await scene.unharmed()


@pytest.mark.parametrize("name", ["write_in_a_query", "schedule_in_a_query", "fetch_in_a_mutation"])
async def test_a_context_has_no_more_than_its_kind(scene: Scene, name: str) -> None:
    await scene.denied(name)
    await scene.unharmed()


# Frames that lie


UNENDED = {"random bytes"}  # its first four are a length that is allowed, and the rest never comes


@pytest.mark.parametrize("name", LIES)
async def test_a_frame_that_lies_ends_the_worker_and_nothing_else(scene: Scene, name: str) -> None:
    told = await scene.denied("lie", name=name)
    assert re.search("ComponentCrashed: .*broke the protocol|DeadlineExceeded" if name in UNENDED else "broke the protocol", told), told
    await scene.unharmed()


async def test_the_frames_of_an_honest_call_get_through(scene: Scene) -> None:
    """The canary of all lies: the same way, with the truth."""
    assert await scene.thief("loot_something", text="honest")
    assert await scene.thief("looted") == ["honest"]


async def test_a_result_is_checked_whoever_wrote_the_frame(scene: Scene) -> None:
    assert "ReturnError" in await scene.denied("answer_of_another_type")
    await scene.unharmed()


async def test_a_call_has_one_answer(scene: Scene) -> None:
    assert await scene.thief("answer_twice") == 1
    await scene.unharmed()


async def test_what_a_call_does_after_its_end_is_lost(scene: Scene) -> None:
    assert await scene.thief("go_on_after_the_end") == "done"
    with_leftovers = [await scene.thief("looted") for _ in range(3)]
    assert with_leftovers == [[], [], []]
    await scene.unharmed()


async def test_operations_for_calls_that_are_not_open_are_lost(scene: Scene) -> None:
    assert await scene.thief("write_for_another_call") == "done"
    await scene.unharmed()


async def test_a_query_that_is_open_beside_cannot_be_made_to_write(scene: Scene) -> None:
    waiting = asyncio.ensure_future(scene.thief("wait", seconds=0.2))
    await asyncio.sleep(0.05)
    assert await scene.thief("write_for_another_call") == "done"
    assert await waiting == "waited"
    await scene.unharmed()


@pytest.mark.parametrize("name", STEPS)
async def test_what_a_worker_says_it_has_done_by_itself_is_done_again_and_found_out(scene: Scene, name: str) -> None:
    told = await scene.denied("step", name=name, id=scene.secret)
    assert re.match("ComponentCrashed|DeadlineExceeded|DocumentNotFound", told), told
    await scene.unharmed()


async def test_a_query_has_no_steps(scene: Scene) -> None:
    assert "broke the protocol" in await scene.denied("step_in_a_query")
    await scene.unharmed()


async def test_half_a_frame_ends_at_the_deadline(scene: Scene) -> None:
    assert re.match("DeadlineExceeded|ComponentCrashed", await scene.denied("half_a_frame"))
    await scene.unharmed()


async def test_an_error_of_the_engine_cannot_be_made_up(scene: Scene) -> None:
    told = await scene.denied("pretend_to_be_the_engine")
    assert not told.startswith("WriteConflict")
    await scene.unharmed()


# What ends, blocks, or is too much


@pytest.mark.parametrize(
    "how",
    [
        "exit",
        "abort",
        "close the channel",
        "read nowhere",
        "overflow the stack",
        "call a system call of another ABI",
    ],
)
async def test_a_worker_that_ends_itself_ends_its_call_alone(scene: Scene, how: str) -> None:
    assert re.match("ComponentCrashed|RecursionError|DeadlineExceeded", await scene.denied("end", how=how))
    await scene.unharmed()


async def test_memory_without_end_is_the_components_own_trouble(scene: Scene) -> None:
    assert re.match("MemoryError|ComponentCrashed|DeadlineExceeded", await scene.denied("end", how="hoard"))
    await scene.unharmed()


@pytest.mark.parametrize("how", ["spin", "a regex", "wait", "refuse to stop", "a large number"])
async def test_time_without_end_ends_at_the_deadline_and_others_are_served_meanwhile(scene: Scene, how: str) -> None:
    began = time.monotonic()
    attack = asyncio.ensure_future(scene.denied("take_long", how=how))
    while not attack.done():
        assert await scene.vault("texts") == ["the secret"]
        await asyncio.sleep(0.01)
    assert re.match("DeadlineExceeded|ComponentCrashed", await attack)
    assert time.monotonic() - began < DEADLINE + 2
    await scene.unharmed()


async def test_a_worker_that_stops_itself_meets_its_deadline(scene: Scene) -> None:
    assert re.match("DeadlineExceeded|ComponentCrashed", await scene.denied("end", how="stop itself"))
    await scene.unharmed()


@pytest.mark.parametrize("name", ["a_gigabyte", "just_too_large"])
async def test_a_result_that_is_too_large_is_an_error(scene: Scene, name: str) -> None:
    before = resident()
    assert await scene.denied(name)
    assert resident() - before < 120 << 20
    await scene.unharmed()


async def test_a_frame_of_too_many_parts_is_not_built(scene: Scene) -> None:
    before = resident()
    assert re.match("DeadlineExceeded|ComponentCrashed", await scene.denied("many_parts"))
    assert resident() - before < 120 << 20
    await scene.unharmed()


async def test_a_value_that_lies_about_itself_is_no_value(scene: Scene) -> None:
    assert await scene.denied("a_value_that_is_none")
    await scene.unharmed()


async def test_questions_whose_answers_nobody_reads_cost_the_host_little(scene: Scene) -> None:
    before = resident()
    attack = asyncio.ensure_future(scene.denied("ask_and_never_read", path="patient"))
    highest, slowest = before, 0.0
    while not attack.done():
        began = time.monotonic()
        assert await scene.vault("texts") == ["the secret"]
        slowest = max(slowest, time.monotonic() - began)
        highest = max(highest, resident())
        await asyncio.sleep(0.005)
    told = await attack
    assert re.match("DeadlineExceeded|ComponentCrashed|LimitExceeded", told)
    assert highest - before < 100 << 20, (highest - before) >> 20
    assert slowest < 2
    await scene.unharmed()


async def test_what_is_printed_moves_no_cursor_and_forges_no_line(scene: Scene) -> None:
    caller = Caller(admin=True, source="test", request_id="r")
    answer = await scene.backend.dispatcher.call("query", "print_for_a_terminal", {}, caller=caller, component_path="thief")
    assert len(answer.log_lines) == 2
    assert not [line for line in answer.log_lines if re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", line)]
    await scene.unharmed()


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# The network, for a component that has a permission


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://localhost/",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/",
        "http://0.0.0.0/",
        "http://2130706433/",
        "http://other.example/",
        "http://mail.example.other.example/",
        "http://mail.example@127.0.0.1/",
        "file:///etc/passwd",
        "ftp://mail.example/",
    ],
)
async def test_only_what_was_allowed_is_fetched(scene: Scene, url: str) -> None:
    await scene.denied("fetch", url=url)
    await scene.unharmed()
