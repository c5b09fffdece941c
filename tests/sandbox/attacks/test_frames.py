"""What a worker tells its host is not believed: its frames, what it says it has done, its results, errors and log lines."""

from __future__ import annotations

import asyncio
import json
import re
import traceback

import pytest
from tests.sandbox.attacks.credulous import HARM, Credulous
from tests.sandbox.attacks.scene import DEADLINE, PATIENCE_S, Scene
from tests.sandbox.attacks.thief import component as thief
from tests.sandbox.attacks.thief.component import ENDLESS, FORGED, HALF, LIES, STEPS, UNPRINTABLE, Lies

from interlock import AppError, ComponentCrashed, DeadlineExceeded, DocumentNotFound, MutationCtx, WriteConflict, components
from interlock.functions.caller import Caller
from interlock.sandbox import operations
from interlock.sandbox.confinement import available
from interlock.sandbox.failures import make
from interlock.values.ids import decode_id, encode_id

pytestmark = pytest.mark.skipif(bool(available().missing), reason=f"not here: {available().missing}")

UNENDED = {"random bytes"}  # its first four are a length that is allowed, and the rest never comes


@pytest.mark.canary("test_a_host_that_believes_is_brought_down_or_led_astray_by_each_lie")
@pytest.mark.parametrize("name", LIES)
async def test_a_frame_that_lies_ends_the_worker_and_nothing_else(scene: Scene, name: str) -> None:
    told = await scene.denied("lie", name=name, deadline=DEADLINE if name in UNENDED else PATIENCE_S)
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
    for function in ("step", "step_early"):
        assert await scene.thief("write_past_the_sdk", text=f"before {function}") == "done"
        assert await scene.thief(function, name="an honest write", id=id) == "got through"
    # What the SDK had done by itself before, the end by hand left out.
    assert await scene.thief("looted") == ["honest", "stolen", "before step", "before step_early"]


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
@pytest.mark.parametrize("function", ["step", "step_early"])
async def test_what_a_worker_says_it_has_done_by_itself_is_done_again_and_found_out(scene: Scene, function: str, name: str) -> None:
    told = await scene.denied(function, name=name, id=scene.secret, deadline=DEADLINE)
    assert re.match("ComponentCrashed|DeadlineExceeded|DocumentNotFound", told), told
    await scene.unharmed()


async def test_no_document_is_put_in_the_place_of_one_that_is_there(scene: Scene) -> None:
    own = await scene.thief("loot_something", text="first")
    assert re.match("ComponentCrashed|DeadlineExceeded", await scene.denied("put_in_the_place_of", id=own))
    assert (await scene.thief("read_by_id", id=own))["text"] == "first"
    free = encode_id(decode_id(own)[0], bytes(16))
    assert await scene.thief("put_in_the_place_of", id=free) == "got through"  # the canary


@pytest.mark.canary("test_the_frames_of_an_honest_call_get_through")
@pytest.mark.parametrize("early", [False, True])
async def test_a_query_has_no_steps(scene: Scene, early: bool) -> None:
    assert "broke the protocol" in await scene.denied("step_in_a_query", early=early)
    await scene.unharmed()


@pytest.mark.parametrize("count", [1, 100])
async def test_a_call_that_lies_before_its_turn_ends_as_one_that_lies_later(scene: Scene, count: int) -> None:
    """It was sent off with what was gathered before it. The canary is what may be said: a hundred times would be too much."""
    waited: list[object] = []

    async def gathered(ctx: MutationCtx) -> None:
        asked = ctx.run_query(components.thief.wait, seconds=0.2), ctx.run_query(components.thief.mark_pages_without_end, count=count)
        waited.extend(await asyncio.gather(*asked, return_exceptions=True))

    await scene.backend.dispatcher.run(gathered, caller=Caller(source="test"))
    assert waited[0] == "waited"
    assert waited[1] == "got through" if count == 1 else "broke the protocol" in str(waited[1]), waited
    await scene.unharmed()
    pool = scene.backend.dispatcher.runners.pool("thief")
    assert pool is not None
    assert [process.is_free for process in pool._processes] == [True]


@pytest.mark.canary("test_the_frames_of_an_honest_call_get_through")
@pytest.mark.parametrize("how", ["step", "write", "schedule"])
async def test_a_query_within_a_mutation_writes_nothing(scene: Scene, how: str) -> None:
    id = await scene.thief("loot_something", text="first")
    told = await scene.denied("have_a_query_write", how=how, id=id)
    assert re.search("broke the protocol|a query writes nothing", told), told
    pool = scene.backend.dispatcher.runners.pool("thief")
    assert pool is not None
    pool.succeeded()  # its next worker is not waited for
    assert await scene.thief("looted") == ["first"]
    assert await scene.thief("list_jobs") == []


async def test_half_a_frame_ends_at_the_deadline(scene: Scene) -> None:
    assert re.match("DeadlineExceeded|ComponentCrashed", await scene.denied("half_a_frame", deadline=DEADLINE))
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


@pytest.mark.canary("test_an_error_without_its_arguments_looked_at_cannot_be_printed")
@pytest.mark.parametrize("name", UNPRINTABLE)
async def test_an_error_can_be_printed_and_is_answered_at_once(scene: Scene, name: str) -> None:
    with pytest.raises(Exception) as raised:
        await scene.thief("fail_with", name=name)
    assert not isinstance(raised.value, DeadlineExceeded | ComponentCrashed)
    if not isinstance(raised.value, AppError):  # its data is its author's, and whoever shows it looks at it
        printed = str(raised.value) + "".join(traceback.format_exception(raised.value))
        assert "\x1b" not in printed
    await scene.unharmed()


@pytest.mark.parametrize("made", [DocumentNotFound("get", ENDLESS), SyntaxError("x", ["\x1b[2J", 1, "\x1b[2J", 5])])  # type: ignore[arg-type]
def test_an_error_without_its_arguments_looked_at_cannot_be_printed(made: Exception) -> None:
    """The canary."""
    with pytest.raises((ValueError, TypeError, AttributeError)):
        str(made)
        traceback.format_exception(made)


async def test_a_frame_that_no_check_foresaw_ends_its_worker(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await scene.denied("fail_in_colours")).startswith("DocumentNotFound")  # the canary: else it is taken
    with monkeypatch.context() as patch:
        patch.setattr(operations, "make", lambda *args, **options: 1 / 0)
        assert "broke the protocol: a frame that the host fails at: ZeroDivisionError" in await scene.denied("fail_in_colours")
    assert [record.message.splitlines()[0] for record in caplog.records] == ["a frame of a worker could not be taken"]
    await scene.unharmed()


async def test_operations_have_a_number_each(scene: Scene) -> None:
    """Else one of two would go on unseen while the layer below it is dropped."""
    assert (await scene.denied("fail_while_something_is_untold", again=1)).startswith("ValueError")  # the canary: two of two numbers
    await scene.unharmed()
    assert "two operations of one number" in await scene.denied("fail_while_something_is_untold", again=0)
    await asyncio.sleep(0.1)
    assert await scene.vault("texts") == ["the secret"]


async def test_a_value_that_lies_about_itself_is_no_value(scene: Scene) -> None:
    assert await scene.denied("a_value_that_is_none")
    await scene.unharmed()
    shown = Lies(a=object())
    assert json.loads(json.dumps(dict(shown.items()))) == {"a": 1} != dict.items(shown)  # the canary: who goes by what it shows believes it


async def test_what_is_printed_moves_no_cursor_and_forges_no_line(scene: Scene) -> None:
    caller = Caller(admin=True, source="test", request_id="r")
    answer = await scene.backend.dispatcher.call("query", "print_for_a_terminal", {}, caller=caller, component_path="thief")
    assert len(answer.log_lines) == 3
    moves = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]"
    assert not [line for line in answer.log_lines if re.search(moves, line)]
    assert all(re.search(moves, line) for line in FORGED)  # the canary
    await scene.unharmed()
