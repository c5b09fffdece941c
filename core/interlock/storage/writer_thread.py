"""One thread that does the jobs of one storage, in the order in which they were given.

A future and a queue of its own: an executor's two futures and locks cost about as much again as the hop between the threads.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any


class WriterThread:
    """Started by the first job, ended by `stop`. Every method belongs to the loop's thread."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._open_jobs = 0

    @property
    def is_idle(self) -> bool:
        """True from the moment when the loop has heard that the last job is done: what the jobs use is then free for the loop."""
        return self._open_jobs == 0

    def submit(self, work: Callable[[], Any], finished: Callable[[Any], None] | None = None) -> asyncio.Future[Any]:
        """Do the work after all that was submitted before it.

        `finished` gets the result in the loop's thread, before the future does and also when nobody waits for that any more.
        """
        loop = asyncio.get_running_loop()
        job = _Job(work, finished, loop, loop.create_future())
        self._open_jobs += 1
        if self._thread is None:
            # A daemon, so that a program which forgets to close can end; an append that it cuts short was not answered.
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        self._jobs.put(job)
        return job.future

    def stop(self) -> None:
        """Wait for the jobs that are left, and end the thread."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job.result = job.work()
            except BaseException as error:
                job.error = error
            try:
                job.loop.call_soon_threadsafe(self._finish, job)
            except RuntimeError:
                # The loop was closed under a job that nobody waits for.
                self._open_jobs -= 1

    def _finish(self, job: _Job) -> None:
        self._open_jobs -= 1
        if job.finished is not None and job.error is None:
            job.finished(job.result)
        if job.future.cancelled():
            return
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)


class _Job:
    __slots__ = ("error", "finished", "future", "loop", "result", "work")

    def __init__(
        self,
        work: Callable[[], Any],
        finished: Callable[[Any], None] | None,
        loop: asyncio.AbstractEventLoop,
        future: asyncio.Future[Any],
    ) -> None:
        self.work, self.finished, self.loop, self.future = work, finished, loop, future
        self.result: Any = None
        self.error: BaseException | None = None
