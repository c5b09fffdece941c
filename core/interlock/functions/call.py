"""One run of one function, and whose turn it is among its operations.

An `Execution` is one attempt at a top-level call: its time, its randomness, its log lines, what it has looked at. A `Call`
is one function running in it. Operations of one call are served in the order started; while a sub-call or trigger of it
is open, its own operations wait. So `gather` is safe, and nobody sees a layer that is not his.

Start at `Call.take_turn`. With nothing open and nothing queued an operation neither waits nor makes a future.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from interlock.errors import CallRefused, DeadlineExceeded
from interlock.functions.entropy import STORE, Entropy
from interlock.functions.log_lines import LogLines
from interlock.sdk.randomness import Drawn, name_of
from interlock.sdk.tally import Tally

if TYPE_CHECKING:
    from interlock.functions.caller import Caller
    from interlock.functions.scheduling import AtOnce
    from interlock.functions.scope import Callee
    from interlock.functions.services import Services
    from interlock.functions.triggers import Untold

IDLE: Final = 0
BUSY: Final = 1
ENDED: Final = 2

current: ContextVar[Call | None] = ContextVar("interlock_call", default=None)
"""The call whose code is running. Tasks that it starts inherit it."""


class Execution:
    """One attempt at a top-level call, shared by all calls below it."""

    __slots__ = (
        "_log",
        "_name",
        "_number",
        "_random",
        "at_once",
        "caller",
        "facts",
        "job",
        "journal",
        "leaves_untold",
        "now_ms",
        "pages",
        "services",
        "shares",
    )

    def __init__(
        self,
        services: Services,
        caller: Caller,
        now_ms: float,
        facts: dict[str, Any],
        journal: Mapping[str, str] | None = None,
    ) -> None:
        self.services, self.caller, self.now_ms = services, caller, now_ms
        self.facts = facts  # of its transaction: whether it looked at the time, at the identity
        self.journal = journal
        self.job: str | None = None  # the job whose mutation this is
        self.leaves_untold = False  # whether its top-level call ends before triggers that take lists are told
        self.at_once: dict[str, AtOnce] | None = None  # what is called in its transaction last, by job; None where nothing may
        self.pages: dict[str, str] | None = None  # where each page ended: the journal that this run gives out
        self._log: LogLines | None = None
        self.shares: dict[str, Share] | None = None
        self._random: random.Random | None = None
        self._name = ""
        self._number: Any = None

    @property
    def number(self) -> Any:
        """What its name is written of, a whole number of 63 bits."""
        if self._number is None:
            self._number = drawn(self.services.entropy)
        return self._number

    @property
    def name(self) -> str:
        """What tells it from all others, for functions that do something once a transaction."""
        if not self._name:
            self._name = name_of(self.number)
        return self._name

    @property
    def log(self) -> LogLines:
        """What it logs."""
        if self._log is None:
            self._log = LogLines(self.services.secrets)
        return self._log

    @property
    def lines(self) -> int:
        """How many lines it has logged so far."""
        return 0 if self._log is None else len(self._log.lines)

    def finish_log(self) -> list[str]:
        """It stands, or has failed for good: its log lines, which now go to the server's log too."""
        if self._log is None:
            return []
        self._log.publish(self.caller.request_id, self.services.log_volume)
        return self._log.lines

    @property
    def random(self) -> random.Random:
        """The generator that the generators of all its calls are seeded from. Another attempt gets another one."""
        if self._random is None:
            self._random = Drawn(self.services.entropy.getrandbits(64))
        return self._random


def drawn(entropy: random.Random) -> Any:
    """63 random bits: in frames a whole number is one of 64 with a sign."""
    if type(entropy) is Entropy:
        words = STORE.words
        if words:
            return words.pop() >> 1
    return entropy.getrandbits(63)


class Share:
    """What one mount has used so far in an execution, of what its `limits` allow it."""

    __slots__ = ("cpu", "is_open", "lines", "used")

    def __init__(self) -> None:
        self.used: dict[str, int] = {}
        self.cpu = 0.0
        self.lines = 0
        self.is_open = False


class Payer(Tally):
    """Whose time is counted; when (ms, None: never) and after how many seconds it is stopped."""

    __slots__ = ("deadline_ms", "wall_max")

    def __init__(self) -> None:
        super().__init__()
        self.wall_max = 0.0
        self.deadline_ms: float | None = None


class Call(Payer):
    """A function that is running. `parent` is the call that it was called by, also where that one is another execution (an action)."""

    __slots__ = (
        "args",
        "callee",
        "children",
        "depth",
        "execution",
        "identity_fields",
        "is_stopped",
        "ordinal",
        "parent",
        "queue",
        "state",
        "untold",
    )

    def __init__(
        self,
        execution: Execution,
        callee: Callee,
        args: dict[str, Any],
        parent: Call | None,
        depth: int,
        identity: Mapping[str, Any] | None,
    ) -> None:
        super().__init__()
        self.execution, self.callee, self.args = execution, callee, args
        self.parent, self.depth, self.identity_fields = parent, depth, identity
        self.children = 0
        self.ordinal = 0
        self.is_stopped = False  # its deadline has passed, and it was told so
        self.state = IDLE
        self.queue: deque[asyncio.Future[None]] | None = None
        self.untold: Untold | None = None  # what its triggers are still to be told

    @property
    def label(self) -> str:
        return self.callee.label

    @property
    def path(self) -> str:
        """The way from the top-level function to this call, the same in every run of the same code: journals are kept under it."""
        parent = self.parent
        return "" if parent is None or not self.is_nested else f"{parent.path}/{self.ordinal}:{self.label}"

    @property
    def is_nested(self) -> bool:
        """Whether it runs in the execution of its caller."""
        return self.parent is not None and self.parent.execution is self.execution

    @property
    def chain(self) -> str:
        """Who called whom, for people."""
        names = []
        call: Call | None = self
        while call is not None:
            names.append(call.label)
            call = call.parent
        return " → ".join(reversed(names))

    @property
    def was_stopped(self) -> bool:
        """Whether it, or a call that waits for it, has met its deadline."""
        call: Call | None = self
        while call is not None and not call.is_stopped:
            call = call.parent
        return call is not None

    def was_called_by(self, other: Call) -> bool:
        """Whether `other` waits for this call, through however many others."""
        call = self.parent
        while call is not None:
            if call is other:
                return True
            call = call.parent
        return False

    # whose turn it is

    async def take_turn(self) -> None:
        """Wait until the operations that were started before are served. Who finds the call idle need not ask: it sets `state` itself."""
        self.refuse_misuse()
        if self.state == IDLE:
            self.state = BUSY
            return
        if self.queue is None:
            self.queue = deque()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.end_turn()  # it was given the turn, and will not use it
            raise

    def end_turn(self) -> None:
        """Whose operation was next begins."""
        queue = self.queue
        while queue:
            turn = queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        if self.state == BUSY:
            self.state = IDLE

    def refuse_misuse(self) -> None:
        """A context that is used after its call, or by a call that it waits for, would never be served."""
        if self.state == ENDED:
            raise CallRefused(self.label, "its context was used after the call had ended. Await everything that it starts.")
        running = current.get()
        if running is not None and running is not self and running.was_called_by(self):
            raise CallRefused(
                self.label,
                f"its context was used by {running.label}, which it is waiting for ({running.chain}): both would wait forever. "
                "Use the context that the function itself was given.",
            )

    async def settle(self) -> None:
        """Wait for operations that were started and not awaited: they belong to the call, and to its layer."""
        if self.state != BUSY:
            return
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        if self.queue is None:
            self.queue = deque()
        self.queue.append(turn)
        deadline = self.nearest_deadline()
        timer = None
        if deadline is not None:
            when_ms, seconds = deadline

            def refuse() -> None:
                if not turn.done():
                    turn.set_exception(DeadlineExceeded(self.label, "wall time", seconds))

            timer = self.execution.services.clock.call_at(when_ms, refuse)
        try:
            await turn
        finally:
            if timer is not None:
                timer.cancel()

    def nearest_deadline(self) -> tuple[float, float] | None:
        """The first deadline of this call and of those that wait for it: when, and after how long."""
        call: Call | None = self
        found: tuple[float, float] | None = None
        while call is not None:
            if call.deadline_ms is not None and (found is None or call.deadline_ms < found[0]):
                found = (call.deadline_ms, call.wall_max)
            call = call.parent
        return found

    def end(self) -> None:
        """Nothing is served any more."""
        self.state = ENDED
        queue, self.queue = self.queue, None
        for turn in queue or ():
            if not turn.done():
                turn.set_exception(CallRefused(self.label, "the call ended before this operation had its turn."))
                turn.exception()  # whoever started it may be gone
