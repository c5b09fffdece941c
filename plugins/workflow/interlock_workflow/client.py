"""The typed face of the component: what an app imports.

It runs in the app: it makes workflows of functions, runs them turn by turn when the component asks, and calls the component
through the mount that it was given.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, overload

from interlock import (
    ActionCtx,
    AppError,
    DeadlineExceeded,
    Function,
    InterlockError,
    LimitExceeded,
    MutationCtx,
    Page,
    PaginationOptions,
    QueryCtx,
    Reference,
    Validator,
    from_text,
    mutation,
    reference,
    to_text,
)
from interlock_workflow.budgets import FIRST
from interlock_workflow.determinism import check_handler, names_its_steps
from interlock_workflow.errors import facts_of, typed
from interlock_workflow.step import Call, Event, WorkflowStep, check_is_workflow
from interlock_workflow.turn import Entry, Handler, Turn, entries_of
from interlock_workflow.waiting import WAITING
from interlock_workpool import Retry
from interlock_workpool.client import callback_of, name_of, seconds, time_of

P = ParamSpec("P")
R = TypeVar("R")
Reader = QueryCtx | ActionCtx
Writer = MutationCtx | ActionCtx
WorkflowId = str
EventId = str
Type = Literal["in_progress", "paused", "completed", "failed", "canceled"]
Decorator = Callable[..., Any]
_turn: ContextVar[Turn | None] = ContextVar("turn", default=None)  # the one that is being taken
RECORD_BYTES = 3 << 20  # that a record may have beyond what a turn may write: the component's transaction has so much more
LOOKED_AT_EVERY = 8  # steps, to see what is left of the transaction's limits


@dataclass(frozen=True, slots=True)
class StepInfo:
    """One recorded step. `error` has `type`, `message` and, of an `AppError`, `data`. Times are ms since the epoch."""

    number: int
    key: str
    name: str
    kind: str
    state: Literal["running", "success", "failed", "canceled"]
    at: float
    ended: float | None = None
    args: Any = None
    result: Any = None
    error: Mapping[str, Any] | None = None
    child: WorkflowId | None = None
    event: EventId | None = None


@dataclass(frozen=True, slots=True)
class WorkflowStatus:
    """A run. `result` is there when it is completed, `error` (`type`, `message`, `data`, `traceback`) when it has failed; `running`
    are the steps in progress. `stalled` says why it cannot go on."""

    id: WorkflowId
    type: Type
    name: str
    result: Any = None
    error: Mapping[str, Any] | None = None
    running: list[StepInfo] = field(default_factory=list)
    args: Any = None
    version: int | None = None
    generation: int = 0
    steps: int = 0
    started: float = 0.0
    ended: float | None = None
    key: str | None = None
    parent: WorkflowId | None = None
    stalled: str | None = None
    on_complete_error: str | None = None

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> WorkflowStatus:
        """From what the component says."""
        told = dict(facts)
        state = told.pop("state")
        told["running"] = [StepInfo(**step) for step in told.get("running", ())]
        return cls(type="in_progress" if state == "running" else state, **told)


class Definition:
    """A workflow's function, in all versions that runs in flight may need."""

    def __init__(self, versions: Mapping[int, Function[..., Any]], version: int, default_retry: Retry, retries: bool) -> None:
        self.versions, self.version, self.default_retry, self.retries = versions, version, default_retry, retries
        self._is_plain: bool | None = None  # until it is first looked at, when its module is whole

    def of(self, version: int | None) -> Function[..., Any]:
        """The function of a version. Raises AppError when the code no longer has it."""
        function = self.versions.get(self.version if version is None else version)
        if function is None:
            known = ", ".join(map(str, sorted(self.versions)))
            message = f"the code has version {known} of this workflow, and this run began with {version}: keep it in define(earlier=…)"
            raise AppError({"code": "NO_VERSION", "message": message})
        return function

    async def look(self, ctx: Writer, args: dict[str, Any]) -> None:
        """Run the function up to its first step, and do nothing. Raises what is wrong with the arguments and with references."""
        function = self.of(None)
        if self._is_plain is None:
            self._is_plain = names_its_steps(function.handler, _is_plain_function)
        if self._is_plain:  # its first step is known to be there
            function.check_arguments(args)
            return
        turn = Turn("", "", ctx.now(), [], local="later")
        await turn.drive(function.handler, function.check_arguments(args), _Looking(ctx, self), function.check_result)

    async def take_turn(self, ctx: MutationCtx, mount: Any, run: Mapping[str, Any]) -> dict[str, Any]:
        """Run the function for the component; `cold` when it is to be replayed, and the record is needed for it."""
        version = run["version"]
        version = self.version if version is None else version
        function = self.of(version)
        entries = [Entry(**entry) for entry in run["entries"]]
        starts = max(1, 2 * int(run["most"]))
        doing = _Doing(ctx, mount, self, run["most"])
        turn = None
        if "waits" in run:
            turn = WAITING.take(self, run["waits"], run["workflow"], run["number"])
            if turn is None:
                return {"status": "cold"}
            going = turn.go_on(ctx.now(), entries, doing, function.check_result, local=run["local"], starts=starts)
        else:
            for page in run["pages"]:
                entries += entries_of(page["at"], page["entries"])
            args = function.check_arguments(from_text(run["args"]))
            turn = Turn(run["workflow"], run["seed"], ctx.now(), entries, local=run["local"], starts=starts, number=run["number"])
            going = turn.drive(function.handler, args, doing, function.check_result, may_wait=True)
        token = _turn.set(turn)
        try:
            outcome = await going
        finally:
            _turn.reset(token)
        result = {**outcome.to_result(run["number"]), "version": version}
        if turn.is_waiting and (name := WAITING.keep(self, turn)) is not None:
            result["waits"] = name
        return result

    def policy(self, retry: Retry | bool | None) -> Retry | None:
        """How a step is to be retried."""
        if isinstance(retry, Retry):
            return retry
        wanted = self.retries if retry is None else retry
        return self.default_retry if wanted else None


class _Doing:
    """Does the steps of a turn in the transaction that it runs in."""

    def __init__(self, ctx: MutationCtx, mount: Any, definition: Definition, most: int) -> None:
        self._ctx, self._mount, self._definition = ctx, mount, definition
        self._most, self._done = most, 0

    async def run(self, call: Call) -> None:
        self._done += 1
        ref = _limited(call)
        try:
            if call.kind == "query":
                call.value = await self._ctx.run_query(ref, **call.args)
            else:
                call.value = await self._ctx.run_mutation(ref, **call.args)
            call.state = "success"
        except (LimitExceeded, DeadlineExceeded):
            raise  # it may have been the steps before: the turn is taken again with fewer
        except Exception as error:
            call.state, call.error = "failed", facts_of(error)

    async def to_start(self, call: Call) -> dict[str, Any]:
        options = call.options
        start: dict[str, Any] = {}
        if options.run_after is not None:
            start["run_at"] = self._ctx.now() + seconds("run_after", options.run_after) * 1000.0
        elif options.run_at is not None:
            start["run_at"] = time_of(options.run_at)
        if call.kind in ("sleep", "event"):
            return {**start, **call.args}
        assert call.ref is not None
        try:
            start["handle"] = await self._ctx.function_handle(call.ref)
            if call.kind == "workflow":
                return {**start, **_child(call), "name": name_of(call.ref) or call.name}
        except InterlockError as error:
            return {"error": to_text(facts_of(error))}
        policy = self._definition.policy(options.retry) if call.kind == "action" else None
        if policy is not None:
            start["retry"] = policy.to_policy()
        if options.timeout is not None:
            start["timeout"] = seconds("timeout", options.timeout)
        return start

    async def long_value(self, entry: Entry) -> str:
        text: str = await self._ctx.run_query(self._mount.step_value, step_id=entry.id)
        return text

    def is_full(self) -> bool:
        if self._done >= self._most or self._done % LOOKED_AT_EVERY or not self._done:
            return self._done >= self._most
        metrics = self._ctx.metrics()
        return any(used > metrics.remaining[name] for name, used in metrics.used.items())

    def room(self) -> int:
        return int(self._ctx.metrics().remaining["bytes_written"]) + RECORD_BYTES

    def log(self, level: str, text: str) -> None:
        getattr(self._ctx.log, level)(text)


class _Looking:
    """Does nothing, but says where a reference leads nowhere."""

    def __init__(self, ctx: Writer, definition: Definition) -> None:
        self._ctx, self._definition = ctx, definition

    async def run(self, call: Call) -> None:
        raise AssertionError("a look does no steps")

    async def to_start(self, call: Call) -> dict[str, Any]:
        if call.ref is not None and not isinstance(call.ref, Function):
            await self._ctx.function_handle(call.ref)
        return _child(call) if call.kind == "workflow" else {}

    async def long_value(self, entry: Entry) -> str:
        raise AssertionError("a run that has not begun has no record")

    def is_full(self) -> bool:
        return False

    def room(self) -> int:
        return sys.maxsize

    def log(self, level: str, text: str) -> None: ...


def _limited(call: Call) -> Reference | str:
    assert call.ref is not None
    if call.options.limits is None:
        return call.ref
    ref = reference(call.ref) if isinstance(call.ref, str) else call.ref
    return ref.options(limits=call.options.limits)


def _child(call: Call) -> dict[str, Any]:
    definition = definition_of(call.ref)
    if definition is None:
        return {}
    definition.of(None).check_arguments(call.args)
    return {"version": definition.version}


def _is_plain_function(ref: Any) -> bool:
    return isinstance(ref, Function) and definition_of(ref) is None


def definition_of(ref: Reference | str | None) -> Definition | None:
    """The definition behind a reference, if it is the decorated function itself."""
    found = getattr(ref, "workflow", None)
    return found if isinstance(found, Definition) else None


class WorkflowManager:
    """Workflows on one mount: `workflows = WorkflowManager(components.workflow)`.

    `max_parallelism` is how many steps run at once in its pool (10); queries and mutations that share a turn's transaction do
    not count. Actions are retried by `default_retry` when `retry_actions_by_default`, or where a step says so. In a component,
    give its decorator: `WorkflowManager(components.workflow, mutation=component.mutation)`.
    """

    def __init__(
        self,
        component: Any,
        *,
        max_parallelism: int | None = None,
        default_retry: Retry | None = None,
        retry_actions_by_default: bool = False,
        mutation: Decorator = mutation,
    ) -> None:
        if max_parallelism is not None and not 0 <= max_parallelism <= 200:
            raise ValueError(f"max_parallelism must be from 0 (which pauses) to 200, got {max_parallelism}")
        self._mount = component
        self._sizing = {} if max_parallelism is None else {"max_parallelism": max_parallelism}
        self.default_retry = default_retry if default_retry is not None else Retry(max_attempts=5, initial_backoff=0.5, base=2)
        self._retries = retry_actions_by_default
        self._decorate = mutation

    # defining

    @overload
    def define(self, handler: Callable[Concatenate[WorkflowStep, P], Coroutine[Any, Any, R]], /) -> Function[..., Any]: ...
    @overload
    def define(
        self,
        /,
        *,
        version: int = 1,
        earlier: Mapping[int, Handler] | None = None,
        retry: Retry | None = None,
        retry_actions_by_default: bool | None = None,
        name: str | None = None,
    ) -> Callable[[Callable[Concatenate[WorkflowStep, P], Coroutine[Any, Any, R]]], Function[..., Any]]: ...
    def define(
        self,
        handler: Any = None,
        /,
        *,
        version: int = 1,
        earlier: Mapping[int, Handler] | None = None,
        retry: Retry | None = None,
        retry_actions_by_default: bool | None = None,
        name: str | None = None,
    ) -> Any:
        """Make a workflow of `async def (step, …)`: annotations check arguments and result.

        Runs stay with the `version` of the code that they began with; `earlier` keeps the functions of older ones. `retry`
        is this workflow's policy for actions, and turns retries on. Raises TypeError for a function that uses clocks,
        chance, files or threads.
        """

        def decorate(handler: Handler) -> Function[..., Any]:
            versions = {**(earlier or {}), version: handler}
            for written in versions.values():
                check_handler(written)
            known = {number: Function(written, "mutation", internal=True) for number, written in versions.items()}
            retries = retry_actions_by_default
            if retries is None:
                retries = self._retries or retry is not None
            definition = Definition(known, version, retry if retry is not None else self.default_retry, retries)

            async def run_workflow(ctx: MutationCtx, args: dict[str, Any] | None = None, run: dict[str, Any] | None = None) -> Any:
                if run is None:
                    return await self.start(ctx, decorated, args)
                return await definition.take_turn(ctx, self._mount, run)

            run_workflow.__name__ = run_workflow.__qualname__ = name or handler.__name__
            run_workflow.__doc__ = handler.__doc__
            run_workflow.__module__ = handler.__module__
            decorated: Function[..., Any] = self._decorate(internal=True, name=name or handler.__name__)(run_workflow)
            decorated.workflow = definition  # type: ignore[attr-defined]
            return decorated

        return decorate if handler is None else decorate(handler)

    # beginning

    async def start(
        self,
        ctx: Writer,
        ref: Reference | str,
        args: Mapping[str, Any] | None = None,
        *,
        on_complete: Reference | str | None = None,
        context: Any = None,
        key: str | None = None,
        keep_for: float | timedelta | None = None,
        run_after: float | timedelta | None = None,
        run_at: float | datetime | None = None,
        start_async: bool = False,
    ) -> WorkflowId:
        """Begin a run, and give its id. It is part of the transaction.

        The queries and mutations that it begins with are done when the function that the transaction began with has
        returned, in the same transaction if they fit into it; otherwise, or with `start_async`, when that stands. The
        workflow is run up to its first step here too, and that is forgotten again: so wrong arguments and references are
        raised here; not with `start_async`, or when `ref` is not the decorated function itself. `on_complete` is a
        mutation `(ctx, workflow_id, result, context)`, called once in the transaction in which the run ends. With a `key`,
        a run of that key which is there already is the one that you get. `keep_for` seconds after its end a run is removed;
        without, when you say so.
        """
        if run_after is not None and run_at is not None:
            raise TypeError("give run_after or run_at, not both")
        check_is_workflow(ref, "start")
        given = dict(args or {})
        definition = definition_of(ref)
        options: dict[str, Any] = {**self._sizing}
        if start_async:
            options["at_once"] = False
        if definition is not None:
            if not start_async:
                await definition.look(ctx, given)
            options["version"] = definition.version
        if on_complete is not None:
            options |= {"on_complete": await callback_of(ctx, on_complete), "context": context}
        if key is not None:
            options["key"] = key
        if keep_for is not None:
            options["keep_for"] = seconds("keep_for", keep_for)
        if run_after is not None:
            options["run_at"] = ctx.now() + seconds("run_after", run_after) * 1000.0
        elif run_at is not None:
            options["run_at"] = time_of(run_at)
        handle = await ctx.function_handle(ref)
        begins = key is None and not start_async and "run_at" not in options and isinstance(ctx, MutationCtx)
        if begins:
            options["begins"] = True
        id: WorkflowId = await ctx.run_mutation(self._mount.start, name=name_of(ref), handle=handle, args=to_text(given), **options)
        if begins:  # planned here, where it is no crossing
            await ctx.scheduler.run_after(0, self._begin, workflow_id=id)
        return id

    @cached_property
    def _begin(self) -> Reference:
        begin: Reference = self._mount.begin.options(at_once=True, limits=FIRST)
        return begin

    # looking

    async def status(self, ctx: Reader, id: WorkflowId) -> WorkflowStatus:
        """A run and its steps in progress. In a query it is live. Raises `WorkflowNotFound`."""
        return WorkflowStatus.of(await self._ask(ctx, "get_status", workflow_id=id))

    async def find(self, ctx: Reader, key: str) -> WorkflowId | None:
        """The run of a key."""
        found: WorkflowId | None = await self._ask(ctx, "find", key=key)
        return found

    async def list(
        self,
        ctx: Reader,
        *,
        name: Reference | str | None = None,
        state: Type | None = None,
        key_prefix: str | None = None,
        order: Literal["asc", "desc"] = "asc",
        pagination: PaginationOptions | None = None,
    ) -> Page[WorkflowStatus]:
        """Runs, a page at a time: all, of a workflow, in a state, or whose key begins with something. Their results are in `status`.

        A `state` is what the `type` of a status is: "in_progress", "paused", "completed", "failed" or "canceled".
        """
        asked = "running" if state == "in_progress" else state
        chosen = {"name": None if name is None else name_of(name), "state": asked, "key_prefix": key_prefix}
        given = {option: value for option, value in chosen.items() if value is not None}
        page = await self._ask(ctx, "list", pagination_opts=_page(pagination), order=order, **given)
        return Page.from_arguments(page).map(WorkflowStatus.of)

    async def list_by_name(
        self,
        ctx: Reader,
        name: Reference | str,
        *,
        order: Literal["asc", "desc"] = "asc",
        pagination: PaginationOptions | None = None,
    ) -> Page[WorkflowStatus]:
        """The runs of one workflow."""
        return await self.list(ctx, name=name, order=order, pagination=pagination)

    async def list_steps(
        self, ctx: Reader, id: WorkflowId, *, order: Literal["asc", "desc"] = "asc", pagination: PaginationOptions | None = None
    ) -> Page[StepInfo]:
        """The recorded steps of a run, with arguments and results."""
        page = await self._ask(ctx, "list_steps", workflow_id=id, pagination_opts=_page(pagination), order=order)
        return Page.from_arguments(page).map(lambda step: StepInfo(**step))

    async def history(self, ctx: Reader, id: WorkflowId) -> dict[str, Any]:
        """The whole record of a run, as values: keep it in a file, and `replay` it in a test."""
        found: dict[str, Any] = await self._ask(ctx, "history", workflow_id=id)
        return found

    # stopping, and beginning again

    async def cancel(self, ctx: Writer, id: WorkflowId) -> None:
        """End a run, and the runs that it has started. Raises `WorkflowEnded`."""
        await self._tell(ctx, "cancel", workflow_id=id)
        turn = _turn.get()
        if turn is not None and turn.workflow_id == id:
            turn.is_stopped = True  # a step of the run itself has canceled it

    async def pause(self, ctx: Writer, id: WorkflowId) -> None:
        """Let a run do nothing further until `resume`; steps in progress go on. Raises `WorkflowEnded`."""
        await self._tell(ctx, "pause", workflow_id=id)

    async def resume(self, ctx: Writer, id: WorkflowId) -> None:
        """Let it go on. Raises `WorkflowEnded`."""
        await self._tell(ctx, "resume", workflow_id=id)

    async def restart(self, ctx: Writer, id: WorkflowId, *, from_step: int | str | Reference | None = None) -> None:
        """Run a run that has ended again. What is recorded before `from_step` (its number, or the last one of a name) is not done
        again; without it, all that is recorded. Raises `WorkflowRunning`, `UnknownStep`.
        """
        await self._tell(ctx, "restart", workflow_id=id, **_begin(from_step))

    async def fork(self, ctx: Writer, id: WorkflowId, *, from_step: int | str | Reference | None = None) -> WorkflowId:
        """A new run with the same arguments and what is recorded before `from_step`; the old one stays as it is, and keeps its
        key and its `on_complete` for itself."""
        new: WorkflowId = await self._tell(ctx, "fork", workflow_id=id, **_begin(from_step))
        return new

    async def cleanup(self, ctx: Writer, id: WorkflowId, *, force: bool = False) -> bool:
        """Remove a run with all that belongs to it; False if it is gone already, or running and not `force`d."""
        done: bool = await self._tell(ctx, "cleanup", workflow_id=id, force=force)
        return done

    # events

    async def create_event(self, ctx: Writer, name: str, workflow_id: WorkflowId) -> EventId:
        """An event of its own, to be sent and waited for by its id: for a link in a mail, say."""
        id: EventId = await self._tell(ctx, "create_event", workflow_id=workflow_id, name=name)
        return id

    async def send_event(
        self,
        ctx: Writer,
        event: Event | str | None = None,
        *,
        workflow_id: WorkflowId | None = None,
        name: str | None = None,
        id: EventId | None = None,
        value: Any = None,
        error: str | None = None,
        validator: Any = None,
    ) -> bool:
        """Send an event to a run by its name, or by the id of one made by `create_event`; with `error`, waiting for it raises.

        False if the run has ended: then nothing is kept. An event that nobody waits for yet is taken later, in order. Raises
        `ValueRefused` for a value that is not what the event carries, `EventAlreadySent`, `WorkflowNotFound`.
        """
        named = event.name if isinstance(event, Event) else event if event is not None else name
        if id is None and (workflow_id is None or named is None):
            raise TypeError("an event is sent to a workflow_id by its name, or by its id")
        if error is not None and value is not None:
            raise TypeError("an event carries a value or an error, not both")
        checker = event.validator if isinstance(event, Event) else None if validator is None else Validator(validator)
        carried = {"error": to_text({"type": "Event", "message": error, "data": error})} if error is not None else {"value": to_text(value)}
        if error is None and checker is not None:
            checker.check(value)
        where = {"event_id": id} if id is not None else {"workflow_id": workflow_id, "name": named}
        taken: bool = await self._tell(ctx, "send_event", **where, **carried)
        return taken

    # the pool

    async def resize_pool(self, ctx: Writer, max_parallelism: int | None) -> None:
        """How many steps may run at once in the pool, whatever the code says, until set again; None: as the code says. 0 pauses."""
        await self._tell(ctx, "resize_pool", max_parallelism=max_parallelism)

    async def pause_pool(self, ctx: Writer) -> None:
        """Start no steps in the pool until `resume_pool`."""
        await self._tell(ctx, "pause_pool")

    async def resume_pool(self, ctx: Writer) -> None:
        """Start steps again."""
        await self._tell(ctx, "resume_pool")

    async def _ask(self, ctx: Reader, function: str, **args: Any) -> Any:
        try:
            return await ctx.run_query(self._mount[function], **args)
        except AppError as error:
            raise typed(error) from None

    async def _tell(self, ctx: Writer, function: str, **args: Any) -> Any:
        try:
            return await ctx.run_mutation(self._mount[function], **args)
        except AppError as error:
            raise typed(error) from None


def _begin(from_step: int | str | Reference | None) -> dict[str, int | str]:
    """From where a record is to be done again. Raises TypeError for what names no step."""
    if from_step is None:
        return {}
    if isinstance(from_step, bool) or not isinstance(from_step, int | str | Reference):
        raise TypeError(f"from_step is the number of a step, its name or its function, not {from_step!r}")
    return {"from_step": from_step if isinstance(from_step, int | str) else name_of(from_step)}


def _page(pagination: PaginationOptions | None) -> PaginationOptions:
    return pagination if pagination is not None else PaginationOptions(num_items=100)
