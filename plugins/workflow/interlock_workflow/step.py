"""What a workflow's function is given: `step`, through which it does everything that is to be done once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any, Literal, NoReturn
from uuid import UUID

from interlock import Function, Limits, Reference, Validator, ValueRefused
from interlock_workflow.errors import NotAStep
from interlock_workpool import Retry

if TYPE_CHECKING:
    from interlock_workflow.turn import Turn

StepKind = Literal["query", "mutation", "action", "workflow", "sleep", "event"]


class Event:
    """An event by name, with what it carries: `approval = Event("approval", bool)`, for both sides."""

    __slots__ = ("name", "validator")

    def __init__(self, name: str, carries: Any = Any) -> None:
        self.name, self.validator = name, Validator(carries)

    def check(self, value: Any) -> Any:
        """The value, checked. Raises ValueRefused."""
        return self.validator.check(value)


@dataclass(frozen=True, slots=True)
class Options:
    """How a step is to be done. None: as the workflow or the pool says."""

    name: str | None = None
    retry: Retry | bool | None = None
    run_after: float | timedelta | None = None
    run_at: float | datetime | None = None
    inline: bool | None = None
    unstable_args: bool = False
    limits: Limits | None = None
    timeout: float | timedelta | None = None


@dataclass(eq=False, slots=True)
class Call:
    """One step that the function has asked for. `future` is what it waits for."""

    kind: StepKind
    key: str
    name: str
    args: dict[str, Any]
    options: Options
    future: asyncio.Future[Any]
    ref: Reference | str | None = None
    validator: Validator | None = None
    is_awaited: bool = False
    # the outcome, once there is one
    state: Literal["", "success", "failed"] = ""
    value: Any = None
    error: dict[str, Any] = field(default_factory=dict)


class StepCall(Coroutine[Any, Any, Any]):
    """A step that was asked for: to be awaited, gathered, or made a task of. It is done whether or not it is awaited."""

    __slots__ = ("_call", "_steps")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._steps: Generator[Any, None, Any] | None = None

    def __await__(self) -> Generator[Any, None, Any]:
        self._call.is_awaited = True
        return (yield from self._call.future.__await__())

    def send(self, value: Any) -> Any:
        if self._steps is None:
            self._steps = self.__await__()
        return self._steps.send(value)

    def throw(self, *error: Any) -> Any:
        if self._steps is None:
            self._steps = self.__await__()
        return self._steps.throw(*error)

    def close(self) -> None:
        if self._steps is not None:
            self._steps.close()


class StepLog:
    """Log lines of a workflow: each is written once, however often the function is replayed."""

    __slots__ = ("_turn",)

    def __init__(self, turn: Turn) -> None:
        self._turn = turn

    def debug(self, text: str) -> None:
        self._turn.note("debug", text)

    def info(self, text: str) -> None:
        self._turn.note("info", text)

    def warning(self, text: str) -> None:
        self._turn.note("warning", text)

    def error(self, text: str) -> None:
        self._turn.note("error", text)


class WorkflowStep:
    """The first parameter of a workflow's function.

    Whatever is called through it is recorded under a name, and done once: when the function is replayed it gets what was
    recorded. Two steps of one name are told apart by their order.
    """

    __slots__ = ("_options", "_turn")

    def __init__(self, turn: Turn, options: Options) -> None:
        self._turn, self._options = turn, options

    # what is done once

    def run_query(self, ref: Reference | str, /, **args: Any) -> StepCall:
        """Call a query."""
        return self._turn.call("query", None, ref, args, self._options)

    def run_mutation(self, ref: Reference | str, /, **args: Any) -> StepCall:
        """Call a mutation: what it writes is written once, together with the record of the step."""
        return self._turn.call("mutation", None, ref, args, self._options)

    def run_action(self, ref: Reference | str, /, **args: Any) -> StepCall:
        """Call an action, once for each attempt that `retry` allows."""
        return self._turn.call("action", None, ref, args, self._options)

    def run_workflow(self, ref: Reference | str, /, **args: Any) -> StepCall:
        """Run another workflow to its end, and give its result."""
        check_is_workflow(ref, "step.run_workflow")
        return self._turn.call("workflow", None, ref, args, self._options)

    def sleep(self, seconds: float | timedelta, *, name: str = "sleep") -> StepCall:
        """Wait, for days if need be. Nothing is kept in memory meanwhile."""
        duration = seconds.total_seconds() if isinstance(seconds, timedelta) else seconds
        if isinstance(duration, bool) or not isinstance(duration, int | float) or not 0 <= duration < float("inf"):
            raise ValueError(f"sleep takes a number of seconds, 0 or more, or a timedelta, got {seconds!r}")
        options = self._options if self._options.name is not None else replace(self._options, name=name)
        return self._turn.call("sleep", name, None, {"seconds": duration}, options)

    def await_event(
        self,
        event: Event | str | None = None,
        *,
        id: str | None = None,
        validator: Any = None,
        timeout: float | timedelta | None = None,
    ) -> StepCall:
        """Wait for an event of a name, or for one made by `create_event`; gives what it carries.

        Events that came before are taken in the order in which they were sent. Raises what was sent as an error, and
        `StepTimeout` after `timeout` seconds.
        """
        if (event is None) == (id is None):
            raise TypeError("await_event takes the name of an event, or the id of one")
        checker = event.validator if isinstance(event, Event) else None if validator is None else Validator(validator)
        name = event.name if isinstance(event, Event) else event
        if not isinstance(name if id is None else id, str):
            raise TypeError(f"the name of an event, or its id, is a str, not {name if id is None else id!r}")
        limit = timeout if timeout is not None else self._options.timeout
        args: dict[str, Any] = {"name": name, "id": id}
        if limit is not None:
            args["timeout"] = limit.total_seconds() if isinstance(limit, timedelta) else float(limit)
        return self._turn.call("event", name or "event", None, args, self._options, checker)

    def continue_as_new(self, **args: Any) -> NoReturn:
        """Begin again with other arguments and an empty record: for workflows that go round and round."""
        self._turn.continue_as_new(args)

    def patched(self, id: str) -> bool:
        """Whether this run has not yet been past this place when the change came: then, and from now on, take the new way.

        `if step.patched("check-fraud"): await step.run_action(check_fraud, …)` may be put where runs in flight have been.
        """
        return self._turn.patched(id)

    # how

    def with_options(
        self,
        *,
        name: str | None = None,
        retry: Retry | bool | None = None,
        run_after: float | timedelta | None = None,
        run_at: float | datetime | None = None,
        inline: bool | None = None,
        unstable_args: bool | None = None,
        limits: Limits | None = None,
        timeout: float | timedelta | None = None,
    ) -> WorkflowStep:
        """The same, with options for what is called through it; this one stays as it is, and what is given later wins.

        `name` is under which a step is recorded. `retry` and `timeout` are for actions. `run_after` and `run_at` delay it.
        `inline`: True does a query or mutation in the transaction in which the function runs, also that of `start`; False
        in one of its own; otherwise as many steps as fit share one. `unstable_args`: other arguments are no changed past.
        """
        if not isinstance(retry, Retry | bool | None):
            raise TypeError(f"retry takes a Retry, True or False, not {retry!r}")
        given: dict[str, Any] = {"name": name, "retry": retry, "inline": inline, "unstable_args": unstable_args, "limits": limits}
        given |= {"timeout": timeout}
        changes = {option: value for option, value in given.items() if value is not None}
        if run_after is not None and run_at is not None:
            raise TypeError("give run_after or run_at, not both")
        if run_after is not None:
            changes |= {"run_after": run_after, "run_at": None}
        if run_at is not None:
            changes |= {"run_after": None, "run_at": run_at}
        return WorkflowStep(self._turn, replace(self._options, **changes))

    # what stays the same in every replay

    @property
    def workflow_id(self) -> str:
        """The id of this run."""
        return self._turn.workflow_id

    def now(self) -> float:
        """The time, in ms since the epoch: it moves from step to step, and is the same in every replay."""
        return self._turn.now

    @property
    def random(self) -> Random:
        """Randomness, the same in every replay."""
        return self._turn.random

    def uuid4(self) -> UUID:
        """A random UUID, the same in every replay."""
        return UUID(int=self._turn.random.getrandbits(128), version=4)

    @property
    def log(self) -> StepLog:
        """Log lines, each written once."""
        return StepLog(self._turn)

    def __getattr__(self, name: str) -> NoReturn:
        instead = {"db": "run_query(ref, …) or run_mutation(ref, …)", "scheduler": "sleep(seconds)", "fetch": "run_action(ref, …)"}
        if name in instead:
            raise NotAStep(f"a workflow has no ctx.{name}: what it does is done by steps. Write step.{instead[name]}.")
        raise AttributeError(f"step has no attribute {name!r}", name=name, obj=self)


def check_is_workflow(ref: Reference | str, caller: str) -> None:
    """Raises TypeError for a function of the app that is known to be none."""
    if isinstance(ref, Function) and not hasattr(ref, "workflow"):
        raise TypeError(f"{caller} takes a workflow, made by @workflows.define, and {ref.own_name} is none, but a plain {ref.kind}")


def check_event(call: Call) -> None:
    """What an event carried, as the waiting side wants it; else the step has failed."""
    if call.validator is not None and call.state == "success":
        try:
            call.value = call.validator.check(call.value)
        except ValueRefused as refused:
            call.state, call.error = "failed", {"type": "ValueRefused", "message": f"event {call.name}: {refused}"}
