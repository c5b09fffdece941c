"""One worker, as the host sees it: frames out, frames in, which calls are open on it, and how it ends.

Every byte that it reads was written by a component. Which call, and with it which instance and transaction, a frame is about is
looked up in the host's own record; what does not fit it ends the worker.

Start at `Process.call`.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from time import perf_counter
from typing import Any, Protocol

from interlock.errors import CallRefused, DeadlineExceeded, MountError
from interlock.sandbox.failures import add_frames, cleaned, make, tell
from interlock.sandbox.frames import OPERATIONS_MAX, FrameError, Frames, decode, encode, parts
from interlock.sandbox.sources import Source
from interlock.sandbox.zygote import Spawned

_PIECE = 1 << 18
_FRAMES_A_TURN, _TURN_SECONDS = 128, 0.0004
"""For how long frames of one worker are read before the loop does something else."""
_AT_ONCE = 64
"""Operations of one call that are done side by side; the others wait. Of one call only: its sub-calls may be what they wait for."""
_STANDING = frozenset({"metrics"})
"""What a worker stands still for: it cannot wait behind calls that this worker would have to run first."""
_HELD_MAX = 64 * 1024 * 1024
"""Bytes of memory, about, that operations of one worker may hold while they wait for their turn."""
_PART_BYTES = 32
_FAILURES_MAX = 1_024
"""Errors of operations that are kept for one call, the newest: a worker keeps half of them, and tells anew what it has forgotten."""
_UNREAD_MAX = 4 * 1024 * 1024
_GRACE_SECONDS = 0.1
_PATIENCE_SECONDS = 2.0
"""How long a call that is over has to stop: after its deadline, and when only its caller has lost interest."""
_NOTES = frozenset({"log", "use", "page"})
_LOAD_SECONDS = 10.0
_IDLE_SECONDS = 0.02
_LATE_MAX = 1_000
_TICK_SECONDS = 0.02
_BEHIND_SECONDS = 0.01
"""After so much CPU time without a word a worker stands behind every other process."""
_SPINS_SECONDS = 0.005
_MEND_SECONDS, _MEND_LOOKS = 0.005, 20
"""How often it is looked whether a worker has stopped to run a call that is over, while a new one waits for it."""
_NOTES_FREE, _NOTES_AN_OPERATION, _NOTES_A_PAUSE = 500, 2, 64
"""How much a call may say that was not asked, more than the SDK does; and how much of the rest is read between two pauses."""
_PAUSE_SECONDS = 0.01
_AT_A_STRETCH, _STRETCH_SECONDS = 4, 0.002
"""What actions may ask in so many seconds while the app is called for itself; then they are not heard until that time is over."""
_OVER_CPU = 0.3
"""How many seconds of CPU time over its limit a call may be before its worker is ended from outside."""

ORIGIN = "__interlock_origin__"
"""The attribute of an error that says which worker raised it, and under which reference it is kept there."""


class Lost(Exception):
    """The worker has ended under a call. `is_culprit`: because of this very call."""

    def __init__(self, reason: str, is_culprit: bool) -> None:
        super().__init__(reason)
        self.reason, self.is_culprit = reason, is_culprit


class Refused(Exception):
    """The worker could not be confined, or the component not be loaded."""


class Served(Protocol):
    """A call as the worker's side may speak of it: what it asks for is answered, what it says is noted."""

    label: str
    cpu_max: float | None
    cpu: float
    """The CPU seconds that it has used so far."""
    steps: list[Any]
    """What the function did by itself since it last asked for something, and is to be done before its end counts."""

    def gives_way(self, now: float) -> bool:
        """Whether what it asks for has to wait while the app does something of its own. `now` is of the loop's clock, in seconds."""

    def answer(self, operation: int, method: str, args: list[Any], running: Served | None, steps: list[Any]) -> Coroutine[Any, Any, Any]:
        """The coroutine that does these steps and one operation. Raises FrameError for what no honest worker asks for."""

    def drop(self, operation: int, task: asyncio.Task[None]) -> None:
        """Cancel the operation that `task` does, where it waits for something. Its steps are done."""

    def note(self, frame: list[Any]) -> None:
        """Something that needs no answer: a log line, rows that were looked at, the end of a page."""


class _Open:
    """One open call."""

    __slots__ = ("_at_once", "failures", "future", "has_answered", "notes", "operations", "served", "share_at", "tasks")

    def __init__(self, served: Served, future: asyncio.Future[Any], share_at: float) -> None:
        self.served, self.future, self.share_at = served, future, share_at
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self.failures: dict[int, BaseException] = {}
        self.has_answered = False
        self.notes = self.operations = 0
        self._at_once: asyncio.Semaphore | None = None

    @property
    def at_once(self) -> asyncio.Semaphore:
        """Made when something is asked for: most calls ask for nothing."""
        if self._at_once is None:
            self._at_once = asyncio.Semaphore(_AT_ONCE)
        return self._at_once


class Process:
    """One worker of one instance, on the running loop."""

    def __init__(
        self,
        spawned: Spawned,
        source: Source,
        path: str,
        env: Mapping[str, Any],
        on_end: Callable[[Process], None],
        on_stuck: Callable[[Process], None],
    ) -> None:
        self.loop = self._loop = asyncio.get_running_loop()
        self._spawned, self._path, self._on_end, self._on_stuck = spawned, path, on_end, on_stuck
        self._frames = Frames()
        self._calls: dict[int, _Open] = {}
        self._numbers = 0
        self._out = bytearray()
        self._waits_to_write = self._is_reading = self._pumping = False
        self._pause: asyncio.TimerHandle | None = None
        self._frozen = False
        self._leaving: dict[int, _Open] = {}
        self._late = 0
        self._held = 0
        self._stretch, self._stretch_began = 0, 0.0
        self._mended: asyncio.Future[None] | None = None
        self._is_behind = False
        # CPU seconds: at the last look, what no call has been charged for, of it what is older than these frames, claimed in these
        # frames, and what each open call has borne of the rest since the beginning.
        self._cpu = self._unclaimed = self._carried = self._claimed = self._share = 0.0
        self._idle: asyncio.TimerHandle | None = None
        self._flushing = False
        self._ticking: asyncio.TimerHandle | None = None
        self._culprit: Served | None = None
        self._why: str | None = None
        self._context = contextvars.Context()
        self.env = dict(env)
        self.calls_made = self.operations = 0
        self.is_over = self.was_closed = self._retired = False
        self.layers: dict[str, Any] = {}
        self.refused: Exception | None = None
        self._is_greeted = self._is_loaded = False
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._loop.add_reader(spawned.sock.fileno(), self._readable)
        self._loop.add_reader(spawned.status.fileno(), self._status)
        self._is_reading = True
        self._load_timer = self._loop.call_later(_LOAD_SECONDS, self._slow_to_load)
        self._send(load_frame(source, path, env, manifest=False))

    @property
    def pid(self) -> int | None:
        return self._spawned.pid

    @property
    def reason(self) -> str:
        """Why it has ended, as far as is known."""
        return self._why or "its process ended"

    def cpu_seconds(self) -> float:
        """What it has used of a processor."""
        return self._spawned.cpu_seconds()

    def memory(self) -> int:
        """Bytes that it has of its own."""
        return self._spawned.memory()

    # calling

    async def call(self, served: Served, frame: list[Any]) -> Any:
        """Run one function there: `frame` is the call after its number. Gives the result as it was sent; raises what it raised, or Lost."""
        return await self.end(self.begin(served, frame))

    def begin(self, served: Served, frame: list[Any]) -> int:
        """Send a call. Its number is what `end` takes, or `give_up`. Raises Lost."""
        if self.is_over:
            raise Lost(self._why or "it has ended", is_culprit=False)
        self._numbers += 1
        number = self._numbers
        self._calls[number] = _Open(served, self._loop.create_future(), self._share)
        self.calls_made += 1
        if self._frozen:
            self._frozen = False
            self._spawned.cont()
        if self._ticking is None and served.cpu_max is not None:
            self._ticking = self._loop.call_later(_TICK_SECONDS, self._tick)
        self._send(["call", number, *frame])
        return number

    def give_up(self, number: int) -> None:
        """A call that was begun is wanted by nobody any more."""
        opened = self._calls.get(number)
        if opened is None:
            return
        if not opened.future.done():
            opened.future.set_exception(CallRefused(opened.served.label, "its caller has ended."))
        ended = self._loop.create_task(self.end(number))
        ended.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def end(self, number: int) -> Any:
        """Wait for the end of a call that was begun, as `call` does."""
        opened = self._calls[number]
        value: Any = None
        failed: BaseException | None = None
        try:
            value = await opened.future
        except BaseException as error:
            failed = error
        if failed is None:
            self._close_call(number, opened)
            return value
        try:
            try:
                await self._abandon(number, opened, failed)
            finally:
                self._close_call(number, opened)
            raise failed
        finally:
            failed = None  # its traceback holds this frame: together they would wait for the collector

    def _close_call(self, number: int, opened: _Open) -> None:
        self._calls.pop(number, None)
        opened.served.cpu += self._share - opened.share_at
        if not self._calls:
            self._rest()

    def expire(self, served: Served, error: Exception) -> None:
        """Its deadline has passed: the caller is answered now, and the function told to end."""
        for opened in self._calls.values():
            if opened.served is served and not opened.future.done():
                opened.future.set_exception(error)
                if isinstance(error, DeadlineExceeded) and self._spins:
                    self._on_stuck(self)

    async def _abandon(self, number: int, opened: _Open, error: BaseException) -> None:
        """A call has ended that may still have operations open: they end first, since their layers lie above its own."""
        tasks = list(opened.tasks.values())
        for task in tasks:
            task.cancel()
        if not opened.has_answered and not self.is_over:
            self._send(["cancel", number])
            self._leaving[number] = opened
            seconds = _GRACE_SECONDS if isinstance(error, DeadlineExceeded) else _PATIENCE_SECONDS
            self._loop.call_later(seconds, self._grace, number)
        while tasks:
            _, pending = await asyncio.wait(tasks)
            tasks = list(pending)

    @property
    def is_stuck(self) -> bool:
        """Whether a call is over that it has not stopped running, as far as is known: a new call may have to wait for that."""
        return bool(self._leaving) and not self.is_over

    async def wait_mended(self) -> None:
        """Wait until it is not stuck, or for as long as a new call can afford."""
        if self._mended is None or self._mended.done():
            self._mended = self._loop.create_future()
        for _ in range(_MEND_LOOKS):
            await asyncio.wait([self._mended], timeout=_MEND_SECONDS)
            if not self.is_stuck or self._spins:
                return

    @property
    def _spins(self) -> bool:
        """Whether it has run for so long without a word that it will not stop by itself."""
        return self._is_loaded and self._spawned.cpu_seconds() - self._cpu > _SPINS_SECONDS

    def _mend(self) -> None:
        if self._mended is not None and not self._mended.done() and not self.is_stuck:
            self._mended.set_result(None)

    def _grace(self, number: int) -> None:
        if number in self._leaving and not self._is_loaded:
            self._loop.call_later(_GRACE_SECONDS, self._grace, number)  # it has not begun; the import has a deadline of its own
            return
        opened = self._leaving.pop(number, None)
        if opened is not None:
            self.kill(f"{opened.served.label} did not stop when it was told to", opened.served)

    def _rest(self) -> None:
        if self._is_behind and not self._retired:
            self._is_behind = False
            self._retired = not self._spawned.stand_as_before()
        if self._retired:
            self.close()
        elif self._idle is None and not self.is_over:
            self._idle = self._loop.call_later(_IDLE_SECONDS, self._freeze)

    @property
    def is_retired(self) -> bool:
        """Whether no new call may come."""
        return self._retired

    def _freeze(self) -> None:
        """Nothing of the component runs while nobody has called it."""
        self._idle = None
        if not self._calls and not self._leaving and not self._out and not self.is_over and self._is_loaded:
            self._frozen = True
            self._spawned.stop()

    def _look_at_cpu(self) -> float:
        """What it has used since this was last asked. Whose it was, the frames that come now may say."""
        before, self._cpu = self._cpu, self._spawned.cpu_seconds()
        return max(0.0, self._cpu - before)

    def _claim(self, opened: _Open, told: list[Any]) -> None:
        """A worker says how long a call has run. It cannot say more than it has used, nor leave anything out: the rest is everybody's."""
        if not told:
            return
        seconds = told[0]
        if type(seconds) not in (float, int) or not seconds >= 0 or len(told) > 1:
            raise FrameError("a time that is none")
        seconds = min(seconds, self._unclaimed)
        self._unclaimed -= seconds
        self._claimed += seconds
        opened.served.cpu += seconds

    def _divide(self) -> None:
        """Share out what nobody has claimed: at once where it can only have been one call's, otherwise after another reading.

        A reading may come late, and count what its frames could not know of.
        """
        count = len(self._calls)  # those that have just ended are among them
        rest = self._unclaimed if count <= 1 else max(0.0, self._carried - self._claimed)
        self._unclaimed = max(0.0, self._unclaimed - rest)
        self._share += rest / max(1, count)

    def _tick(self) -> None:
        """Looks from outside at the CPU time of the worker: one that spins is ended, since only the spinning call could stop itself."""
        self._ticking = None
        if self.is_over or not self._calls:
            return
        # Since it last said anything. To load a component has a deadline of its own.
        spent = self._spawned.cpu_seconds() - self._cpu if self._is_loaded else 0.0
        if spent > _BEHIND_SECONDS and not self._is_behind:
            self._is_behind = self._spawned.stand_behind()
        running = [opened for opened in self._calls.values() if not opened.future.done() and not opened.tasks]
        limits = [opened.served.cpu_max for opened in running if opened.served.cpu_max is not None]
        if len(running) == 1:
            [opened] = running
            limit = opened.served.cpu_max
            if limit is not None and opened.served.cpu + self._share - opened.share_at + self._unclaimed + spent > limit + _OVER_CPU:
                opened.future.set_exception(DeadlineExceeded(opened.served.label, "CPU time", limit))
        elif limits and spent > max(limits) + _OVER_CPU:
            self.kill("one of its calls used up its CPU time", None)
            return
        self._ticking = self._loop.call_later(_TICK_SECONDS, self._tick)

    def set_env(self, env: Mapping[str, Any]) -> None:
        self.env = dict(env)
        self._send(["env", self.env])

    # writing

    def _send(self, frame: list[Any]) -> None:
        if self.is_over:
            return
        self._out += encode(frame)
        if len(self._out) >= _UNREAD_MAX:
            self._has_room.clear()  # answers that are not fetched are all that a worker could fill our memory with
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Once a turn of the loop: what was sent in between crosses together."""
        self._flushing = False
        if self.is_over:
            return
        out = self._out
        try:
            while out:
                del out[: self._spawned.sock.send(memoryview(out)[:_PIECE])]
        except BlockingIOError:
            pass
        except OSError:
            self._end(None)
            return
        waits = bool(out)
        if waits != self._waits_to_write:
            self._waits_to_write = waits
            if waits:
                self._loop.add_writer(self._spawned.sock.fileno(), self._flush)
            else:
                self._loop.remove_writer(self._spawned.sock.fileno())
        self._follow()

    def _follow(self) -> None:
        """Whether to go on reading: not while a turn's share has been used up, nor while answers are not fetched."""
        has_room = len(self._out) < _UNREAD_MAX
        if has_room:
            self._has_room.set()
        wanted = not self._pumping and has_room and self._pause is None
        if wanted != self._is_reading and not self.is_over:
            self._is_reading = wanted
            if wanted:
                self._loop.add_reader(self._spawned.sock.fileno(), self._readable)
            else:
                self._loop.remove_reader(self._spawned.sock.fileno())

    # reading

    def _readable(self) -> None:
        try:
            data = self._spawned.sock.recv(_PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end(None)
            return
        self._frames.feed(data)
        self._carried, self._claimed = self._unclaimed, 0.0
        self._unclaimed += self._look_at_cpu()
        self._pump()

    def _pump(self) -> None:
        """What is done for the frames is done in a context of this worker's own, whoever began to read."""
        self._context.run(self._pump_here)

    def _pump_here(self) -> None:
        self._pumping = False
        try:
            until = perf_counter() + _TURN_SECONDS
            for _ in range(_FRAMES_A_TURN):
                if self.is_over:
                    return
                body = self._frames.next() if self._pause is None else None
                if body is None:
                    break
                self._take(body)
                if perf_counter() > until:
                    self._pumping = True
                    self._loop.call_soon(self._pump)
                    break
            else:
                self._pumping = True
                self._loop.call_soon(self._pump)
        except FrameError as error:
            self.kill(f"it broke the protocol: {cleaned(str(error))}", None)
            return
        if not self._pumping:
            self._divide()
        self._follow()

    def _slow_down(self, seconds: float) -> None:
        """More is said than the host's time is for."""
        if self._pause is None:
            self._pause = self._loop.call_later(seconds, self._go_on)

    def _give_way(self, served: Served) -> None:
        """An operation has come, one of many perhaps."""
        now = self._loop.time()
        if not served.gives_way(now):
            return
        if now - self._stretch_began >= _STRETCH_SECONDS:
            self._stretch, self._stretch_began = 0, now
        self._stretch += 1
        if self._stretch >= _AT_A_STRETCH:
            self._slow_down(self._stretch_began + _STRETCH_SECONDS - now)

    def _go_on(self) -> None:
        self._pause = None
        if not self.is_over:
            self._pump()

    def _take(self, body: bytes) -> None:
        frame = decode(body)
        name = frame[0]
        if name == "ret" or name == "exc":
            self._take_end(frame, name == "ret")
            return
        if name == "op":
            self._operation(frame, len(body) + _PART_BYTES * parts(body))
            return
        if name in _NOTES:
            self._note(frame)
            return
        if name == "drop":
            self._drop(frame)
            return
        match frame:
            case ["gone", int(number)]:
                self._ended(number)
            case ["hello", dict(layers), int()] if not self._is_greeted:
                self.layers = layers
                self._is_greeted = True
            case ["refused", str(why)] if not self._is_greeted:
                self.refused = Refused(cleaned(why)[:1_000])
                self._end(str(self.refused))
            case ["loaded", None]:
                self._loaded()
            case ["failed", *told]:
                self._loaded()
                self.refused = loading_failure(told)
            case _:
                raise FrameError(f"the frame {cleaned(str(name))[:40]!r}")

    def _note(self, frame: list[Any]) -> None:
        """A call says something that needs no answer."""
        if len(frame) < 2 or type(frame[1]) is not int:
            raise FrameError("a note of no call")
        opened = self._calls.get(frame[1])
        if opened is None or opened.future.done():
            self._count_late()
            return
        self._count_note(opened)
        opened.served.note([frame[0], *frame[2:]])

    def _count_note(self, opened: _Open) -> None:
        opened.notes += 1
        if opened.notes > _NOTES_FREE + _NOTES_AN_OPERATION * opened.operations and opened.notes % _NOTES_A_PAUSE == 0:
            self._slow_down(_PAUSE_SECONDS)

    def _drop(self, frame: list[Any]) -> None:
        """A call no longer waits for one of its operations. Those of one that is being ended are let go of anyway."""
        match frame:
            case ["drop", int(number), int(operation)]:
                opened = self._calls.get(number)
                if opened is None or opened.future.done():
                    if number not in self._leaving:
                        self._count_late()
                    return
                self._count_note(opened)
                if (task := opened.tasks.get(operation)) is not None:
                    opened.served.drop(operation, task)
            case _:
                raise FrameError("an operation to drop that is none")

    def _take_end(self, frame: list[Any], is_well: bool) -> None:
        """A call says that it is over: what came out, what the host is to do before that counts, for how long it ran."""
        if not 5 <= len(frame) <= 6 or type(frame[1]) is not int or type(frame[2]) is not bool or type(frame[4]) is not list:
            raise FrameError("an end of a call that is none")
        opened = self._ended(frame[1])
        if opened is None:
            return
        told = frame[3]
        if not is_well and type(told) is not list:
            raise FrameError("an error that is none")
        self._claim(opened, frame[5:])
        served = opened.served
        if frame[2]:
            served.note(["looked"])
        served.steps = frame[4]
        if is_well:
            opened.future.set_result(told)
        else:
            opened.future.set_exception(self._failure(opened, told))

    def _loaded(self) -> None:
        if self._is_loaded:
            raise FrameError("loaded twice")
        self._is_loaded = True
        self._unclaimed = 0.0  # it was no call's
        self._load_timer.cancel()
        if not self._calls:
            self._rest()

    def _slow_to_load(self) -> None:
        self.refused = Refused(f"its import took longer than {_LOAD_SECONDS:g} s")
        self.kill(str(self.refused), None)

    def _ended(self, number: int) -> _Open | None:
        opened = self._calls.get(number) or self._leaving.get(number)
        if opened is None:
            self._count_late()
            return None
        opened.has_answered = True
        if self._leaving.pop(number, None) is not None:
            self._mend()
            if not self._calls:
                self._rest()
        return None if opened.future.done() else opened

    def _count_late(self) -> None:
        """What comes for a call that has ended: some of it was on its way, more is a flood."""
        self._late += 1
        if self._late > _LATE_MAX:
            raise FrameError("too much for calls that are not open")

    def _failure(self, opened: _Open, told: list[Any]) -> BaseException:
        match told:
            case ["op", int(operation), list(frames), list(data)]:
                known = opened.failures.get(operation)
                error = make(data, opened.served.label, trusted=False) if known is None else known
                add_frames(error, frames)
                return error
            case ["raised", int(reference), list(data)]:
                made = make(data, opened.served.label, trusted=False)
                setattr(made, ORIGIN, (self, reference))
                return made
        raise FrameError("an error that is told in no known way")

    # operations

    def _operation(self, frame: list[Any], size: int) -> None:
        if not 7 <= len(frame) <= 8:
            raise FrameError("an operation that is none")
        number, operation, method, running, args, steps = frame[1:7]
        if type(number) is not int or type(operation) is not int or type(running) is not int or type(method) is not str:
            raise FrameError("an operation that is none")
        if type(args) is not list or type(steps) is not list:
            raise FrameError("an operation that is none")
        opened = self._calls.get(number)
        if opened is None or opened.future.done():
            self._count_late()
            self._send(["err", operation, ["own", "CallRefused", ["", "its call has ended."], "", []]])
            return
        self.operations += 1
        opened.operations += 1
        self._claim(opened, frame[7:])
        if operation in opened.tasks:
            raise FrameError("two operations of one number")
        if len(opened.tasks) >= OPERATIONS_MAX:
            raise FrameError(f"more than {OPERATIONS_MAX:,} operations at once")
        if self._held and self._held + size > _HELD_MAX:
            told = f"operations that hold more than {_HELD_MAX >> 20} MiB wait for their turn. Await some before you start others."
            self._fail(opened, operation, CallRefused(opened.served.label, told))
            return
        self._give_way(opened.served)
        other = self._calls.get(running) if running else None
        self._held += size
        task = self._loop.create_task(self._serve(opened, operation, method, args, other.served if other is not None else None, steps))
        opened.tasks[operation] = task
        task.add_done_callback(partial(self._let_go, size))

    def _let_go(self, size: int, _: object) -> None:
        self._held -= size

    def _fail(self, opened: _Open, operation: int, error: Exception) -> None:
        failures = opened.failures
        if len(failures) >= _FAILURES_MAX:
            del failures[next(iter(failures))]
        failures[operation] = error
        self._send(["err", operation, self._told(error)])

    async def _serve(self, opened: _Open, operation: int, method: str, args: list[Any], running: Served | None, steps: list[Any]) -> None:
        served = opened.served
        answer: Any = None
        try:
            if method in _STANDING:
                answer = await served.answer(operation, method, args, running, steps)
            else:
                await opened.at_once.acquire()
                try:
                    await self._has_room.wait()
                    answer = await served.answer(operation, method, args, running, steps)
                finally:
                    opened.at_once.release()
        except FrameError as broken:
            self.kill(f"it broke the protocol: {cleaned(str(broken))}", served)
            return
        except asyncio.CancelledError:
            if opened.future.done() or self.is_over:
                raise
            self._send(["err", operation, ["own", "CallRefused", ["", "it was cancelled."], "", []]])  # for who has dropped it
            return
        except Exception as error:
            self._fail(opened, operation, error)
            return
        finally:
            opened.tasks.pop(operation, None)
        self._send(["res", operation, answer])

    def _told(self, error: Exception) -> list[Any]:
        told = tell(error, [])
        origin = getattr(error, ORIGIN, None)
        return ["known", origin[1], told] if origin is not None and origin[0] is self else told

    # ending

    def kill(self, why: str, culprit: Served | None) -> None:
        """End the worker. Calls that are open on it are lost; the culprit's fault it is."""
        if self.is_over:
            return
        self._spawned.kill()
        self._culprit = culprit
        self._end(why)

    def retire(self) -> None:
        """No new call comes; it ends with the last that is open."""
        self._retired = True
        if not self._calls:
            self.close()

    def close(self) -> None:
        """Nobody needs it any more."""
        if not self.is_over:
            self.was_closed = True
            self._spawned.kill()
            self._end("it was closed")

    def _end(self, why: str | None) -> None:
        if self.is_over:
            return
        self.is_over = True
        self._mend()
        self._why = why
        self._spawned.kill()  # it may only have closed its socket
        loop, sock = self._loop, self._spawned.sock
        loop.remove_reader(sock.fileno())
        loop.remove_writer(sock.fileno())
        for timer in (self._load_timer, self._idle, self._ticking, self._pause):
            if timer is not None:
                timer.cancel()
        self._on_end(self)
        if why is None:
            loop.call_later(1.0, self._bury)  # the status says how it ended
        else:
            self._bury()

    def _status(self) -> None:
        self._spawned.read_status()
        if self._spawned.exit is not None:
            self._loop.remove_reader(self._spawned.status.fileno())
            if not self.is_over:
                self._end(None)
            self._bury()
            self._spawned.close()

    def _bury(self) -> None:
        """Tell the open calls, and give back what is left of it."""
        spawned = self._spawned
        if self._why is None and spawned.exit is not None:
            self._why = str(spawned.exit)
        why = self._why or "its process ended"
        is_alone = len(self._calls) == 1
        for opened in list(self._calls.values()):
            if not opened.future.done():
                lost = Lost(why, is_culprit=is_alone if self._culprit is None else opened.served is self._culprit)
                opened.future.set_exception(self.refused or lost)


def load_frame(source: Source, path: str, env: Mapping[str, Any], *, manifest: bool) -> list[Any]:
    """What a worker is told to load."""
    described = {
        "path": path,
        "module": source.module,
        "object": source.name,
        "files": dict(source.files),
        "native": dict(source.native),
        "env": dict(env),
        "manifest": manifest,
    }
    return ["load", described]


def loading_failure(told: list[Any]) -> Exception:
    """What a worker says whose component cannot be imported."""
    match told:
        case ["kind", str(name)]:
            return Refused(f"is a {cleaned(name)[:100]} and no Component")
        case ["import", "own", "MountError", [str(where), str(problem), str(remedy)], *_]:
            return MountError(cleaned(where)[:500], cleaned(problem), cleaned(remedy))
        case ["import", *error]:
            return make(error, "import", trusted=False)
    return Refused("did not say what is wrong")
