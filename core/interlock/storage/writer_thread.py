"""One thread that does the jobs of one storage, in the order in which they were given.

A future and a queue of its own: an executor's two futures and locks cost about as much again as the hop between the threads.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any

from interlock.giving_way import GivingWay

_BEGINS_WITHIN_S = 0.001
_LOOKS_S = 0.004
"""So often, at the least, the loop looks after a job that does not come to its end."""


class WriterThread:
    """Started by the first job, ended by `stop`. Every method belongs to the loop's thread."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._giving_way = GivingWay(_LOOKS_S)

    @property
    def is_idle(self) -> bool:
        """True from the moment when the loop has heard that the last job is done: what the jobs use is then free for the loop."""
        return self._giving_way.open == 0

    def submit(
        self, work: Callable[[], Any], finished: Callable[[Any], None] | None = None, *, at_once: bool = False
    ) -> asyncio.Future[Any]:
        """Do the work after all that was submitted before it.

        `finished` gets the result in the loop's thread, before the future does and also when nobody waits for that any more.
        `at_once`: the loop stands still until the thread has begun, which is idle.
        """
        loop = asyncio.get_running_loop()
        job = _Job(work, finished, loop, loop.create_future())
        if self._thread is None:
            # A daemon, so that a program which forgets to close can end; an append that it cuts short was not answered.
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        begins = None
        if at_once:
            begins = job.begins = threading.Lock()
            begins.acquire()
        self._jobs.put(job)
        self._giving_way.begins(loop)
        if begins is not None:
            begins.acquire(timeout=_BEGINS_WITHIN_S)
        return job.future

    def stop(self) -> None:
        """Wait for the jobs that are left, and end the thread."""
        self._giving_way.stop()
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            if job.begins is not None:
                job.begins.release()
            try:
                job.result = job.work()
            except BaseException as error:
                job.error = error
            try:
                job.loop.call_soon_threadsafe(self._finish, job)
            except RuntimeError:
                # The loop was closed under a job that nobody waits for.
                self._giving_way.ends()

    def _finish(self, job: _Job) -> None:
        self._giving_way.ends()
        if job.finished is not None and job.error is None:
            job.finished(job.result)
        if job.future.cancelled():
            return
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)


class _Job:
    __slots__ = ("begins", "error", "finished", "future", "loop", "result", "work")

    def __init__(
        self,
        work: Callable[[], Any],
        finished: Callable[[Any], None] | None,
        loop: asyncio.AbstractEventLoop,
        future: asyncio.Future[Any],
    ) -> None:
        self.work, self.finished, self.loop, self.future = work, finished, loop, future
        self.begins: threading.Lock | None = None
        self.result: Any = None
        self.error: BaseException | None = None
