"""The thread that does a storage's jobs: in which order, and when it has the interpreter."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from tests.never_rests import never_rests_until

from interlock.storage import writer_thread
from interlock.storage.writer_thread import WriterThread


@pytest.fixture
def thread() -> Iterator[WriterThread]:
    thread = WriterThread("test")
    yield thread
    thread.stop()


async def test_jobs_are_done_in_their_order_and_told_before_who_waits(thread: WriterThread) -> None:
    heard: list[object] = []
    jobs = [thread.submit(lambda n=n: n, lambda n: heard.append(("finished", n))) for n in range(3)]  # type: ignore[misc]
    assert not thread.is_idle
    for number, job in enumerate(jobs):
        heard.append(("awaited", await job))
        assert ("finished", number) in heard[: heard.index(("awaited", number))]
    assert [n for what, n in heard if what == "finished"] == [0, 1, 2]  # type: ignore[misc]
    assert thread.is_idle


async def test_an_error_is_who_waits_to_hear_and_the_next_job_is_done(thread: WriterThread) -> None:
    def fail() -> None:
        raise OSError("broken")

    failed, done = thread.submit(fail, lambda _: pytest.fail("it did not end well")), thread.submit(lambda: 1)
    with pytest.raises(OSError, match="broken"):
        await failed
    assert await done == 1


async def test_a_job_that_is_given_at_once_has_begun_when_it_was_given(thread: WriterThread, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_thread, "_BEGINS_WITHIN_S", 20.0)
    await thread.submit(lambda: None)
    begun: list[int] = []

    def job() -> None:
        begun.append(1)
        time.sleep(0.01)

    for count in range(1, 11):
        given = thread.submit(job, at_once=True)
        assert len(begun) == count
        await given


async def test_a_job_of_many_steps_ends_though_the_loop_never_rests(thread: WriterThread) -> None:
    def steps() -> int:
        for _ in range(50):
            time.sleep(0.0001)  # as a statement: the interpreter is let go of, and asked for again
        return 50

    job = thread.submit(steps)
    await never_rests_until(job)
    assert await job == 50


async def test_a_thread_that_was_stopped_is_not_looked_after(thread: WriterThread) -> None:
    await thread.submit(lambda: None)
    thread.stop()
    assert thread._giving_way._look is None
    assert thread.is_idle
