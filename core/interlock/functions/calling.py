"""Calling one function from another: who may call what, in which layer, with how much of the budget.

The arguments are validated before the layer begins, the result before it is folded; a call that raises leaves nothing but
its reads.

Start at `call_below`; `perform` runs any call, `check_kind` says what may be called.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from interlock.engine import Transaction
from interlock.engine.budget import COUNTED
from interlock.engine.made import Made
from interlock.errors import AppError, CallRefused, DeadlineExceeded, FunctionAborted, InterlockError, LimitExceeded, WrongFunctionKind
from interlock.functions.call import BUSY, ENDED, Call, Share
from interlock.functions.watchdog import Overtime
from interlock.hooks import Call as ObservedCall
from interlock.hooks import Outcome
from interlock.limits import LIMITS, Limits
from interlock.sdk.host import Kind, Target
from interlock.values import normalize, size_of

if TYPE_CHECKING:
    from interlock.functions.call_host import CallHost
    from interlock.functions.runner import Begun
    from interlock.functions.scope import Callee
    from interlock.functions.transaction_host import TransactionHost
    from interlock.hooks import Hooks

WALL: Final = LIMITS["transaction_wall"].value
_CPU: Final = LIMITS["transaction_cpu"].value
DEPTH_MAX: Final = int(LIMITS["call_depth"].value)
_RESULT_BYTES: Final = int(LIMITS["result_bytes"].value)
_FEW: Final = 32
_SHORT: Final = 10_000
_FLAT: Final = frozenset({int, float, bool, type(None)})
_MAY_CALL: Final[dict[Kind, frozenset[Kind]]] = {
    "query": frozenset({"query"}),
    "mutation": frozenset({"query", "mutation"}),
    "action": frozenset({"query", "mutation", "action"}),
}
_INSTEAD: dict[tuple[Kind, Kind], str] = {
    ("query", "mutation"): "a query writes nothing, so it cannot call a mutation. Make the caller a mutation.",
    ("query", "action"): "a query cannot call an action. Call it from an action, or from the client.",
    ("mutation", "action"): "a mutation cannot call an action, which could not be undone with it. "
    "Schedule it: ctx.scheduler.run_after(0, …) runs it when the mutation has committed.",
}


def check_kind(caller: Callee, callee: Callee, kind: Kind) -> None:
    """Refuse what a function of the caller's kind may not call, and a function that is called as another kind than it is."""
    if callee.kind != kind:
        raise WrongFunctionKind(callee.label, kind, callee.kind)
    if kind not in _MAY_CALL[caller.kind]:
        raise CallRefused(callee.label, _INSTEAD[caller.kind, kind])


def too_deep(caller: Call, callee: Callee) -> CallRefused:
    """The refusal of one call too many, with the way that led there."""
    return CallRefused(callee.label, f"calls and triggers are nested at most {DEPTH_MAX} deep: {caller.chain} → {callee.label}.")


async def perform(call: CallHost) -> Any:
    """Run a function and give its result, validated. When it is over, so is its context."""
    made = begin_to_perform(call)
    return made.value if type(made) is Made else await made  # type: ignore[misc]


def begin_to_perform(call: CallHost) -> Made[Any] | Awaitable[Any]:
    """`perform`, its result given at once where nothing is waited for: it is then all done, and one coroutine less."""
    try:
        made = call.callee.scope.runner.start(call)
    except GeneratorExit:
        call.end()  # whoever drove it is gone: nothing can be waited for
        raise
    except BaseException as error:
        if call.state != BUSY and call.untold is None:
            call.end()
            if isinstance(error, AppError):
                refuse_large(error)
            elif _is_own_doing(error, call):
                raise FunctionAborted(call.callee.label, repr(error)) from error
            raise
        made = _raise(error)
    if type(made) is Made:
        if call.state != BUSY and (call.untold is None or _leaves(call)):
            return Made(_result(call, made.value))
        return _go_on(call, _give(made.value))
    return _go_on(call, made)  # type: ignore[arg-type]


async def _go_on(call: CallHost, running: Awaitable[Any]) -> Any:
    """`perform` from where it first waits."""
    raised: BaseException | None = None
    result: Any = None
    try:
        result = await running
        if call.unbegun:
            raise call.forgotten()  # not after what has begun: that one would be given no turn any more
        if call.state == BUSY:
            await call.settle()
        if call.untold is not None and not _leaves(call):
            await call.tell_at_end()
    except GeneratorExit:
        call.end()  # whoever drove it is gone: nothing can be waited for
        raise
    except BaseException as error:
        raised = error
    if raised is not None:
        try:
            await _fail(call, raised)
        finally:
            raised = None  # its traceback holds this frame: together they would wait for the collector
    return _result(call, result)


async def _fail(call: CallHost, raised: BaseException | None) -> None:
    """The end of a call that has raised something, which is raised again as its caller gets it."""
    try:
        if call.state == BUSY:
            await call.settle()
    finally:
        call.end()
    untold, call.untold = call.untold, None
    if untold is not None and untold.failure is not None and isinstance(raised, Exception):
        raised = untold.failure
    assert raised is not None, "something was raised"
    try:
        if isinstance(raised, AppError):
            refuse_large(raised)
        elif _is_own_doing(raised, call):
            raise FunctionAborted(call.callee.label, repr(raised)) from raised
        raise raised
    finally:
        raised = None  # its traceback holds this frame: together they would wait for the collector


def _leaves(call: CallHost) -> bool:
    """Whether somebody else has its triggers told, once it has ended."""
    untold = call.untold
    return call.depth == 0 and call.execution.leaves_untold and untold is not None and untold.failure is None


async def tell_last(call: CallHost) -> None:
    """Tell the triggers of a call that has given its result, and has left them untold."""
    raised: BaseException | None = None
    try:
        await call.tell_at_end()
    except GeneratorExit:
        call.end()
        raise
    except BaseException as error:
        raised = error
    if raised is not None:
        try:
            await _fail(call, raised)
        finally:
            raised = None  # its traceback holds this frame
    call.end()


def _result(call: CallHost, result: Any) -> Any:
    """The end of a call that has given a result."""
    if call.queue:
        call.end()
    else:
        call.state = ENDED
    if call.unbegun:
        raise call.forgotten()
    callee = call.callee
    return None if callee.is_trigger else callee.check_result(result)


async def _give(result: Any) -> Any:
    return result


async def _raise(error: BaseException) -> Any:
    raise error


def _is_own_doing(error: BaseException, call: Call) -> bool:
    """Whether the function itself raised what would end more than its call: SystemExit the loop, a cancellation the caller's task."""
    if isinstance(error, Exception | KeyboardInterrupt | Overtime):
        return False
    if isinstance(error, asyncio.CancelledError):
        if call.was_stopped:
            return False
        task = asyncio.current_task()
        return task is None or not task.cancelling()  # nobody outside has cancelled anything
    return True


def begin_below(call: CallHost) -> Made[Any] | Awaitable[Any]:
    """`begin_to_perform` for a call inside a call, of which observers are told if there are any."""
    hooks = call.execution.services.observers
    return begin_to_perform(call) if hooks is None else _perform_observed(call, hooks)


async def _perform_observed(call: CallHost, hooks: Hooks) -> Any:
    facts = ObservedCall(call.callee.info, call.execution.caller.request_id, "function", call.depth)
    hooks.call_started(facts)
    started = time.perf_counter()
    error: BaseException | None = None
    try:
        return await perform(call)
    except BaseException as raised:
        error = raised
        raise
    finally:
        hooks.call_finished(facts, Outcome((time.perf_counter() - started) * 1000.0, error))


async def call_below(caller: TransactionHost, callee: Callee, args: Mapping[str, Any], target: Target, begun: Begun | None = None) -> Any:
    """A query or mutation called by another one, in its transaction; `begun` if it was sent off before its turn."""
    if caller.depth >= DEPTH_MAX:
        raise too_deep(caller, callee)
    is_mutation = callee.kind == "mutation"
    if is_mutation and (target.stale or caller.is_stale):
        raise CallRefused(callee.label, "it is a mutation, and a stale snapshot cannot be written to. stale=True is for queries.")
    call = caller.below(callee, callee.check_args(args), stale=target.stale and caller.tx.writable)
    call.begun = begun
    limits = callee.scope.limits if callee.scope is not caller.callee.scope else None
    if not is_mutation:
        try:
            if limits is None and target.limits is None:
                made = begin_below(call)
                return made.value if type(made) is Made else await made  # type: ignore[misc]
            return await perform_within(call, call.tx, limits, target.limits)
        except AppError as error:
            if callee.scope is not caller.callee.scope:
                raise plain(error) from error
            raise
        finally:
            if call.tx.is_gone:
                caller.tx.view.is_gone = True  # a stale view is as old as its transaction
    tx = caller.tx
    mark = tx.begin_layer()
    try:
        if limits is None and target.limits is None:
            made = begin_below(call)
            result: Any = made.value if type(made) is Made else await made  # type: ignore[misc]
        else:
            result = await perform_within(call, tx, limits, target.limits)
    except AppError as error:
        tx.drop_layer(mark)
        if callee.scope is not caller.callee.scope:
            raise plain(error) from error
        raise
    except BaseException:
        tx.drop_layer(mark)
        raise
    tx.fold_layer(mark)
    return result


def transact(call: TransactionHost, deadline_ms: float, limits: Limits | None) -> Made[Any] | Awaitable[Any]:
    """Run the top-level function of a transaction, within its time and its mount's share."""
    call.deadline_ms, call.wall_max, call.cpu_max = deadline_ms, WALL, _CPU
    share = call.callee.scope.limits
    return begin_to_perform(call) if limits is None and share is None else perform_within(call, call.tx, share, limits)


def refuse_large(error: AppError) -> None:
    """Raise LimitExceeded for one whose data is larger than a result may be: it goes where a result would have gone."""
    data = error.data
    kind = type(data)
    if kind is str or kind is bytes:
        if len(data) <= _RESULT_BYTES // 4:
            return
    elif kind is dict:
        if len(data) <= _FEW and all([type(item) in _FLAT or (type(item) is str and len(item) <= _SHORT) for item in data.values()]):
            return
    elif kind is not list and kind is not tuple:
        return
    try:
        size = size_of(normalize(data))  # that refuses what holds itself
    except InterlockError:
        return  # no value at all, which is said where it crosses
    if size > _RESULT_BYTES:
        raise LimitExceeded("result_bytes", size, _RESULT_BYTES) from error


def plain(error: AppError) -> AppError:
    """An author's error as it crosses a component boundary: its data, copied, and nothing of its class. Its cause is for the log."""
    crossed = AppError(normalize(error.data))
    crossed.__cause__ = error  # said here too: compiled code does not know `raise … from`
    return crossed


async def perform_within(call: CallHost, tx: Transaction | None, share: Limits | None, limits: Limits | None) -> Any:
    """`perform` with what is left of the mount's share, and with no more than the limits of this call."""
    with mount_share(call, tx, share), narrowed(call, tx, limits):
        made = begin_below(call) if call.is_nested else begin_to_perform(call)
        return made.value if type(made) is Made else await made  # type: ignore[misc]


@contextmanager
def narrowed(call: Call, tx: Transaction | None, limits: Limits | None) -> Iterator[None]:
    """Give a call less than its caller has. What it uses counts for the caller too, who gets the rest back."""
    if limits is None:
        yield
        return
    if limits.deadline is not None:
        deadline_ms = call.execution.services.clock.now_ms() + limits.deadline * 1000.0
        if call.deadline_ms is None or deadline_ms < call.deadline_ms:
            call.deadline_ms, call.wall_max = deadline_ms, limits.deadline
    if limits.cpu is not None and (call.cpu_max is None or limits.cpu < call.cpu_max):
        call.cpu_max = limits.cpu
    log = call.execution.log
    lines = log.lower(limits.logs) if limits.logs is not None else log.maximum
    maximum = tx.budget.lower(limits) if tx is not None else None
    try:
        yield
    finally:
        log.maximum = lines
        if tx is not None and maximum is not None:
            tx.budget.restore(maximum)


@contextmanager
def mount_share(call: Call, tx: Transaction | None, limits: Limits | None) -> Iterator[None]:
    """Give a call into a mount what is left of the mount's share in this execution."""
    if limits is None:
        yield
        return
    shares = call.execution.shares
    if shares is None:
        shares = call.execution.shares = {}
    share = shares.setdefault(call.callee.scope.path, Share())
    if share.is_open:
        yield  # called back by something that it called: the outer call counts
        return
    if limits.cpu is not None and share.cpu >= limits.cpu:
        raise DeadlineExceeded(call.callee.label, "CPU time", limits.cpu)
    used = share.used
    left = {name: max(0, value - used.get(name, 0)) for name in COUNTED if (value := getattr(limits, name)) is not None}
    rest = replace(
        limits,
        **left,
        cpu=None if limits.cpu is None else limits.cpu - share.cpu,
        logs=None if limits.logs is None else max(0, limits.logs - share.lines),
    )
    before = tx.budget.used.as_dict() if tx is not None else {}
    lines = len(call.execution.log.lines)
    share.is_open = True
    try:
        with narrowed(call, tx, rest):
            yield
    finally:
        share.is_open = False
        share.cpu += call.cpu
        share.lines += len(call.execution.log.lines) - lines
        if tx is not None:
            for name, count in tx.budget.used.as_dict().items():
                used[name] = used.get(name, 0) + max(0, count - before[name])
