"""One turn of a workflow: its function runs from the start, gets what is recorded, and goes on until it has to wait.

All steps that the function asks for before every task of it waits are a batch. A batch is done before the function goes on,
and its steps are answered in the order in which they were asked for: so a replay sees exactly what was seen before.

A step is found in the record by its key, its name and how many of that name came before it. At the end of a turn every
recorded step must have been asked for again: else the code has changed what this run has already done.

Where a turn ends because the function has to wait, the function may stay where it is, and `Turn.go_on` is the next turn: it is
told only how what it waits for has ended. A replay would have brought it to the same place.

Start at `Turn.drive`.
"""

from __future__ import annotations

import asyncio
import hashlib
import traceback
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from random import Random
from typing import Any, Literal, NoReturn, Protocol

from interlock import LimitExceeded, Reference, Validator, from_text, to_text
from interlock_workflow.errors import ChangedPast, NotAStep, error_from, facts_of, said_by, storable
from interlock_workflow.loop import TurnLoop
from interlock_workflow.step import Call, Options, StepCall, StepKind, WorkflowStep, check_event
from interlock_workflow.texts import LONG, MOST, PAGE, bytes_of
from interlock_workpool.client import name_of, seconds, time_of

Handler = Callable[..., Coroutine[Any, Any, Any]]
Local = Literal["now", "later", "apart"]
PATCH = "patched:"


class TurnOver(BaseException):
    """The turn has ended: nothing is begun any more."""


class ContinueAsNew(BaseException):
    """Begin again with other arguments."""


@dataclass(slots=True)
class Entry:
    """One recorded step. `value` is text, or None where it is long and kept apart."""

    number: int
    key: str
    name: str
    kind: str
    digest: str
    at: float
    state: str
    value: str | None = None
    error: str | None = None
    id: str = ""


def entries_of(at: float, text: str) -> list[Entry]:
    """The steps of a page of the record."""
    return [
        Entry(
            step["number"],
            step["key"],
            step["name"],
            step["kind"],
            step["digest"],
            at,
            step["state"],
            step.get("value"),
            step.get("error"),
        )
        for step in from_text(text)
    ]


@dataclass(slots=True)
class Outcome:
    """What a turn came to. `steps` are new, as the component takes them."""

    status: Literal["blocked", "again", "done", "failed", "continued"]
    steps: list[dict[str, Any]] = field(default_factory=list)
    value: str | None = None
    error: str | None = None
    args: str | None = None

    def to_result(self, number: int) -> dict[str, Any]:
        """As it crosses: where no step is waited for or long, as the page that is to be stored. `number` is that of the first step."""
        given = {"value": self.value, "error": self.error, "args": self.args}
        found: dict[str, Any] = {"status": self.status, **{name: text for name, text in given.items() if text is not None}}
        sizes = [LONG + 1 if "start" in step else len(step["args"]) + len(step.get("value", "")) for step in self.steps]
        if sizes and max(sizes) <= LONG and sum(sizes) <= PAGE:
            entries = [{**step, "number": at} for at, step in enumerate(self.steps, number)]
            return {**found, "page": to_text(entries), "count": len(entries)}
        return {**found, "steps": self.steps}


class Doing(Protocol):
    """Who does steps for a turn."""

    async def run(self, call: Call) -> None:
        """Do a query or mutation now, and set the outcome."""

    async def to_start(self, call: Call) -> dict[str, Any]:
        """What the component needs to start the step after this turn."""

    async def long_value(self, entry: Entry) -> str:
        """The text of a result that is kept apart."""

    def is_full(self) -> bool:
        """Whether no more steps should be done in this turn's transaction."""

    def room(self) -> int:
        """How many bytes the record of this turn may have."""

    def log(self, level: str, text: str) -> None: ...


class Turn:
    """A run of the function with what is recorded so far.

    `local` says what becomes of queries and mutations: they are done in this turn (`now`), each in a transaction of its own
    (`apart`), or not at all (`later`): then nothing is done, and the function is only looked at.
    """

    def __init__(
        self,
        workflow_id: str,
        seed: str,
        now: float,
        entries: list[Entry],
        *,
        local: Local = "now",
        starts: int = 0,
        number: int = 0,
    ) -> None:
        self.workflow_id = workflow_id
        self.number = number  # of the next step that is recorded
        self.count = len(entries)  # of recorded steps
        self.size = 0  # bytes of what it was given and has recorded
        self._seed = seed
        self._names: dict[str, int] = {}
        self._patches = {entry.key for entry in entries if entry.kind == "patch"}
        self._loop = TurnLoop()
        self._task: asyncio.Task[Any] | None = None
        self._batch: list[Call] = []
        self._pending: list[Call] = []  # what the function waits for
        self._unobserved: list[Call] = []
        self._left_lines: list[tuple[int, str, str]] = []
        self._continue_with: dict[str, Any] | None = None
        self.step = WorkflowStep(self, Options())
        self._begin(now, entries, local, starts)

    def _begin(self, now: float, entries: list[Entry], local: Local, starts: int) -> None:
        """With what is recorded and was not said yet."""
        self.now = self._turn_now = now
        self._local, self._starts = local, starts or STARTED_AT_ONCE
        self._entries = sorted(entries, key=lambda entry: entry.number)
        self._by_key = {entry.key: entry for entry in entries}
        self._visited: set[str] = set()
        self._next = 0  # of _entries: the first that was not asked for yet
        self._new: list[dict[str, Any]] = []
        self._lines, self._left_lines = self._left_lines, []
        self._weight = 0  # bytes that the record of this turn writes
        self._is_over = self.is_stopped = False

    @cached_property
    def random(self) -> Random:
        """The randomness of the run. To be made takes as long as a step, and few need it."""
        return Random(self._seed)

    async def drive(
        self, handler: Handler, args: Mapping[str, Any], doing: Doing, finish: Callable[[Any], Any], *, may_wait: bool = False
    ) -> Outcome:
        """Run the function. `finish` checks its result. Raises ChangedPast, and whatever is no failure of a step.

        With `may_wait` a function that has to wait does so, until it is told to `go_on` or to `close`; see `is_waiting`.
        """
        self._task = self._loop.begin(handler(self.step, **args))
        return await self._take(doing, finish, may_wait)

    async def go_on(
        self, now: float, entries: list[Entry], doing: Doing, finish: Callable[[Any], Any], *, local: Local, starts: int
    ) -> Outcome:
        """The next turn of a function that waits. `entries` are the steps that were begun when it was last run."""
        asked = {call.key for call in self._pending}
        self._loop.enter()
        self._begin(now, [entry for entry in entries if entry.key in asked], local, starts)
        return await self._take(doing, finish, may_wait=True)

    @property
    def is_waiting(self) -> bool:
        """Whether the function is there, and may go on in another turn."""
        return bool(self._pending) and not self._loop.is_done()

    def nap(self) -> float:
        """The seconds of the longest sleep that it waits for."""
        return max((call.args["seconds"] for call in self._pending if call.kind == "sleep"), default=0.0)

    def close(self) -> None:
        """End the function where it stands."""
        self._is_over = True
        self._loop.close()

    async def _take(self, doing: Doing, finish: Callable[[Any], Any], may_wait: bool) -> Outcome:
        is_left = False
        try:
            outcome = await self._run(doing, finish)
            if outcome.status != "again":
                self._refuse_forgotten()
            self._log(doing, outcome.status == "again")
            is_left = may_wait and outcome.status in ("blocked", "again") and not self.is_stopped
        finally:
            self._is_over = True
            if is_left:
                self._loop.leave()
            else:
                self._pending = []
                self._loop.close()
        outcome.steps = self._new
        self.number += len(self._new)
        self.count += len(self._new)
        return outcome

    def _log(self, doing: Doing, is_again: bool) -> None:
        """Say what stands. Where a turn did not get to its end, what was said since its last step is left to the next one."""
        for after, level, text in self._lines:
            if is_again and after >= len(self._new):
                self._left_lines.append((0, level, text))
            else:
                doing.log(level, text)

    async def _run(self, doing: Doing, finish: Callable[[Any], Any]) -> Outcome:
        task, batch = self._task, self._pending
        assert task is not None
        while True:
            if batch:
                status = await self._settle(batch, doing)
                if status is not None:
                    self._pending = batch
                    return Outcome(status)
                for call in batch:
                    self._answer(call)
                self._unobserved += [call for call in batch if call.state == "failed"]
            self._set_time()
            self._loop.run()
            batch, self._batch = self._batch, []
            if not batch:
                break
        if self._loop.refused is not None:
            return _failed(self._loop.refused)
        if not task.done():
            return _failed(NotAStep("the workflow waits for something that is no step, and that nobody will ever bring. Wait for steps."))
        outcome = self._ended(task, [call for call in self._unobserved if not call.is_awaited], finish)
        for what, text in (("result", outcome.value), ("arguments for a new beginning", outcome.args)):
            if text is not None and bytes_of(text) > MOST:
                return Outcome("failed", error=to_text(_too_large(f"the {what} of a workflow", text)))
        self._weigh(doing, 2 * bytes_of(outcome.value or outcome.args or ""))  # the run that waits for it has it too
        return outcome

    def _ended(self, task: asyncio.Task[Any], unobserved: list[Call], finish: Callable[[Any], Any]) -> Outcome:
        if task.cancelled():
            return _failed(NotAStep("the workflow has canceled itself. Raise an error instead."))
        error = task.exception()
        if isinstance(error, ContinueAsNew):
            return Outcome("continued", args=to_text(self._continue_with))
        if error is None and unobserved:
            error = error_from(unobserved[0].name, unobserved[0].error)
        if error is None:
            try:
                return Outcome("done", value=to_text(finish(task.result())))
            except Exception as wrong:
                facts = facts_of(wrong) | {"message": f"Invalid return value: {said_by(wrong)}"}
                return Outcome("failed", error=to_text(facts))
        if isinstance(error, Exception):
            return _failed(error)
        raise error

    # what the function asks for

    def call(
        self,
        kind: StepKind,
        name: str | None,
        ref: Reference | str | None,
        args: dict[str, Any],
        options: Options,
        validator: Validator | None = None,
    ) -> StepCall:
        """Ask for a step."""
        if self._is_over:
            raise TurnOver
        if options.inline and (options.run_after is not None or options.run_at is not None):
            raise ValueError("a step that is done inline cannot be delayed: leave out run_after and run_at, or inline")
        if options.inline and kind not in ("query", "mutation"):
            raise ValueError(f"a step that is {kind} cannot be done inline: only a query or a mutation can")
        _check_times(kind, args, options, self.now)
        named = _checked_name(options.name or name or (name_of(ref) if ref is not None else "") or kind)
        call = Call(kind, self._key(named), named, args, options, self._loop.create_future(), ref, validator)
        self._batch.append(call)
        return StepCall(call)

    def patched(self, id: str) -> bool:
        """Whether the new way is taken. It is recorded where it first was."""
        key = PATCH + _checked_name(id)
        if key in self._by_key:
            self._visit(self._by_key[key])
        if key in self._patches:
            return True
        if self._next < len(self._entries):
            return False  # it has been past this place before
        self._patches.add(key)
        self._record(key, key, "patch", "", {"state": "success", "value": "null", "args": "{}"})
        return True

    def continue_as_new(self, args: dict[str, Any]) -> NoReturn:
        """End this run, and begin another."""
        self._continue_with = args
        raise ContinueAsNew

    def note(self, level: str, text: str) -> None:
        """A log line, kept until the turn stands. What was logged before is not logged again."""
        if not self._is_over and self._next >= len(self._entries):
            self._lines.append((len(self._new), level, str(text)))

    def _key(self, name: str) -> str:
        count = self._names[name] = self._names.get(name, 0) + 1
        return name if count == 1 else f"{name}#{count}"

    # what becomes of it

    async def _settle(self, batch: list[Call], doing: Doing) -> Literal["blocked", "again"] | None:
        """Find or do each step of a batch; None when all are done."""
        waits: list[Call] = []
        is_waiting = False
        for call in batch:
            entry = self._by_key.get(call.key)
            if entry is None:
                if not call.state:  # else it was done in the turn before, and is recorded
                    waits.append(call)
            else:
                await self._recall(call, entry, doing)
                is_waiting = is_waiting or not call.state
        if not waits:
            return "blocked" if is_waiting else None
        if self._local == "later":
            for call in waits:
                await doing.to_start(call)
            return "again"
        deferred: list[Call] = []
        left_over = False
        for call in waits:
            if self.is_stopped:
                return "again"  # of a run that is canceled: nothing of it is done any more
            if call.options.inline or (self._local == "now" and _is_local(call)):
                is_heavy = self._weight > LIGHT and self._weight + MOST > doing.room()
                if (is_heavy or doing.is_full()) and not call.options.inline:
                    left_over = True  # it is asked for again in the next turn
                else:
                    await self._do(call, doing)
            else:
                deferred.append(call)
        if not deferred:
            return "again" if left_over else "blocked" if is_waiting else None
        started = 0
        for call in deferred[: self._starts]:
            text = to_text(call.args)
            size = 2 * bytes_of(text)  # kept here, and in the pool
            if self._new and self._weight + size > LIGHT and self._weight + size > doing.room():
                break  # those that are left are asked for again
            started += 1
            if size > 2 * MOST:
                failed = {"args": "{}", "start": {"error": to_text(_too_large("the arguments of a step", text))}}
                self._record(call.key, call.name, call.kind, _digest(text), failed)
                continue
            self._weight += size
            self._record(call.key, call.name, call.kind, _digest(text), {"args": text, "start": await doing.to_start(call)})
        return "blocked" if started else "again"

    def _weigh(self, doing: Doing, more: int) -> None:
        """Raises LimitExceeded when the record of this turn would not fit into its transaction."""
        self._weight += more
        if self._weight > LIGHT and self._weight > (room := doing.room()):
            raise LimitExceeded("bytes_written", self._weight, room)

    async def _recall(self, call: Call, entry: Entry, doing: Doing) -> None:
        self._visit(entry)
        if entry.kind != call.kind:
            raise ChangedPast(f'step "{call.key}" was a {entry.kind} when this run did it, and is a {call.kind} now. {_REMEDY}')
        if not call.options.unstable_args and entry.digest not in ("", _digest(text := to_text(call.args))):
            raise ChangedPast(
                f'step "{call.key}" has other arguments than when this run did it; they are {_short(text)} now. {_REMEDY} '
                "If they may differ, call it through with_options(unstable_args=True)."
            )
        if call.state:
            return  # it was done in the turn before
        if entry.state == "success":
            value = entry.value if entry.value is not None else await doing.long_value(entry)
            self.size += len(value)
            call.state, call.value = "success", from_text(value)
        elif entry.state == "failed":
            self.size += len(entry.error or "")
            call.state, call.error = "failed", from_text(entry.error or "{}")

    async def _do(self, call: Call, doing: Doing) -> None:
        text = kept = to_text(call.args)
        if (weight := bytes_of(text)) > MOST:
            kept, weight = "{}", 2
            call.state, call.error = "failed", _too_large("the arguments of a step", text)
        else:
            await doing.run(call)
        if call.state == "success":
            told, name = to_text(call.value), "value"
            if (size := bytes_of(told)) > MOST:
                call.state, call.error = "failed", _too_large("the result of a step", told)
            elif type(call.value) not in _AS_THEY_ARE:
                call.value = from_text(told)  # as a replay gets it
        if call.state != "success":
            told, name = to_text(call.error), "error"
            size = bytes_of(told)
        self._record(call.key, call.name, call.kind, _digest(text), {"state": call.state, "args": kept, name: told})
        self._weigh(doing, weight + size)

    def _record(self, key: str, name: str, kind: str, digest: str, outcome: dict[str, Any]) -> None:
        self.size += len(outcome["args"]) + len(outcome.get("value", ""))
        self._new.append({"key": key, "name": name, "kind": kind, "digest": digest, **outcome})

    def _answer(self, call: Call) -> None:
        check_event(call)
        if call.future.done():
            return  # nobody waits any longer
        if call.state == "success":
            call.future.set_result(call.value)
        else:
            call.future.set_exception(error_from(call.name, call.error))
            call.future.exception()  # if nobody asks for it, the workflow itself fails with it

    def _visit(self, entry: Entry) -> None:
        self._visited.add(entry.key)
        while self._next < len(self._entries) and self._entries[self._next].key in self._visited:
            self._next += 1

    def _set_time(self) -> None:
        """Until its next steps the function sees the time at which these were first asked for."""
        self.now = self._entries[self._next].at if self._next < len(self._entries) else self._turn_now

    def _refuse_forgotten(self) -> None:
        if self._next == len(self._entries):
            return
        forgotten = self._entries[self._next]
        asked = [step["key"] for step in self._new]
        instead = f"; instead it asks for {', '.join(map(repr, asked[:5]))}" if asked else ""
        was = f'step "{forgotten.key}" (number {forgotten.number}) was done by this run'
        raise ChangedPast(f"{was}, and its code no longer asks for it{instead}. {_REMEDY}")


STARTED_AT_ONCE = 200
NAME_MOST = 10_000  # characters
_AS_THEY_ARE = (int, str, bool, type(None))  # from their text these come back the same
TRACEBACK_MOST = 4_000  # characters
LATEST = 5 * 365 * 86_400.0  # seconds: jobs have a horizon
LIGHT = 1 << 20  # bytes of a record that need no look at what is left of the transaction
_REMEDY = (
    "Let the code ask for what it has asked for before, put what is new behind `if step.patched(…)`, or give the workflow a new "
    "version and keep the old one for runs that began with it; then restart this run."
)


def _check_times(kind: StepKind, args: Mapping[str, Any], options: Options, now: float) -> None:
    """Refuse a step that could not be planned."""
    waits: float = args["seconds"] if kind == "sleep" else 0.0
    if options.run_after is not None:
        waits += seconds("run_after", options.run_after)
    elif options.run_at is not None:
        waits += max(0.0, time_of(options.run_at) - now) / 1000.0
    if not waits <= LATEST:
        raise ValueError(f"a step can wait for {LATEST:g} seconds (five years) at most, not for {waits:g}")
    timeout = args.get("timeout") if kind == "event" else options.timeout
    if timeout is None or kind in ("sleep", "workflow"):
        return
    limit = seconds("timeout", timeout)
    if not limit <= LATEST or (limit == 0 and kind != "event"):
        raise ValueError(f"timeout must be more than 0 seconds and at most {LATEST:g} (five years), got {limit:g}")


def _checked_name(name: Any) -> str:
    """The name of a step, which is recorded."""
    if not isinstance(name, str):
        raise TypeError(f"the name of a step is a str, not {name!r}")
    if len(name) > NAME_MOST or (not name.isascii() and name.encode(errors="replace").decode() != name):
        raise ValueError(f"the name of a step has at most {NAME_MOST:,} characters and no lone surrogates, not {name[:100]!r}")
    return name


def _is_local(call: Call) -> bool:
    """Whether the step can be done in the transaction of the turn."""
    options = call.options
    is_transaction = call.kind in ("query", "mutation")
    return is_transaction and options.inline is not False and options.run_after is None and options.run_at is None


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _too_large(what: str, text: str) -> dict[str, Any]:
    return {"type": "TooLarge", "message": f"{what} may be {MOST:,} bytes of JSON, got {bytes_of(text):,}"}


def _short(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:300]}…"


def _failed(error: Exception) -> Outcome:
    told = facts_of(error)
    if error.__traceback__ is not None:
        told["traceback"] = storable("".join(traceback.format_exception(error))[-TRACEBACK_MOST:])
    return Outcome("failed", error=to_text(told))
