"""Functions that run in a worker: each call is a frame, and what it asks for is answered by the same hosts as inline (`served`).

A frame that no honest SDK sends ends the worker. When one ends, the call that ended it ends with its error; the layers of the others
are dropped, and they run once more.

Start at `SandboxRunner.start`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from interlock.clock import SystemClock
from interlock.engine import LayerMark, Transaction
from interlock.engine.made import Made
from interlock.errors import ComponentCrashed, DeadlineExceeded, InterlockError, LimitExceeded
from interlock.functions.allowance import charge, cpu_left, lowered, over_at
from interlock.functions.begun import BegunCall
from interlock.functions.call import BUSY, Execution, drawn
from interlock.functions.call_host import CallHost
from interlock.functions.foreseen import CPU_MAX, ForeseenCall, Foresight
from interlock.functions.inline import InlineRunner
from interlock.functions.kept_answers import KeptAnswers, key_of
from interlock.functions.replay import Stale
from interlock.functions.scope import Callee
from interlock.functions.served import Remembers, Served
from interlock.functions.transaction_host import TransactionHost
from interlock.limits import LIMITS, Limits
from interlock.mounting import Instance
from interlock.sandbox.frames import NOTHING, FrameError, encode_around
from interlock.sandbox.loading import Refused
from interlock.sandbox.pool import Pool, Unhealthy
from interlock.sandbox.process import Lost, Process

_OPEN_MAX = int(LIMITS["calls_open"].value)
_LOSSES_MAX = 3
_SEED_AT = 8
"""The place of the seed in the frame of a call."""
_ASKING_QUERIES = 32
"""So many queries ask for everything after one that was shown what is newer than its snapshot: there will be more of them."""
_MISTAKES_MAX = 8
"""So often a call may be mistaken in what its worker remembers, until it asks for everything."""


class _Run:
    """One attempt at a call, in its worker."""

    __slots__ = ("foreseen", "process", "served")

    def __init__(self, process: Process, served: Served, foreseen: ForeseenCall | None = None) -> None:
        self.process, self.served, self.foreseen = process, served, foreseen


class SandboxRunner:
    """Runs the functions of one instance in its workers. What a test or tool writes on the spot is in this process, and runs here."""

    def __init__(self, instance: Instance, pool: Pool, inline: InlineRunner, env: Callable[[], Mapping[str, Any]]) -> None:
        self._instance, self.pool, self._local, self._env = instance, pool, inline, env
        self._has_env = bool(instance.manifest.env)
        self._key = f"worker of {instance.path}"
        share = None if instance.limits is None else instance.limits.calls_open
        self._open_max = _OPEN_MAX if share is None else min(share, _OPEN_MAX)
        self._asking = 0
        self._answers, self._foresight = KeptAnswers(), Foresight()

    def start(self, call: CallHost) -> Made[Any] | Awaitable[Any]:
        if call.callee.handler is not None:
            return self._local.start(call)
        key = None
        # Mutations that come while others run are not foreseen.
        if isinstance(call, TransactionHost) and (call.callee.kind == "query" or not self.pool.calls_open):
            key = key_of(call)
            answer = None if key is None or call.callee.kind != "query" else self._answers.find(call, key)
            if answer is not None:
                return Made(answer[0])
        return self._cross(call, key)

    async def _cross(self, call: CallHost, key: bytes | None) -> Any:
        """Run it there, again where its worker was mistaken or was lost under it. With a key, others may profit from it."""
        pool = self.pool
        if pool.calls_open >= self._open_max:
            raise LimitExceeded("calls_open", pool.calls_open + 1, self._open_max)
        pool.calls_open += 1
        tx = call.tx if isinstance(call, TransactionHost) else None
        writes = tx is not None and tx.writable and call.callee.kind == "mutation"
        losses = mistakes = 0
        seed: int | None = None
        used = None if tx is None else tx.budget.reads()
        lines = call.execution.lines
        remembers: Remembers = False if tx is None else self._remembers(tx)
        mark = None
        try:
            while True:
                mark = tx.begin_layer() if tx is not None and writes else None
                try:
                    value = await self._attempt(call, key, alone=losses > 0, remembers=remembers, seed=seed)
                    if call.state == BUSY:
                        await call.settle()
                        call.end_turn()  # the caller settles what has been started since
                    if tx is not None and mark is not None:
                        tx.fold_layer(mark)
                        mark = None
                    return value
                except Stale as stale:
                    self._undo(call, mark, used)
                    mark, seed = None, stale.seed
                    if call.execution.lines > lines:
                        call.execution.log.forget_since(lines)
                    if tx is not None and (tx.writable or tx.catch_up()):
                        mistakes += 1
                        asks = stale.asks or not tx.writable or mistakes >= _MISTAKES_MAX
                        remembers = [asks, stale.number, stale.mistakes]
                    else:  # the worker may be right, and this snapshot old
                        remembers = False
                        self._asking = _ASKING_QUERIES
                except Lost as lost:
                    losses += 1
                    if lost.is_culprit or call.callee.kind == "action" or losses >= _LOSSES_MAX or pool.is_closed:
                        raise ComponentCrashed(self._instance.path, call.callee.name, lost.reason) from None
                    self._undo(call, mark, used)
                    mark = None
        finally:
            pool.calls_open -= 1
            if tx is not None and mark is not None:
                tx.drop_layer(mark)

    @staticmethod
    def _undo(call: CallHost, mark: LayerMark | None, used: tuple[int, int, int] | None) -> None:
        """An attempt counts for nothing: the next one begins where it began."""
        call.children, call.untold = 0, None
        if isinstance(call, TransactionHost):
            call.made = None
            if mark is not None:
                call.tx.drop_layer(mark)
            if used is not None:
                call.tx.budget.give_back(used)

    def _remembers(self, tx: Transaction) -> bool | None:
        if tx.writable:
            return True
        if self._asking:
            self._asking -= 1
            return False
        return None

    def begin(self, caller: TransactionHost, callee: Callee, args: Mapping[str, Any], limits: Limits | None) -> BegunCall | None:
        execution, pool = caller.execution, self.pool
        if limits is not None and limits.deadline is not None:
            return None  # that begins when its turn comes
        env = self._env() if self._has_env else {}
        if callee.handler is not None or execution.journal or pool.calls_open >= self._open_max:
            return None
        kept = execution.facts.get(self._key)
        try:
            checked = callee.check_args(args)
            process = pool.process(env, kept)
            if process.is_stuck or (self._has_env and process.env != env):
                return None
            remembers = self._remembers(caller.tx)
            served = Served(callee.label, process, lowered(self._cpu_left(caller), limits), remembers)
            seed = drawn(execution.services.entropy)
            frame = self._frame(callee, checked, execution, seed, served, None, over_at(caller), remembers)
            process.begin(served, frame)
        except (InterlockError, OSError, Unhealthy, Lost):
            return None
        if pool.size > 1:
            execution.facts[self._key] = process
        pool.calls_open += 1
        return BegunCall(pool, process, served)

    def _cpu_left(self, caller: TransactionHost) -> float | None:
        """What a call of `caller` will have: what is left to that, and of the mount's share."""
        limits, left = self._instance.limits, cpu_left(caller)
        if limits is None or limits.cpu is None:
            return left
        share = (caller.execution.shares or {}).get(self._instance.path)
        rest = max(0.0, limits.cpu - (share.cpu if share is not None else 0.0))
        return rest if left is None else min(left, rest)

    @staticmethod
    def _frame(
        callee: Callee,
        args: dict[str, Any],
        execution: Execution,
        seed: int,
        served: Served,
        call: CallHost | None,
        over_ms: float | None,
        remembers: Remembers,
    ) -> list[Any]:
        """A call as it is sent; `call` where its turn has come."""
        services = execution.services
        is_action = call is not None and callee.kind == "action"
        return [
            callee.name,
            callee.kind,
            callee.ordinal if callee.is_trigger else NOTHING,
            args,
            call.now() if call is not None and is_action else execution.now_ms,
            is_action and isinstance(services.clock, SystemClock),
            seed,
            execution.number,
            _pages_of(call) if call is not None and execution.journal else {},
            NOTHING if served.cpu_max is None else served.cpu_max,
            NOTHING if over_ms is None else over_ms,
            NOTHING if remembers is None else remembers,
        ]

    async def _attempt(self, call: CallHost, key: bytes | None, *, alone: bool, remembers: Remembers, seed: int | None) -> Any:
        callee, services = call.callee, call.execution.services
        run = self._under_way(call, None if alone else key, remembers)
        if run is None:
            seed = drawn(services.entropy) if seed is None else seed
            process = self._worker(call, alone=alone)
            if process.is_stuck:
                process = await self._mended(call, process)
            run = self._sent(call, process, remembers, seed, alone=alone)
        process, served, foreseen = run.process, run.served, run.foreseen
        timer = None
        if call.deadline_ms is not None:
            timer = services.clock.call_at(call.deadline_ms, partial(self._expire, process, served, call))
        value: Any = None
        failed: BaseException | None = None
        try:
            served.bind(call)
            value = await served.end
        except BaseException as raised:
            failed = raised
        if failed is None:
            process.close_call(served)
        else:
            try:
                await process.fail_call(served, failed)
            except BaseException as raised:
                failed = raised
        is_late = call.is_stopped and isinstance(failed, DeadlineExceeded)
        if foreseen is not None and not foreseen.is_ready and not is_late and (failed is None or isinstance(failed, Exception)):
            failed = Stale([], seed=foreseen.seed)
        # Before its result counts, or its error. Whoever is cancelled is not held up by a mistake, which would begin it anew.
        if served.steps and (failed is None or isinstance(failed, Exception)):
            try:
                taking = served.take_over(served.steps)
                if taking is not None:
                    await taking
            except BaseException as raised:
                failed = raised
        served.end_guess(is_right=not isinstance(failed, Stale | Lost))
        if isinstance(failed, Stale):
            failed.number = served.number
        if timer is not None:
            timer.cancel()
        if alone:
            process.retire()
        # Where its worker was lost by another's doing, its part of the time was that one's, perhaps. It runs again, alone.
        over = None if isinstance(failed, Lost) and not failed.is_culprit else charge(call, served.cpu)
        if failed is not None:
            try:
                raise self._seen(failed, process, served, callee)
            finally:
                failed = None  # its traceback holds this frame: together they would wait for the collector
        if served.refused is not None:
            raise served.refused
        if over is not None:
            raise over
        self.pool.succeeded()
        if isinstance(call, TransactionHost) and call.made is not None:
            process.tell_made(call.made)
        if key is not None and callee.kind == "query":
            self._answers.keep(key, served, value)
        elif callee.kind == "mutation" and not alone:
            self._look_ahead(call, key, process, served)
        return value

    def _under_way(self, call: CallHost, key: bytes | None, remembers: Remembers) -> _Run | None:
        """A run that was sent off before the call's turn, or foreseen. Raises Stale where what was foreseen is over, and of no use."""
        if not isinstance(call, TransactionHost):
            return None
        begun, call.begun = call.begun, None
        foreseen = None
        if call.callee.kind == "mutation" and remembers is True:
            foreseen = self._foresight.take(key)
        if isinstance(begun, BegunCall) and begun.serves(remembers):
            if foreseen is not None:
                foreseen.give_up()
            begun.take()
            return _Run(begun.process, begun.served)
        if foreseen is None or not foreseen.draws_alike(call.execution):
            return None
        if foreseen.is_over and not foreseen.is_ready:
            raise Stale([], seed=foreseen.seed)  # it runs again, as if nothing had been foreseen
        foreseen.served.is_ahead, foreseen.served.was_ahead = False, True
        foreseen.process.tell_taken(foreseen.served)  # now: calls that are sent before it ends are to find what it wrote
        return _Run(foreseen.process, foreseen.served, foreseen)

    def _worker(self, call: CallHost, *, alone: bool) -> Process:
        """The worker that is to run it. Raises ComponentCrashed where none can be made."""
        env, facts = self._env() if self._has_env else {}, call.execution.facts
        try:
            return self.pool.alone(env) if alone else self.pool.process(env, facts.get(self._key))
        except (OSError, Unhealthy) as error:
            raise self._unmade(call, error) from None

    async def _mended(self, call: CallHost, process: Process) -> Process:
        """One that is stuck, when it has stopped what it ran, or another."""
        try:
            return await self.pool.mended(process, self._env() if self._has_env else {})
        except (OSError, Unhealthy) as error:
            raise self._unmade(call, error) from None

    def _unmade(self, call: CallHost, error: Exception) -> ComponentCrashed:
        return ComponentCrashed(self._instance.path, call.callee.name, f"no worker can be made: {error}")

    def _sent(self, call: CallHost, process: Process, remembers: Remembers, seed: int, *, alone: bool) -> _Run:
        """A new run of the call."""
        execution = call.execution
        if alone or self.pool.size > 1:
            execution.facts[self._key] = process
        if self._has_env and process.env != (env := self._env()):
            process.set_env(env)
        served = Served(call.callee.label, process, cpu_left(call), remembers)
        process.begin(served, self._frame(call.callee, call.args, execution, seed, served, call, over_at(call), remembers))
        return _Run(process, served)

    def _look_ahead(self, call: CallHost, key: bytes | None, process: Process, served: Served) -> None:
        """A mutation has ended well: have the one run that is expected after it, if one is."""
        foresight, entropy = self._foresight, call.execution.services.entropy
        if not foresight.expects(key, process, served, entropy) or key is None or self.pool.size > 1 or self.pool.is_due(process):
            return
        callee = call.callee
        expected = Served(callee.label, process, CPU_MAX, True)
        if foresight.around is None:
            frame = self._frame(callee, call.args, call.execution, 0, expected, None, None, True)
            foresight.around = encode_around(["ahead", 0, *frame], _SEED_AT)
        foresight.foresee(key, process, expected, entropy)

    def _seen(self, failed: BaseException, process: Process, served: Served, callee: Callee) -> BaseException:
        """What an error of a call is to its caller, and what it means for the worker."""
        if isinstance(failed, DeadlineExceeded):
            if served.has_spun:
                self.pool.let_go(process)  # it was interrupted, in whatever that was
        elif isinstance(failed, MemoryError):
            self.pool.let_go(process)  # it is too full to be of use
        elif isinstance(failed, Refused):
            return ComponentCrashed(self._instance.path, callee.name, str(failed))
        elif isinstance(failed, FrameError):
            process.kill(f"it broke the protocol: {failed}", served)
            return ComponentCrashed(self._instance.path, callee.name, f"it broke the protocol: {failed}")
        return failed

    @staticmethod
    def _expire(process: Process, served: Served, call: CallHost) -> None:
        call.is_stopped = True
        process.expire(served, DeadlineExceeded(call.callee.label, "wall time", call.wall_max))


def _pages_of(call: CallHost) -> dict[str, str]:
    journal = call.execution.journal or {}
    before = f"{call.path}|"
    return {place.removeprefix(before): mark for place, mark in journal.items() if place.startswith(before)}
