"""One worker, as the host sees it: frames out, frames in, which calls are open on it, and how it ends.

Every byte that it reads was written by a component. Which call, and with it which instance and transaction, a frame is about is
looked up in the host's own record; what does not fit it ends the worker.

Start at `Process.begin`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

from interlock.errors import CallRefused, DeadlineExceeded
from interlock.sandbox.account import Account
from interlock.sandbox.failures import cleaned
from interlock.sandbox.frames import TIME, FrameError, again, decode, encode, memory_of
from interlock.sandbox.line import Line
from interlock.sandbox.loading import Refused, load_frame, loading_failure
from interlock.sandbox.opened import Opened
from interlock.sandbox.operations import Operations, failure_of
from interlock.sandbox.sources import Source
from interlock.sandbox.standing import Conduct, Standing
from interlock.sandbox.versions import Versions
from interlock.sandbox.zygote import IN_TURN, Spawned

_GRACE_SECONDS = 0.1
_PATIENCE_SECONDS = 2.0
"""How long a call that is over has to stop: after its deadline while it spins, and else. On a busy machine its worker has to come to hear
of it first.
"""
_NOTES = frozenset({"log", "use", "page"})
_START_SECONDS, _LOAD_SECONDS = 60.0, 10.0
"""How long it may take until a worker stands, which is no doing of the component's, and then until that is imported."""
_IDLE_SECONDS = 0.02
_LATE_MAX = 1_000
_TICK_SECONDS = 0.02
_SPINS_SECONDS = 0.005
_MEND_SECONDS, _MEND_LOOKS = 0.005, 20
"""How often it is looked whether a worker has stopped to run a call that is over, while a new one waits for it."""
_NOTES_FREE, _NOTES_AN_OPERATION, _NOTES_A_PAUSE = 500, 2, 8
"""How much a call may say that was not asked, more than the SDK does; and how much of the rest is read between two pauses."""
_PAUSE_SECONDS, _PAUSE_SECONDS_MAX = 0.01, 0.2
"""How long these are: each is longer than the one before."""
AHEAD_BYTES_MAX = 256 * 1024
"""Bytes of memory, about, that the end of a call may take which nobody has made: it is held until somebody does."""
_AHEAD_SECONDS = 1.0
"""How long such a call may stand open."""
_OVER_CPU = 0.3
"""How many seconds of CPU time over its limit a call may be before its worker is ended from outside."""


class Lost(Exception):
    """The worker has ended under a call. `is_culprit`: because of this very call."""

    def __init__(self, reason: str, is_culprit: bool) -> None:
        super().__init__(reason)
        self.reason, self.is_culprit = reason, is_culprit


class Process:
    """One worker of one instance, on the running loop."""

    def __init__(
        self,
        spawned: Spawned,
        source: Source,
        path: str,
        env: Mapping[str, Any],
        conduct: Conduct,
        on_end: Callable[[Process], None],
        on_stuck: Callable[[Process], None],
    ) -> None:
        self.loop = self._loop = asyncio.get_running_loop()
        self._spawned, self._path, self._on_end, self._on_stuck = spawned, path, on_end, on_stuck
        self._calls: dict[int, Opened] = {}
        self._numbers = self._taken = 0
        self._frozen = self._is_held_up = False  # it is stopped: as long as nobody calls it, as long as it is not heard
        self._leaving: dict[int, Opened] = {}
        self._parked: list[Callable[[], None]] = []  # who goes on when the frames that have come are taken
        self._late = self._stopped = 0  # what came for calls that have ended; calls that were told to stop
        self._ran_ahead: list[Opened] = []  # and are to be closed when their time is counted
        self._ahead_until = 0.0
        self._began = 0.0
        self._mended: asyncio.Future[None] | None = None
        self._conduct = conduct
        self._standing = Standing(spawned, conduct, self._loop.time())
        self._account = Account(spawned)
        self._idle: asyncio.TimerHandle | None = None
        self._ticking: asyncio.TimerHandle | None = None
        self._culprit: Opened | None = None
        self._why: str | None = None
        self._made: list[list[Any]] = []
        self.versions = Versions()
        self.env = dict(env)
        self.calls_made = self.operations = 0
        self.is_over = self.was_closed = self._retired = False
        self.layers: dict[str, Any] = {}
        self.refused: Exception | None = None
        self._is_greeted = self._is_loaded = False
        self._line = Line(spawned.sock, self._account.look, self._take, self._read, self._hung_up, self._broke, self._go_on)
        self._operations = Operations(self, self._line, self.kill)
        self._line.read()
        self._loop.add_reader(spawned.status.fileno(), self._status)
        self._load_timer = self._loop.call_later(_START_SECONDS, self._slow_to_start)
        self._line.send(load_frame(source, path, env, manifest=False))

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

    def begin(self, opened: Opened, frame: list[Any]) -> None:
        """Send a call: `frame` is all of it after its number. Whoever has waited for its `end` closes it, or fails it. Raises Lost."""
        number = self._open(opened)
        for news in self._take_news():
            self._line.send(news)
        self._line.send(["call", number, *frame])

    def begin_ahead(self, opened: Opened, around: tuple[bytes, bytes], seed: int) -> None:
        """Send a call that nobody has made yet, at once: all of its frame but its number is around the seed. Raises Lost."""
        number = self._open(opened)
        opened.is_ahead = True
        self._ahead_until = self._loop.time() + _AHEAD_SECONDS
        told = b"".join([encode(news) for news in self._take_news()])
        self._line.send_at_once(told + again(b"ahead", number, around, seed))

    def _take_news(self) -> list[list[Any]]:
        """The frames that the worker is to be sent before its next call."""
        news: list[list[Any]] = []
        if self._taken:
            news.append(["taken", self._taken])
            self._taken = 0
        if self._made:
            news.append(["made", self._made])
            self._made = []
        if self.versions.is_cleared:
            news.append(["forgot"])
            self.versions.is_cleared = False
        return news

    def _open(self, opened: Opened) -> int:
        if self.is_over:
            raise Lost(self._why or "it has ended", is_culprit=False)
        self._numbers += 1
        number = opened.number = self._numbers
        self._account.begin(opened)
        self._calls[number] = opened
        self.calls_made += 1
        if self._frozen:
            self._frozen = False
            self._spawned.cont()
        if self._ticking is None and opened.cpu_max is not None:
            self._ticking = self._loop.call_later(_TICK_SECONDS, self._tick)
        return number

    @property
    def is_free(self) -> bool:
        """Whether nothing runs in it, as far as is known, and another call may come."""
        return not self._calls and not self._leaving and not self._retired and not self.is_over

    def tell_taken(self, opened: Opened) -> None:
        """What runs ahead is made by somebody now. The worker hears of it before it is sent another call."""
        self._taken = opened.number

    def tell_made(self, made: list[list[Any]]) -> None:
        """Documents that a call has added under ids of its worker's: ids, and when they were made. Heard of as what was taken is."""
        self._made += made

    def close_call(self, opened: Opened) -> None:
        """It has ended well."""
        if self._calls.pop(opened.number, None) is not None:
            self._account.end(opened)
        if not self._calls:
            self._rest()

    async def fail_call(self, opened: Opened, error: BaseException) -> None:
        """It has ended with this error, and may still have operations open: they end first, since their layers lie above its own."""
        tasks = list(opened.tasks.values())
        for task in tasks:
            task.cancel()
        if not opened.has_answered and not self.is_over:
            number = opened.number
            self._line.send(["cancel", number])
            self._stopped += 1
            self._leaving[number] = opened
            seconds = _GRACE_SECONDS if isinstance(error, DeadlineExceeded) else _PATIENCE_SECONDS
            self._loop.call_later(seconds, self._grace, number, self._loop.time() + _PATIENCE_SECONDS)
        try:
            while tasks:
                _, pending = await asyncio.wait(tasks)
                tasks = list(pending)
        finally:
            self.close_call(opened)

    def give_up(self, opened: Opened) -> None:
        """A call is wanted by nobody any more, and nobody has waited for it."""
        error = CallRefused(opened.label, "its caller has ended.")
        if not opened.end.done():
            opened.end.set_exception(error)
        opened.end.exception()  # nobody hears of it
        ended = self._loop.create_task(self.fail_call(opened, error))
        ended.add_done_callback(lambda task: task.cancelled() or task.exception())

    def expire(self, opened: Opened, error: Exception) -> None:
        """Its deadline has passed: the caller is answered now, and the function told to end."""
        if opened.number in self._calls and not opened.end.done():
            opened.end.set_exception(error)
            if isinstance(error, DeadlineExceeded) and self._spins:
                self._on_stuck(self)

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
        return self._is_loaded and self._account.silent > _SPINS_SECONDS

    def _mend(self) -> None:
        if self._mended is not None and not self._mended.done() and not self.is_stuck:
            self._mended.set_result(None)

    def _grace(self, number: int, until: float) -> None:
        if number not in self._leaving:
            return
        # What has not begun waits for the import, which has a deadline of its own.
        if not self._is_loaded or (not self._spins and self._loop.time() < until):
            self._loop.call_later(_GRACE_SECONDS, self._grace, number, until)
            return
        opened = self._leaving.pop(number)
        self.kill(f"{opened.label} did not stop when it was told to", opened)

    def _rest(self) -> None:
        standing = self._standing
        if standing.place != IN_TURN and not self._retired:
            standing.rest(self._loop.time())
            self._retired = standing.is_stuck
        if self._retired:
            self.close()
        elif self._idle is None and not self.is_over:
            self._idle = self._loop.call_later(_IDLE_SECONDS, self._freeze, self.calls_made)

    @property
    def is_retired(self) -> bool:
        """Whether no new call may come."""
        return self._retired

    def _freeze(self, calls: int) -> None:
        """Nothing of the component runs while nobody has called it. Where somebody has since, that is looked at anew: to stop a worker
        and to let it go on costs more than a call.
        """
        self._idle = None
        if calls != self.calls_made:
            if not self._calls:
                self._rest()
        elif not self._calls and not self._leaving and self._line.is_written and not self.is_over and self._is_loaded:
            self._frozen = True
            self._spawned.stop()

    def _tick(self) -> None:
        """Looks from outside at the CPU time of the worker: one that spins is ended, since only the spinning call could stop itself."""
        self._ticking = None
        if self.is_over or not self._calls:
            return
        now, account = self._loop.time(), self._account
        silent = account.silent
        if self._is_loaded:
            spent = silent
            self._standing.look(silent, silent + max(map(account.so_far, self._calls.values())), now)
        else:
            spent = 0.0  # to load a component has a deadline of its own
            self._standing.look_at_loading(silent, now)
        if now > self._ahead_until:
            for opened in self._calls.values():
                if opened.is_ahead and not opened.end.done():
                    self.give_up(opened)
        running = [opened for opened in self._calls.values() if not opened.end.done() and not opened.tasks]
        limits = [opened.cpu_max for opened in running if opened.cpu_max is not None]
        if len(running) == 1:
            [opened] = running
            limit = opened.cpu_max
            if limit is not None and account.so_far(opened) + spent > limit + _OVER_CPU:
                if opened.is_ahead:
                    self.give_up(opened)
                else:
                    opened.end.set_exception(DeadlineExceeded(opened.label, "CPU time", limit))
        elif limits and (spent > max(limits) + _OVER_CPU or any([self._is_over(opened) for opened in running])):
            self.kill("one of its calls used up its CPU time", None)  # which one, they say when they run alone
            return
        self._ticking = self._loop.call_later(_TICK_SECONDS, self._tick)

    def _is_over(self, opened: Opened) -> bool:
        """Whether a call is charged with more than it may use, also where all talk on and none says that it was its time."""
        return opened.cpu_max is not None and self._account.charged(opened) > opened.cpu_max + _OVER_CPU

    def set_env(self, env: Mapping[str, Any]) -> None:
        self.env = dict(env)
        self._line.send(["env", self.env])

    # what it says

    def _read(self, is_all: bool) -> None:
        """Some frames are taken: who has waited for them goes on."""
        if is_all or len(self._calls) == 1:  # where there is one, the rest is not going to be claimed for another
            self._account.divide(len(self._calls))  # those that have just ended are among them
            if self._ran_ahead:
                ended, self._ran_ahead = self._ran_ahead, []
                for opened in ended:
                    self.close_call(opened)
        if self._parked:
            parked, self._parked = self._parked, []
            for go_on in parked:
                go_on()

    def _go_on(self) -> None:
        """It is heard again."""
        if self._is_held_up:
            self._is_held_up = False
            if not self._frozen:
                self._spawned.cont()

    def _broke(self, error: FrameError) -> None:
        self.kill(f"it broke the protocol: {cleaned(str(error))}", None)

    def _take(self, body: bytes) -> None:
        self._began = perf_counter()
        frame = decode(body)
        name = frame[0]
        if name == "ret" or name == "exc":
            self._take_end(frame, name == "ret", body)
            return
        if name == "op":
            self._operation(frame, memory_of(body))
            return
        if name in _NOTES:
            self._note(frame)
            return
        if name == "did":
            self._did(frame, memory_of(body))
            return
        if name == "drop":
            self._drop(frame)
            return
        match frame:
            case ["gone", int(number)] if number not in self._calls and number not in self._leaving and self._stopped:
                self._stopped -= 1  # its end was on its way
            case ["gone", int(number)]:
                self._ended(number)
            case ["hello", dict(layers), int()] if not self._is_greeted:
                self.layers = layers
                self._is_greeted = True
                self._load_timer.cancel()
                self._load_timer = self._loop.call_later(_LOAD_SECONDS, self._slow_to_load)
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
        opened = self._calls.get(frame[1]) or self._leaving.get(frame[1])
        if opened is None or opened.has_answered:
            self._count_late()
            return
        self._count_note(opened)
        if opened.is_ahead and not opened.end.done():
            self.give_up(opened)
        note = [frame[0], *frame[2:]]
        if opened.end.done():
            self._count_late(opened)
            opened.note_at_end(note)
        else:
            opened.note(note)

    def _count_note(self, opened: Opened) -> None:
        opened.notes += 1
        too_many = opened.notes - _NOTES_FREE - _NOTES_AN_OPERATION * opened.operations
        if too_many > 0 and opened.notes % _NOTES_A_PAUSE == 0:
            pause = min(_PAUSE_SECONDS * (1 + too_many // _NOTES_A_PAUSE), _PAUSE_SECONDS_MAX)
            if self._line.slow_down(pause):
                self._is_held_up = True
                self._spawned.stop()  # it would go on saying it, into a full socket

    def _did(self, frame: list[Any], size: int) -> None:
        """A call that goes on says what it has done so far."""
        match frame:
            case ["did", int(number), list(steps), told]:
                opened = self._calls.get(number) or self._leaving.get(number)
            case _:
                raise FrameError("early steps that are none")
        if opened is None or opened.has_answered:
            self._count_late()
            return
        self._count_note(opened)
        self._account.claim(opened, told)
        if opened.end.done():
            return  # it has not come to hear of that, and says several of them meanwhile
        if opened.is_ahead:
            self.give_up(opened)
            return
        self._operations.take_early(opened, steps, size, self._began)

    def _drop(self, frame: list[Any]) -> None:
        """A call no longer waits for one of its operations. Those of one that is being ended are let go of anyway."""
        match frame:
            case ["drop", int(number), int(operation)]:
                opened = self._calls.get(number)
                if opened is None or opened.end.done():
                    if number not in self._leaving:
                        self._count_late(opened)
                    return
                self._count_note(opened)
                if (task := opened.tasks.get(operation)) is not None:
                    opened.drop(operation, task)
            case _:
                raise FrameError("an operation to drop that is none")

    def _take_end(self, frame: list[Any], is_well: bool, body: bytes) -> None:
        """A call says that it is over: what came out, what it looked at, what the host is to do before that counts, for how long it ran."""
        count = len(frame)
        if not 5 <= count <= 6:
            raise FrameError("an end of a call that is none")
        number, looked_at, told, steps = frame[1], frame[2], frame[3], frame[4]
        if type(number) is not int or type(looked_at) is not int or type(steps) is not list:
            raise FrameError("an end of a call that is none")
        opened = self._ended(number)
        if opened is None:
            return
        if not is_well and type(told) is not list:
            raise FrameError("an error that is none")
        if count == 6:
            self._account.claim(opened, frame[5])
        opened.body = body[: AHEAD_BYTES_MAX + 1]  # that much is too much for all who ask how long it is
        if opened.is_ahead and opened.length > AHEAD_BYTES_MAX:
            self.give_up(opened)
            return
        if looked_at:
            opened.looked_at = looked_at
            if looked_at & TIME:
                opened.note(["looked"])
        opened.steps = steps if opened.early is None else opened.with_early(steps)
        if is_well:
            end = opened.end
            end.set_result(told)
            if end.parked is not None:
                self._parked.append(end.parked)
        else:
            opened.end.set_exception(failure_of(self, opened, told))
        if opened.is_ahead:
            self._ran_ahead.append(opened)
            opened.end.exception()  # nobody may ever ask

    def _loaded(self) -> None:
        if self._is_loaded:
            raise FrameError("loaded twice")
        self._is_loaded = True
        self._account.forget()
        self._load_timer.cancel()
        if not self._calls:
            self._rest()

    def _slow_to_start(self) -> None:
        self.refused = Refused(f"no worker stood ready for it within {_START_SECONDS:g} s")
        self.kill(str(self.refused), None)

    def _slow_to_load(self) -> None:
        self._conduct.remember(self._loop.time(), loading=True)
        self.refused = Refused(f"its import took longer than {_LOAD_SECONDS:g} s")
        self.kill(str(self.refused), None)

    def _ended(self, number: int) -> Opened | None:
        opened = self._calls.get(number)
        if self._leaving:
            left = self._leaving.pop(number, None)
            if left is not None:
                opened = opened or left
                self._mend()
                if not self._calls:
                    self._rest()
        if opened is None:
            self._count_late()
            return None
        opened.has_answered = True
        return None if opened.end.done() else opened

    def _count_late(self, opened: Opened | None = None) -> None:
        """What comes for a call that has ended: some of it was on its way, more is a flood. One that ran ahead and was given up does not
        know of it yet, and says what it would say anyway.
        """
        if opened is not None and opened.is_ahead:
            return
        self._late += 1
        if self._late > _LATE_MAX:
            raise FrameError("too much for calls that are not open")

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
        ahead = opened or self._leaving.get(number)
        if ahead is not None and ahead.is_ahead:
            self._count_note(ahead)
            if not ahead.end.done():
                self.give_up(ahead)
        if opened is None or opened.end.done():
            self._count_late(ahead)
            self._line.send(["err", operation, ["own", "CallRefused", ["", "its call has ended."], "", []]])  # it may stand still for that
            return
        self.operations += 1
        opened.operations += 1
        if len(frame) == 8:
            self._account.claim(opened, frame[7])
        other = self._calls.get(running) if running else None
        self._operations.begin(opened, operation, method, args, other, steps, size, self._began)

    # ending

    def kill(self, why: str, culprit: Opened | None) -> None:
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

    def _hung_up(self) -> None:
        self._end(None)

    def _end(self, why: str | None) -> None:
        if self.is_over:
            return
        self.is_over = True
        self._mend()
        self._why = why
        self._spawned.kill()  # it may only have closed its socket
        self._line.close()
        for timer in (self._load_timer, self._idle, self._ticking):
            if timer is not None:
                timer.cancel()
        self._on_end(self)
        if why is None:
            self._loop.call_later(1.0, self._bury)  # the status says how it ended
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
            self._why = spawned.end
        why = self._why or "its process ended"
        is_alone = len(self._calls) == 1
        for opened in list(self._calls.values()):
            if not opened.end.done():
                lost = Lost(why, is_culprit=is_alone if self._culprit is None else opened is self._culprit)
                opened.end.set_exception(self.refused or lost)
                if opened.is_ahead:
                    opened.end.exception()
