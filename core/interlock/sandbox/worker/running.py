"""What a worker does: loads its component, runs calls as tasks, tells how they ended.

Start at `Worker.take`: every frame of the host comes through there.
"""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import os
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from types import CoroutineType, TracebackType
from typing import Any

from interlock.errors import DeadlineExceeded, LimitExceeded
from interlock.limits import LIMITS
from interlock.sandbox.failures import OWN_FILES, frames_of, make, tell, tell_with_causes
from interlock.sandbox.frames import DEPTH_MAX, NOTHING, TEXT_MAX, TooLong
from interlock.sandbox.long_values import length_of
from interlock.sandbox.worker.cache import Cache
from interlock.sandbox.worker.channel import Channel, leave
from interlock.sandbox.worker.conversation import Conversation
from interlock.sandbox.worker.determinism import current
from interlock.sandbox.worker.going_on import Told, go_on
from interlock.sandbox.worker.heap import trim
from interlock.sandbox.worker.host import OVER, WorkerHost
from interlock.sandbox.worker.interruption import Interruption, Overtime
from interlock.sandbox.worker.lent_task import LentTask, lend_tasks
from interlock.sandbox.worker.loop import WorkerLoop
from interlock.sandbox.worker.manifest import manifest_json
from interlock.sandbox.worker.modules import ComponentFiles, NativePackages
from interlock.sandbox.worker.output import Output
from interlock.sandbox.worker.row import size_if_flat
from interlock.sdk.component import Component
from interlock.sdk.contexts import ActionCtx, DatabaseReader, DatabaseWriter, MutationCtx, QueryCtx
from interlock.sdk.conversion import BUILT_IN
from interlock.sdk.functions import Function
from interlock.sdk.host import FunctionInfo
from interlock.sdk.route import RouteFunction, route_name
from interlock.sdk.triggers import told

# Made without their constructors: those cost a small call a fiftieth.
_CONTEXTS: dict[str, tuple[Any, Any]] = {
    "query": (QueryCtx, DatabaseReader),
    "mutation": (MutationCtx, DatabaseWriter),
    "action": (ActionCtx, None),
}
_bare: Any = object.__new__
_RAISED_MAX = 512
_AGAIN = [["again", None, None]]
"""What a call says that has to run again."""
_monotonic, _time = time.monotonic, time.time
_NO_MEMORY = "The memory of this component is used up. Hold less at once, or mount it with limits=Limits(memory=…)."


class Worker:
    """One instance's code. `asked` are operations that the host has not answered yet, `nothing` is the result of those that give none."""

    def __init__(self, fd: int) -> None:
        self.channel = Channel(fd)
        self.loop = WorkerLoop(self.channel, self.take)
        self.env: dict[str, Any] = {}
        self.path = ""
        self.asked: dict[int, tuple[asyncio.Future[Any], Conversation, Callable[[Any], None] | None]] = {}
        self.cache = Cache(None, set())
        self.nothing: asyncio.Future[None] = asyncio.Future(loop=self.loop)
        self.nothing.set_result(None)
        self._numbers = 0
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._begins: contextvars.Context | None = None  # that of the call that runs and has not waited yet
        self._lent: LentTask | None = None
        self._ahead: WorkerHost | None = None  # the newest call that ran before anybody made it
        self._functions: dict[str, Function[..., Any]] = {}
        self._known: dict[str, _Known] = {}
        self._triggers: dict[str, list[Callable[..., Any]]] = {}
        self._failed: BaseException | None = None
        self._answered: dict[int, tuple[BaseException, TracebackType | None]] = {}
        self._raised: dict[int, BaseException] = {}
        self.interruption = Interruption(self.running, OWN_FILES[0])

    def run(self, layers: Mapping[str, Any]) -> None:
        """Until the host goes away. `layers` are what holds this process, for the host to show."""
        sys.stdout = sys.stderr = Output(self)
        self.send(["hello", dict(layers), os.getpid()])
        self.interruption.watch()
        lend_tasks(self._lend_task)
        self.loop.run_forever()

    def send(self, frame: list[Any], given: Any = None) -> None:
        self.channel.send(frame, given)

    def take_number(self) -> int:
        self._numbers += 1
        return self._numbers

    @staticmethod
    def running() -> WorkerHost | None:
        """The call whose code runs now."""
        running: WorkerHost | None = current.get()
        return running

    # frames

    def take(self, frame: list[Any]) -> None:
        name = frame[0]
        if name == "call" or name == "ahead":
            self._call(frame)
        elif name == "taken":
            self._taken(frame[1])
        elif name == "made":
            self.cache.keep_made(frame[1])
        elif name == "forgot":
            self.cache.forget_versions()
        elif name == "res":
            self._answer(frame[1], frame[2], None)
        elif name == "err":
            self._answer(frame[1], None, frame[2])
        elif name == "cancel":
            task = self._tasks.get(frame[1])
            if task is not None:
                self.loop.call_soon(task.cancel)  # not before its first step: without that it would end without a word
            else:
                self.send(["gone", frame[1]])
        elif name == "load":
            self._load(frame[1])
        elif name == "env":
            self.env = frame[1]
        elif name == "stop":
            leave()

    def _answer(self, number: int, value: Any, told: Any) -> None:
        asked = self.asked.pop(number, None)
        if asked is None:
            return
        future, host, keep = asked
        host.answered()
        if future.done():
            return
        if told is None:
            if keep is not None:
                keep(value)
            future.set_result(value)
        else:
            error = self.failure(told)
            if len(self._answered) > _RAISED_MAX:
                self._answered.clear()
            self._answered[number] = (error, error.__traceback__)
            future.set_exception(error)

    def failure(self, told: Any) -> BaseException:
        """The error that the host tells of. One that was raised in this worker is the same object again."""
        if told[0] == "known" and (raised := self._raised.pop(told[1], None)) is not None:
            return raised
        return make(told[2] if told[0] == "known" else told, "", trusted=True)

    # loading

    def _load(self, described: dict[str, Any]) -> None:
        self.path, self.env = described["path"], described["env"]
        asks_manifest = described["manifest"]
        files = ComponentFiles(described["files"], described["code"], keeps=asks_manifest)
        if described["native"]:
            sys.meta_path.append(NativePackages(described["native"]))
        sys.meta_path.append(files)
        self.interruption.files = described["files"].keys()
        try:
            module = importlib.import_module(described["module"])
            component: Any = module
            for name in described["object"].split("."):
                component = getattr(component, name)
            if not isinstance(component, Component):
                self.send(["failed", "kind", type(component).__name__])
                return
            self._functions = dict(component.functions)
            for route in component.http_routes:
                name = route_name(route.method, route.path)
                self._functions[name] = RouteFunction(route.method, route.path, route.handler)
            for table, on_change in component.triggers:
                self._triggers.setdefault(f"trigger on {table}", []).append(on_change)
            self.cache = Cache(component.schema, {table for table, _ in component.triggers})
            told = [manifest_json(component, files), files.compiled] if asks_manifest else [None]
        except BaseException as error:
            self._failed = error
            self.send(["failed", "import", *self._told(error)])
            return
        files.forget_code()
        self.send(["loaded", *told])
        self.channel.flush()  # a call that does not come back would hold it up
        trim()

    @staticmethod
    def _told(error: BaseException) -> list[Any]:
        if isinstance(error, MemoryError) and not error.args:
            error.args = (_NO_MEMORY,)  # Python raises it without a word
        return tell_with_causes(error)

    # calls

    def _call(self, frame: list[Any]) -> None:
        _, number, name, kind, ordinal, args, now_ms, is_real, seed, transaction, pages, cpu_max, over_ms, remembers = frame
        known = self._known.get(name)
        if known is None or known.info.kind != kind:
            known = self._known[name] = _Known(FunctionInfo(name, kind, self.path), self._functions.get(name))
        now = _monotonic()
        over_at = now + over_ms / 1000.0 - _time() if over_ms >= 0 else None
        moment = now if is_real else None
        host = WorkerHost(self, number, known.info, now_ms, seed, transaction, pages, moment, cpu_max, over_at, remembers, now)
        host.is_ahead = frame[0] == "ahead"
        if self._failed is not None:
            self._finish(host, None, self._failed)
            return
        context = contextvars.Context()
        running = self._run(host, known, ordinal, args)
        if kind == "action":
            context.run(current.set, host)
            self._tasks[number] = self.loop.create_task(go_on(host, running, None), context=context)
            return
        # Its first part without a task: where it finds what it reads here, there is no other.
        self._begins = context
        pending = context.run(_begun, host, running)
        self._begins = None
        if pending is OVER:
            if self._lent is not None:
                self._lent.drop()
                self._lent = None
            return
        host.rests()
        rest = go_on(host, running, Told(pending))
        lent, self._lent = self._lent, None
        self._tasks[number] = self.loop.create_task(rest, context=context) if lent is None else lent.give(rest)

    def _taken(self, number: int) -> None:
        """Somebody has made the call that ran ahead: it is as if it had run now."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead.number == number:
            ahead.is_ahead = False
            ahead.remember_writes()

    def _lend_task(self) -> asyncio.Task[None] | None:
        if self._lent is None and self._begins is not None:
            self._lent = LentTask(self.loop, self._begins)
        return None if self._lent is None else self._lent.task

    async def _run(self, host: WorkerHost, known: _Known, ordinal: int, args: dict[str, Any]) -> None:
        value: Any = None
        failed: BaseException | None = None
        while True:
            try:
                function = known.function
                if not known.is_learned:
                    known.learn()
                context = _bare(known.context)
                context._host = host
                if known.database is not None:
                    context.db = db = _bare(known.database)
                    db._host, db._pages = host, 0
                if ordinal != NOTHING:
                    made = self._triggers[known.info.name][ordinal](context, told(args))
                    if _waits(made):
                        await made
                elif function is None:
                    raise KeyError(known.info.name)
                else:
                    made = known.handler(context, **(function.arguments(args) if known.makes_instances else args))
                    value = await made if known.is_async and _waits(made) else made
                    kind = type(value)
                    if known.returns_instances or kind is dict or kind not in BUILT_IN:
                        value = function.result(value)
                if host.unbegun:
                    failed = host.forgotten()
            except Overtime as over:
                failed = DeadlineExceeded(host.label, over.what, over.seconds).with_traceback(over.__traceback__)
            except BaseException as error:
                failed = error
            if not host.has_rested or size_if_flat(args) < 0 or not (failed is None or isinstance(failed, Exception)):
                break  # mostly; what it has made of its arguments is not known, and there is no other copy; it was told to end
            again = host.start_over()
            if again is None:
                break
            host = again
            current.set(host)
            value = failed = None
        self._finish(host, value, failed)
        failed = None  # its traceback holds this frame
        await OVER

    def _finish(self, host: WorkerHost, value: Any, failed: BaseException | None) -> None:
        host.is_ended = True
        if host.number in self._tasks:
            del self._tasks[host.number]
        host.tell_consumed()
        is_outdated = host.is_outdated
        steps, spent = host.view.take_steps(), host.take_spent()
        if is_outdated:
            host.view.undo()
            self.send(["ret", host.number, host.looked_at, None, _AGAIN, spent])
            return
        if failed is None:
            host.remember_writes()
            if host.is_ahead:
                self._ahead = host
            try:
                self.send(["ret", host.number, host.looked_at, value, steps, spent], value)
                return
            except TooLong as long:
                failed = _result_too_long(long.args[0])
            except MemoryError as error:
                failed = error
        host.view.undo()
        told = self._told(failed)
        length = length_of(told, DEPTH_MAX)
        if length > TEXT_MAX:
            failed = _result_too_long(length).with_traceback(failed.__traceback__)
            told = self._told(failed)
        for number, (answered, counted) in self._answered.items():
            if answered is failed:
                # The host has the error itself, and knows where it was before it came here: it goes on as it came. Where it was an
                # operation of another call, or is long forgotten, it is made anew.
                again = tell(failed, [])
                self.send(["exc", host.number, host.looked_at, ["op", number, frames_of(failed, counted), again], steps, spent], again)
                return
        reference = self.take_number()
        if len(self._raised) > _RAISED_MAX:
            self._raised.clear()
        if isinstance(failed, Exception):
            self._raised[reference] = failed  # of anything else the host makes an error of its own
        self.send(["exc", host.number, host.looked_at, ["raised", reference, told], steps, spent], told)


def _result_too_long(length: int) -> LimitExceeded:
    return LimitExceeded("result_bytes", length, int(LIMITS["result_bytes"].value))


class _Known:
    """A function, with what every call of it asks."""

    __slots__ = ("context", "database", "function", "handler", "info", "is_async", "is_learned", "makes_instances", "returns_instances")

    def __init__(self, info: FunctionInfo, function: Function[..., Any] | None) -> None:
        self.info, self.function = info, function
        self.handler: Any = None
        self.context, self.database = _CONTEXTS[info.kind]
        self.is_learned = self.is_async = self.makes_instances = self.returns_instances = False

    def learn(self) -> None:
        """Look at it, at its first call. Raises MountError for annotations that cannot be read."""
        if self.function is not None:
            self.handler = self.function.handler
            self.is_async = not self.function.declaration().plain
            self.makes_instances = self.function.makes_instances
            self.returns_instances = self.function.returns_instances
        self.is_learned = True


def _begun(host: WorkerHost, running: Any) -> Any:
    """The first part of a call, in its context. Gives what it waits for, OVER where it has ended."""
    current.set(host)
    return running.send(None)


def _waits(made: Any) -> bool:
    """Whether what a function gave is to be awaited."""
    return type(made) is CoroutineType or isinstance(made, Coroutine) or hasattr(made, "__await__")
