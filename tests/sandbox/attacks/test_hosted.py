"""Attacks on the host and on the component beside, by a component that is mounted in a real backend.

Each is denied with a clear error, nothing of it is committed, and afterwards the host and the other mount answer as before. That
the attack is real is shown next to it: what it is after is there, and who may have it gets it.
"""

from __future__ import annotations

import asyncio
import errno
import faulthandler
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.mounting.distributions import install
from tests.sandbox.attacks.credulous import HARM, Credulous
from tests.sandbox.attacks.thief import component as thief
from tests.sandbox.attacks.thief.component import ENDS, FORGED, HALF, LIES, MIB, STEPS, Lies, of_many_parts
from tests.sandbox.forked import forked

from interlock import App, ComponentCrashed, DeadlineExceeded, InterlockError, Limits, WriteConflict
from interlock.backend import Backend
from interlock.functions import large_writes, log_lines, replay, served, told
from interlock.functions.action_host import ActionHost
from interlock.functions.caller import Caller
from interlock.functions.large_writes import LargeWrites
from interlock.sandbox import line, opened, process
from interlock.sandbox.confinement import available
from interlock.sandbox.confinement.seccomp import CHANNEL
from interlock.sandbox.digests import digest
from interlock.sandbox.failures import make
from interlock.sandbox.plan import Plan
from interlock.sandbox.share import Share
from interlock.scheduler import scheduler
from interlock.scheduler.lane import Rounds

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


# What belongs to others


@pytest.mark.canary("test_aimed_at_what_is_its_own_each_of_them_wins")
async def test_a_document_of_another_is_not_there(scene: Scene) -> None:
    assert await scene.thief("read_by_id", id=scene.secret) is None
    for name in ("change_by_id", "replace_by_id", "delete_by_id"):
        assert "DocumentNotFound" in await scene.denied(name, id=scene.secret)
    await scene.unharmed()
    await scene.vault("change", id=scene.secret, text="changed by its owner")
    assert await scene.vault("texts") == ["changed by its owner"]


@pytest.mark.canary("test_aimed_at_what_is_its_own_each_of_them_wins")
async def test_a_table_of_the_same_name_is_another_table(scene: Scene) -> None:
    assert await scene.thief("scan_a_table_of_the_same_name") == []
    await scene.unharmed()


@pytest.mark.canary("test_aimed_at_what_is_its_own_each_of_them_wins")
@pytest.mark.parametrize("table", ["vault/secrets", "../vault/secrets", "_scheduled", "_jobs", "_tables", "app/own", ""])
async def test_no_name_reaches_the_table_of_another(scene: Scene, table: str) -> None:
    try:
        assert await scene.thief("scan_by_any_name", table=table) == []  # a name like any other, and nothing in it
    except InterlockError:
        pass
    await scene.unharmed()


@pytest.mark.canary("test_aimed_at_what_is_its_own_each_of_them_wins")
async def test_a_cursor_of_another_is_worth_nothing(scene: Scene) -> None:
    cursor = await scene.vault("page")
    assert "InvalidCursor" in await scene.denied("go_on_with_a_cursor", cursor=cursor)
    await scene.unharmed()


@pytest.mark.canary("test_aimed_at_what_is_its_own_each_of_them_wins")
@pytest.mark.parametrize(
    "name", ["vault:texts", "vault/texts", "texts", "vault/vault:texts", "/vault/texts", "../vault:texts", "app:texts"]
)
async def test_no_name_reaches_a_function_of_another(scene: Scene, name: str) -> None:
    assert "FunctionNotFound" in await scene.denied("call_by_name", name=name)
    assert "FunctionNotFound" in await scene.denied("change_by_name", name=name)
    await scene.denied("schedule_by_name", name=name)
    await scene.unharmed()
    assert await scene.vault("inner") == "the secret"


@pytest.mark.canary("test_aimed_at_what_is_its_own_each_of_them_wins")
@pytest.mark.parametrize(
    "target", [("texts", "vault", ""), ("texts", "", "vault"), ("texts", "..", ""), ("vault/texts", "", ""), ("texts", "/", "")]
)
async def test_no_target_made_by_hand_reaches_another(scene: Scene, target: tuple[str, str, str]) -> None:
    name, mount, handle = target
    await scene.denied("call_by_target", name=name, mount=mount, handle=handle)
    await scene.unharmed()


async def test_a_handle_opens_what_it_was_given_for_and_cannot_be_made(scene: Scene) -> None:
    handle = await scene.vault("handle")
    assert await scene.thief("call_by_name", name=handle) == ["the secret"]  # given away: that is what it is for, and the canary
    for forged in (handle[:-1] + ("A" if handle[-1] != "A" else "B"), handle[:-4], handle.swapcase(), "function://" + "A" * 60):
        await scene.denied("call_by_name", name=forged)
    await scene.unharmed()


@pytest.mark.canary("test_aimed_at_what_is_its_own_each_of_them_wins")
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

    async def own(ctx: Any) -> Any:
        return (await ctx.auth.identity())["subject"]

    assert (await scene.backend.dispatcher.run(own, kind="query", caller=ada)).value == "ada"  # the canary: the app is told


@pytest.mark.parametrize(
    ("name", "where", "belongs"),
    [
        ("write", "in_a_query", "in_a_mutation"),
        ("schedule", "in_a_query", "in_a_mutation"),
        ("write", "in_an_action", "in_a_mutation"),
        ("fetch", "in_a_query", "in_an_action"),
        ("fetch", "in_a_mutation", "in_an_action"),
    ],
)
async def test_a_context_has_no_more_than_its_kind(scene: Scene, name: str, where: str, belongs: str) -> None:
    refused = await scene.denied(where, name=name)
    await scene.unharmed()
    if name == "fetch":  # the canary: from where it belongs, it is looked for in the network
        assert await scene.denied(belongs, name=name) != refused
    else:
        assert await scene.thief(belongs, name=name)


OWN: dict[str, Any] = {
    "read_by_id": lambda own: {"id": own["document"]},
    "change_by_id": lambda own: {"id": own["document"]},
    "replace_by_id": lambda own: {"id": own["document"]},
    "delete_by_id": lambda own: {"id": own["document"]},
    "scan_by_any_name": lambda own: {"table": "secrets"},
    "go_on_with_a_cursor": lambda own: {"cursor": own["cursor"]},
    "call_by_name": lambda own: {"name": "looted"},
    "change_by_name": lambda own: {"name": "loot_something"},
    "call_by_target": lambda own: {"name": "looted", "mount": "", "handle": ""},
    "schedule_by_name": lambda own: {"name": "loot_something"},
    "look_at_a_job": lambda own: {"id": own["job"]},
    "cancel_a_job": lambda own: {"id": own["job"]},
}


@pytest.mark.parametrize("name", OWN)
async def test_aimed_at_what_is_its_own_each_of_them_wins(scene: Scene, name: str) -> None:
    """The canary of all that reaches for others."""
    own = {
        "document": await scene.thief("keep_a_secret"),
        "cursor": await scene.thief("page_of_secrets"),
        "job": await scene.thief("schedule_by_name", name="loot_something"),
    }
    answer = await scene.thief(name, **OWN[name](own))
    if name in ("read_by_id", "scan_by_any_name"):
        assert "kept" in str(answer)
    elif name == "look_at_a_job":
        assert answer is not None
    elif name in ("change_by_id", "replace_by_id"):
        assert await scene.thief("scan_a_table_of_the_same_name") == ["stolen"]
    elif name == "delete_by_id":
        assert await scene.thief("scan_a_table_of_the_same_name") == []


async def test_what_a_component_says_that_it_is_counts_nowhere(scene: Scene) -> None:
    caller = Caller(admin=True, source="test", request_id="r")
    answer = await scene.backend.dispatcher.call("mutation", "claim_to_be", {"path": "vault"}, caller=caller, component_path="thief")
    assert answer.value == "vault"  # the canary: in its own process it is believed
    assert answer.log_lines == ["[INFO] thief: as another"]
    assert await scene.thief("scan_a_table_of_the_same_name") == ["as another"]
    await scene.unharmed()


# Time of check, and time of use


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


# Frames that lie


UNENDED = {"random bytes"}  # its first four are a length that is allowed, and the rest never comes


@pytest.mark.canary("test_a_host_that_believes_is_brought_down_or_led_astray_by_each_lie")
@pytest.mark.parametrize("name", LIES)
async def test_a_frame_that_lies_ends_the_worker_and_nothing_else(scene: Scene, name: str) -> None:
    told = await scene.denied("lie", name=name)
    assert re.search("ComponentCrashed: .*broke the protocol|DeadlineExceeded" if name in UNENDED else "broke the protocol", told), told
    await scene.unharmed()


@pytest.mark.parametrize("name", LIES)
def test_a_host_that_believes_is_brought_down_or_led_astray_by_each_lie(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The canary of each: the same bytes, read without a single check."""
    sent = bytearray()
    monkeypatch.setattr(thief, "write", sent.extend)
    LIES[name](7)
    assert re.search(HARM[name], Credulous(own=7).read(bytes(sent))), Credulous(own=7).read(bytes(sent))


async def test_the_frames_of_an_honest_call_get_through(scene: Scene) -> None:
    """The canary of the way itself: written by hand past the SDK, with the truth."""
    assert await scene.thief("write_past_the_sdk", text="honest") == "done"
    assert await scene.thief("looted") == ["honest"]
    id = await scene.thief("loot_something", text="more")
    assert await scene.thief("step", name="an honest write", id=id) == "got through"
    assert await scene.thief("looted") == ["honest", "stolen"]  # what the SDK had done by itself before, the end by hand left out


async def test_a_result_is_checked_whoever_wrote_the_frame(scene: Scene) -> None:
    assert "ReturnError" in await scene.denied("answer_by_hand", value="not a number")
    await scene.unharmed()
    assert await scene.thief("answer_by_hand", value=7) == 7  # the canary


@pytest.mark.canary("test_the_frames_of_an_honest_call_get_through")
async def test_a_call_has_one_answer(scene: Scene) -> None:
    assert await scene.thief("answer_twice") == 1
    await scene.unharmed()


@pytest.mark.canary("test_the_frames_of_an_honest_call_get_through")
async def test_what_a_call_does_after_its_end_is_lost(scene: Scene) -> None:
    assert await scene.thief("go_on_after_the_end") == "done"
    with_leftovers = [await scene.thief("looted") for _ in range(3)]
    assert with_leftovers == [[], [], []]
    await scene.unharmed()


@pytest.mark.canary("test_the_frames_of_an_honest_call_get_through")
async def test_operations_for_calls_that_are_not_open_are_lost(scene: Scene) -> None:
    assert await scene.thief("write_for_another_call") == "done"
    await scene.unharmed()


@pytest.mark.canary("test_the_frames_of_an_honest_call_get_through")
async def test_a_query_that_is_open_beside_cannot_be_made_to_write(scene: Scene) -> None:
    waiting = asyncio.ensure_future(scene.thief("wait", seconds=0.2))
    await asyncio.sleep(0.05)
    assert await scene.thief("write_for_another_call") == "done"
    assert await waiting == "waited"
    await scene.unharmed()


@pytest.mark.canary("test_the_frames_of_an_honest_call_get_through")
@pytest.mark.parametrize("name", [name for name in STEPS if "honest" not in name])
async def test_what_a_worker_says_it_has_done_by_itself_is_done_again_and_found_out(scene: Scene, name: str) -> None:
    told = await scene.denied("step", name=name, id=scene.secret)
    assert re.match("ComponentCrashed|DeadlineExceeded|DocumentNotFound", told), told
    await scene.unharmed()


@pytest.mark.canary("test_the_frames_of_an_honest_call_get_through")
async def test_a_query_has_no_steps(scene: Scene) -> None:
    assert "broke the protocol" in await scene.denied("step_in_a_query")
    await scene.unharmed()


async def test_half_a_frame_ends_at_the_deadline(scene: Scene) -> None:
    assert re.match("DeadlineExceeded|ComponentCrashed", await scene.denied("half_a_frame"))
    await scene.unharmed()
    assert Credulous(own=7).read(HALF) == "waits for 1000000"  # the canary


async def test_an_error_of_the_engine_cannot_be_made_up(scene: Scene) -> None:
    told = await scene.denied("pretend_to_be_the_engine")
    assert not told.startswith("WriteConflict")
    believed = make(["own", "WriteConflict", ["f", "t", ["a"], "b"], "", []], "thief/f", trusted=True)
    assert isinstance(believed, WriteConflict)  # the canary: of one who is trusted
    await scene.unharmed()


async def test_an_error_moves_no_cursor_and_forges_no_line(scene: Scene) -> None:
    told = await scene.denied("fail_in_colours")
    assert told.startswith("DocumentNotFound") and len(told) < 50_000
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", told)
    believed = make(["own", "DocumentNotFound", ["\x1b[2Jpatch", "x"], "", []], "thief/f", trusted=True)
    assert "\x1b[2J" in str(believed)  # the canary: of one who is trusted
    await scene.unharmed()


async def test_operations_have_a_number_each(scene: Scene) -> None:
    """Else one of two would go on unseen while the layer below it is dropped."""
    assert (await scene.denied("fail_while_something_is_untold", again=1)).startswith("ValueError")  # the canary: two of two numbers
    await scene.unharmed()
    assert "two operations of one number" in await scene.denied("fail_while_something_is_untold", again=0)
    await asyncio.sleep(0.1)
    assert await scene.vault("texts") == ["the secret"]


# What ends, blocks, or is too much


async def most_held(scene: Scene) -> int:
    """How many MiB of waiting operations the host holds at most while it is attacked."""
    attack = asyncio.ensure_future(scene.denied("hold_much", count=40, size=MIB))
    most = 0
    while not attack.done():
        pool = scene.backend.dispatcher.runners.pool("thief")
        assert pool is not None
        most = max([most, *(worker._held for worker in pool._processes)])
        await asyncio.sleep(0.001)
    assert "DeadlineExceeded" in await attack
    return most >> 20


async def test_operations_that_wait_for_their_turn_hold_only_so_much(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    assert process._HELD_MAX <= 64 * MIB
    monkeypatch.setattr(process, "_HELD_MAX", 3 * MIB)
    assert 0 < await most_held(scene) <= 3
    await scene.unharmed()
    monkeypatch.setattr(process, "_HELD_MAX", 1 << 40)
    assert await most_held(scene) > 4  # the canary


async def test_errors_that_it_was_told_are_kept_up_to_a_number(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    assert opened._FAILURES_MAX <= 1_024

    async def most_kept(count: int) -> int:
        pool = scene.backend.dispatcher.runners.pool("patient")
        assert pool is not None
        attack = asyncio.ensure_future(scene.call("patient", "fail_without_end", count=count))
        most = 0
        while not attack.done():
            most = max([most, *(len(call._failures or ()) for worker in pool._processes for call in worker._calls.values())])
            await asyncio.sleep(0)
        assert await attack == "got through"
        return most

    monkeypatch.setattr(opened, "_FAILURES_MAX", 50)
    assert 0 < await most_kept(300) <= 50
    await scene.unharmed()
    monkeypatch.setattr(opened, "_FAILURES_MAX", 1 << 40)
    assert await most_kept(301) > 60  # the canary


@pytest.mark.parametrize("attack", ["ask_without_end", "ask_dearly_without_end"])
@pytest.mark.parametrize("is_busy", [True, False])
async def test_what_actions_ask_without_end_gives_way_to_the_app(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, is_busy: bool, attack: str
) -> None:
    """And not where nobody calls the app: the canary."""
    spent, begun = 0.0, [(time.monotonic(), 0.0)]
    have_begun = asyncio.Event()
    spend, turn = Share.spend, Share.turn

    def counted(self: Share, seconds: float) -> None:
        nonlocal spent
        spent += seconds
        spend(self, seconds)

    async def noted(self: Share) -> None:
        await turn(self)
        begun.append((time.monotonic(), spent))
        if len(begun) == 6:
            have_begun.set()

    monkeypatch.setattr(Share, "spend", counted)
    monkeypatch.setattr(Share, "turn", noted)
    scene.backend.dispatcher.own_calls.open += is_busy  # as while a call of the app's own is open
    attacked = asyncio.ensure_future(scene.denied(attack, path="patient"))
    await have_begun.wait()
    scene.backend.dispatcher.own_calls.open -= is_busy
    [(first, spent_before), *_, (last, spent_after)] = begun[1:6]  # the first one had not to wait
    if is_busy:
        assert last - first >= 8 * (spent_after - spent_before)
    else:
        assert any(after - before < 8 * (later - sooner) for (before, sooner), (after, later) in pairwise(begun[1:]))
    attacked.cancel()
    assert await scene.vault("texts") == ["the secret"]


async def test_an_action_pays_for_the_transactions_that_it_begins_and_nobody_for_the_apps_own(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: set[tuple[bool, bool]] = set()
    share = served.Served.share.fget
    assert share is not None

    def noted(self: served.Served) -> Any:
        found = share(self)
        asked.add((isinstance(self._bound, ActionHost), found is not None))
        return found

    monkeypatch.setattr(served.Served, "share", property(noted))
    assert await scene.vault("texts") == ["the secret"]
    assert asked == {(False, False)}  # the canary: the same at nobody's cost
    asked.clear()
    assert await scene.thief("ask_once")
    assert asked == {(True, True), (False, True)}


@pytest.mark.parametrize("is_limited", [True, False])
async def test_operations_that_are_dropped_without_end_are_heard_a_few_at_a_time(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, is_limited: bool
) -> None:
    """And where nobody counts them, all of them: the canary."""
    heard = 0
    drop = process.Process._drop

    def counted(self: process.Process, frame: list[Any]) -> None:
        nonlocal heard
        heard += 1
        drop(self, frame)

    monkeypatch.setattr(process.Process, "_drop", counted)
    if not is_limited:
        monkeypatch.setattr(process, "_NOTES_FREE", 1 << 40)
    attack = asyncio.ensure_future(scene.denied("drop_without_end", path="patient"))
    began = time.monotonic()
    await asyncio.sleep(0.7)
    at_most = 500 + 64 * ((time.monotonic() - began) / 0.01 + 2)
    assert heard > 500
    assert (heard <= at_most) == is_limited
    if is_limited:
        assert "DeadlineExceeded" in await attack
        await scene.unharmed()
    else:
        attack.cancel()


@pytest.mark.parametrize("rests", [True, False])
async def test_large_transactions_without_end_are_few_while_the_app_is_called(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, rests: bool
) -> None:
    """And where nobody rests, one follows the other: the canary."""
    busy: list[float] = []
    have_been = asyncio.Event()
    ended = LargeWrites.ended

    def noted(self: LargeWrites, mount: str, began: float, written: int) -> None:
        busy.append(asyncio.get_running_loop().time() - began)
        ended(self, mount, began, written)
        if len(busy) == 2:
            have_been.set()

    monkeypatch.setattr(LargeWrites, "ended", noted)
    if not rests:
        monkeypatch.setattr(large_writes, "_REST", 0)
    scene.backend.dispatcher.own_calls.open += 1  # as while a call of the app's own is open

    async def fill() -> None:
        while True:
            await scene.denied("fill_without_end", path="patient", count=100)

    attack = asyncio.ensure_future(fill())
    began = time.monotonic()
    await have_been.wait()
    part = sum(busy[:2]) / (time.monotonic() - began)
    scene.backend.dispatcher.own_calls.open -= 1
    attack.cancel()
    assert (part < 0.3) == rests, f"the host was busy with them for {part:.2f} of the time"
    assert await scene.vault("texts") == ["the secret"]


async def most_begun(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> int:
    """Beside jobs that breed, while the app is called: how many of them keep the host busy at the same time, at most."""
    scheduler = scene.backend.scheduler
    await scene.thief("breed")
    while not scheduler._lanes["thief"].floods:
        assert await scene.vault("texts") == ["the secret"]
        await asyncio.sleep(0.01)
    rounds, take = scheduler._rounds, scheduler._rounds.take
    most, taken = 0, 0

    def counted(is_busy: bool, now: float) -> Any:
        nonlocal most, taken
        turn = take(is_busy, now)
        if is_busy and turn is not None:
            taken, most = taken + 1, max(most, rounds._shares["thief"].beginning)
        return turn

    with monkeypatch.context() as looked_at:
        looked_at.setattr(rounds, "take", counted)
        while taken < 5:  # they are not starved either
            assert await scene.vault("texts") == ["the secret"]
            await asyncio.sleep(0)
    return most


@pytest.mark.canary("test_without_shares_they_would_take_every_slot")
async def test_jobs_that_breed_keep_the_host_busy_one_at_a_time(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await most_begun(scene, monkeypatch) == 1
    await scene.unharmed()


async def test_without_shares_they_would_take_every_slot(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The canary."""
    with monkeypatch.context() as unbounded:
        unbounded.setattr(Rounds, "_may_begin", lambda *_: True)
        assert await most_begun(scene, monkeypatch) > 2


async def most_finished(scene: Scene, count: int) -> int:
    """How many finished jobs there are at most, until this many of the thief's have run."""
    planner = scene.backend.scheduler
    ran: list[Any] = []
    planner.watchers.append(ran.append)
    await scene.thief("breed")
    most = 0
    while len(ran) < count:
        await asyncio.sleep(0.001)
        most = max(most, planner.jobs.ended["thief"])
    planner.watchers.remove(ran.append)
    return most


async def test_jobs_that_have_ended_fill_no_disk(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "_FINISHED_MAX", 100)
    assert 100 <= await most_finished(scene, 400) < 300
    monkeypatch.setattr(scheduler, "_FINISHED_MAX", 1 << 40)
    assert await most_finished(scene, 400) >= 400  # the canary
    await scene.unharmed()


async def test_steps_without_end_stop_nobody_else(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_BEHIND_SECONDS", 60.0)  # else it never has its turn where this machine has other work
    nothing = digest([])
    assert await scene.thief("step_without_end", count=10, digest=nothing) == "got through"
    at_a_stretch = [0]
    find_index = replay.find_index

    def counted(*args: Any) -> Any:
        at_a_stretch[0] += 1
        return find_index(*args)

    async def most_at_a_stretch(count: int) -> tuple[int, str]:
        """How many steps are done, at most, before somebody else has a turn; and what the attack comes to."""
        attack = asyncio.ensure_future(scene.call("patient", "step_without_end", count=count, digest=nothing))
        most = at_a_stretch[0] = 0
        while not attack.done():
            await asyncio.sleep(0)
            most, at_a_stretch[0] = max(most, at_a_stretch[0]), 0
        return most, str(attack.exception() or attack.result())

    monkeypatch.setattr(replay, "find_index", counted)
    assert 0 < (await most_at_a_stretch(20_000))[0] <= 500
    monkeypatch.setattr(replay, "_STEPS_A_TURN", 1 << 40)
    assert (await most_at_a_stretch(20_000))[0] == 20_000  # the canary
    monkeypatch.setattr(replay, "_STEPS_MAX", 1_000)
    assert "1,001 steps of one function" in (await most_at_a_stretch(1_001))[1]
    await scene.unharmed()


async def test_ends_of_pages_are_kept_up_to_a_size(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await scene.thief("mark_pages_without_end", count=10) == "got through"
    assert "more ends of pages than a call has" in await scene.denied("mark_pages_without_end", count=100)
    await scene.unharmed()
    monkeypatch.setattr(served, "_MARKS_MAX", 1 << 40)
    assert await scene.thief("mark_pages_without_end", count=100) == "got through"  # the canary


async def test_the_name_of_a_job_is_no_place_to_keep_things(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await scene.thief("name_a_job_without_end", size=1_000)
    assert "broke the protocol" in await scene.denied("name_a_job_without_end", size=1_001)
    await scene.unharmed()
    monkeypatch.setattr(told, "LABEL_MAX", 1 << 40)
    assert await scene.thief("name_a_job_without_end", size=100_000)  # the canary


async def test_log_lines_by_hand_are_cut_off_too(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    caller = Caller(admin=True, source="test", request_id="r")
    for lines, kept in ((10, 10), (5_000, 257)):
        answer = await scene.backend.dispatcher.call("query", "log_without_end", {"lines": lines}, caller=caller, component_path="patient")
        assert len(answer.log_lines) == kept
        assert all(line.startswith("[ERROR] patient: ") for line in answer.log_lines[:256])
    await scene.unharmed()
    monkeypatch.setattr(log_lines, "_LINES", 1 << 40)
    answer = await scene.backend.dispatcher.call("query", "log_without_end", {"lines": 5_001}, caller=caller, component_path="patient")
    assert len(answer.log_lines) == 5_001  # the canary


@pytest.mark.canary("test_in_the_process_of_its_host_it_would_end_that_one")
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


@pytest.mark.parametrize(
    ("how", "ends"),
    [
        ("exit", 0),
        ("abort", signal.SIGABRT),
        ("read nowhere", signal.SIGSEGV),
        pytest.param(
            *("overflow the stack", signal.SIGSEGV),
            marks=pytest.mark.skipif(sys.version_info >= (3, 12), reason="the interpreter counts the depth of C code itself by now"),
        ),
    ],
)
def test_in_the_process_of_its_host_it_would_end_that_one(how: str, ends: int) -> None:
    """The canary."""

    def host() -> str:
        faulthandler.disable()
        ENDS[how]()
        return "lives"

    outcome = forked(host)
    assert outcome.value != "lives"
    assert outcome.signal == ends


def test_in_the_process_of_its_host_it_would_stop_that_one() -> None:
    """The canary of "stop itself"."""
    host = os.fork()
    if host == 0:
        ENDS["stop itself"]()
        os._exit(0)
    _, status = os.waitpid(host, os.WUNTRACED)
    os.kill(host, signal.SIGKILL)
    assert os.WIFSTOPPED(status)
    os.waitpid(host, 0)


def test_in_the_process_of_its_host_it_would_take_a_connection_of_that_one() -> None:
    """The canary of "close the channel"."""

    def host(do: Callable[[], object]) -> int:
        ends = socket.socketpair()
        os.dup2(ends[0].fileno(), CHANNEL)
        do()
        return os.write(CHANNEL, b"hello")

    assert forked(lambda: host(lambda: None)).value == 5
    assert forked(lambda: host(ENDS["close the channel"])).errno == errno.EBADF


def test_unconfined_it_would_hoard_more_than_a_worker_has_and_speak_another_abi() -> None:
    """The canaries of these two."""
    limit = 1 << 30

    def hoarded() -> int:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))  # what the machine can spare
        try:
            ENDS["hoard"]()
        except MemoryError:
            pass
        [peak] = re.findall(r"VmPeak:\s+(\d+)", Path("/proc/self/status").read_text())
        return int(peak) << 10

    assert forked(hoarded).value > Plan().memory + (256 << 20)  # type: ignore[operator]
    assert forked(lambda: ENDS["call a system call of another ABI"]()).worked


@pytest.mark.canary("test_unconfined_it_would_hoard_more_than_a_worker_has_and_speak_another_abi")
async def test_memory_without_end_is_the_components_own_trouble(scene: Scene) -> None:
    assert re.match("MemoryError|ComponentCrashed|DeadlineExceeded", await scene.denied("end", how="hoard"))
    await scene.unharmed()


@pytest.mark.canary("test_a_host_that_calls_it_itself_would_never_have_an_answer")
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


@pytest.mark.parametrize("politely", [False, True])
@pytest.mark.parametrize("how", ["spin", "a regex", "wait", "refuse to stop", "a large number"])
def test_a_host_that_calls_it_itself_would_never_have_an_answer(how: str, politely: bool) -> None:
    """The canary: run as any coroutine is, and told `politely` to stop. What waits in peace obeys; that nobody told it is its attack."""

    class Ctx:
        """Takes everything."""

        def __getattr__(self, name: str) -> Any:
            return self

        async def insert(self, table: str, fields: Any) -> None:
            return None

    async def called() -> None:
        made = thief.take_long.handler(Ctx(), how)
        await (asyncio.wait_for(made, 0.05) if politely else made)

    def host() -> str:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, 0.15)
        try:
            asyncio.run(called())
        except TimeoutError:
            return "stopped"
        return "answered"

    outcome = forked(host)
    if how == "wait" and politely:
        assert outcome.value == "stopped"
    else:
        assert outcome.signal == signal.SIGALRM, outcome


@pytest.mark.canary("test_in_the_process_of_its_host_it_would_stop_that_one")
async def test_a_worker_that_stops_itself_meets_its_deadline(scene: Scene) -> None:
    assert re.match("DeadlineExceeded|ComponentCrashed", await scene.denied("end", how="stop itself"))
    await scene.unharmed()


@pytest.mark.parametrize("name", ["a_gigabyte", "just_too_large"])
async def test_a_result_that_is_too_large_is_an_error(scene: Scene, name: str) -> None:
    before = resident()
    assert await scene.denied(name)
    assert resident() - before < 120 << 20
    await scene.unharmed()
    assert len(await scene.thief("a_megabyte")) == MIB  # the canary: one that is not comes whole


GROWN = """
import gc, json, os, sys
resident = lambda: int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
gc.disable()
text = sys.stdin.buffer.read()
before = resident()
built = json.loads(text)
print(resident() - before)
"""
"""The canary: by how much a host grows that builds it. In an interpreter of its own, which has no room left from before."""


async def test_a_frame_of_too_many_parts_is_not_built(scene: Scene) -> None:
    before = resident()
    assert re.match("DeadlineExceeded|ComponentCrashed", await scene.denied("many_parts"))
    assert resident() - before < 120 << 20
    await scene.unharmed()

    host = await asyncio.create_subprocess_exec(sys.executable, "-c", GROWN, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    grown, _ = await host.communicate(of_many_parts(7))
    assert int(grown) > 240 << 20  # the canary


async def test_a_value_that_lies_about_itself_is_no_value(scene: Scene) -> None:
    assert await scene.denied("a_value_that_is_none")
    await scene.unharmed()
    shown = Lies(a=object())
    assert json.loads(json.dumps(dict(shown.items()))) == {"a": 1} != dict.items(shown)  # the canary: who goes by what it shows believes it


@pytest.mark.canary("test_a_host_that_goes_on_answering_would_be_filled_by_them")
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


async def test_a_host_that_goes_on_answering_would_be_filled_by_them(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The canary: the same questions, and no end of what may lie unread."""
    pool = scene.backend.dispatcher.runners.pool("patient")
    assert pool is not None

    async def most_unread() -> int:
        attack = asyncio.ensure_future(scene.denied("ask_and_never_read", path="patient"))
        most = 0
        while not attack.done() and most < 40 * MIB:
            most = max([most, *(len(worker._line._out) for worker in pool._processes)])
            await asyncio.sleep(0.001)
        await attack
        return most

    monkeypatch.setattr(line, "_UNREAD_MAX", 1 << 40)
    monkeypatch.setattr(process, "OPERATIONS_MAX", 1 << 40)
    assert await most_unread() >= 16 * MIB
    monkeypatch.undo()


async def test_what_is_printed_moves_no_cursor_and_forges_no_line(scene: Scene) -> None:
    caller = Caller(admin=True, source="test", request_id="r")
    answer = await scene.backend.dispatcher.call("query", "print_for_a_terminal", {}, caller=caller, component_path="thief")
    assert len(answer.log_lines) == 2
    moves = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]"
    assert not [line for line in answer.log_lines if re.search(moves, line)]
    assert all(re.search(moves, line) for line in FORGED)  # the canary
    await scene.unharmed()


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
