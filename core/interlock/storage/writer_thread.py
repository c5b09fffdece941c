"""One thread that does the jobs of one storage, in the order in which they were given.

A future and a queue of its own: an executor's two futures and locks cost about as much again as the hop between the threads.

A loop that never rests lets go of the interpreter again and again, for a moment each time. A thread that waits for it is woken each time,
comes too late, and begins anew to wait for the 5 ms after which it would be given it: it may wait for ever. So the loop stands
still for it: until a job has begun that is given `at_once`, and for a moment now and then while one does not come to its end.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

_BEGINS_WITHIN_S = 0.001
_LATE_S, _LATE_MOST_S = 0.001, 0.004
"""So often the loop looks whether a job is late: twice as seldom each time, as far as that."""
_MOMENT_S = 0.0001


class WriterThread:
    """Started by the first job, ended by `stop`. Every method belongs to the loop's thread."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._open_jobs = 0
        self._done = 0
        self._look: asyncio.TimerHandle | None = None

    @property
    def is_idle(self) -> bool:
        """True from the moment when the loop has heard that the last job is done: what the jobs use is then free for the loop."""
        return self._open_jobs == 0

    def submit(
        self, work: Callable[[], Any], finished: Callable[[Any], None] | None = None, *, at_once: bool = False
    ) -> asyncio.Future[Any]:
        """Do the work after all that was submitted before it.

        `finished` gets the result in the loop's thread, before the future does and also when nobody waits for that any more.
        `at_once`: the loop stands still until the thread has begun, which is idle.
        """
        loop = asyncio.get_running_loop()
        job = _Job(work, finished, loop, loop.create_future())
        self._open_jobs += 1
        if self._thread is None:
            # A daemon, so that a program which forgets to close can end; an append that it cuts short was not answered.
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        if at_once:
            begins = job.begins = threading.Lock()
            begins.acquire()
            self._jobs.put(job)
            begins.acquire(timeout=_BEGINS_WITHIN_S)
        else:
            self._jobs.put(job)
        if self._look is None:
            self._look = loop.call_later(_LATE_S, self._look_after, loop, _LATE_S, self._done, time.perf_counter(), time.thread_time())
        return job.future

    def stop(self) -> None:
        """Wait for the jobs that are left, and end the thread."""
        if self._look is not None:
            self._look.cancel()
            self._look = None
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None

    def _look_after(self, loop: asyncio.AbstractEventLoop, after: float, done: int, since: float, cpu: float) -> None:
        """Let the thread have the interpreter if it has ended no job since then, and the loop was hardly ever at rest."""
        self._look = None
        if not self._open_jobs:
            return
        now, cpu_now = time.perf_counter(), time.thread_time()
        if self._done != done:
            after = _LATE_S
        elif cpu_now - cpu > (now - since) / 2:
            time.sleep(_MOMENT_S)
            after = min(2 * after, _LATE_MOST_S)
        self._look = loop.call_later(after, self._look_after, loop, after, self._done, now, cpu_now)

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
                self._open_jobs -= 1

    def _finish(self, job: _Job) -> None:
        self._open_jobs -= 1
        self._done += 1
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
