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
from collections.abc import Callable, Coroutine, Generator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import interlock.errors
from interlock.errors import DeadlineExceeded
from interlock.sandbox.failures import frames_of, make, tell
from interlock.sandbox.worker.cache import Cache
from interlock.sandbox.worker.channel import Channel, leave
from interlock.sandbox.worker.determinism import Still, stand_still
from interlock.sandbox.worker.heap import trim
from interlock.sandbox.worker.host import WorkerHost
from interlock.sandbox.worker.interruption import Interruption, Overtime
from interlock.sandbox.worker.loop import WorkerLoop
from interlock.sandbox.worker.manifest import manifest_json
from interlock.sandbox.worker.modules import ComponentFiles, NativePackages
from interlock.sandbox.worker.output import Output
from interlock.sdk.component import Component
from interlock.sdk.contexts import ActionCtx, MutationCtx, QueryCtx
from interlock.sdk.functions import Function
from interlock.sdk.host import FunctionInfo
from interlock.sdk.triggers import Change

_CONTEXTS: dict[str, Callable[[Any], Any]] = {"query": QueryCtx, "mutation": MutationCtx, "action": ActionCtx}
_OWN_FILES = str(Path(interlock.errors.__file__).parent)
_RAISED_MAX = 512
_monotonic = time.monotonic
_NO_MEMORY = "The memory of this component is used up. Hold less at once, or mount it with limits=Limits(memory=…)."

_running: contextvars.ContextVar[WorkerHost | None] = contextvars.ContextVar("interlock_running", default=None)


class Worker:
    """One instance's code. `asked` are operations that the host has not answered yet."""

    def __init__(self, fd: int) -> None:
        self.channel = Channel(fd)
        self.loop = WorkerLoop(self.channel, self.take)
        self.env: dict[str, Any] = {}
        self.path = ""
        self.asked: dict[int, tuple[asyncio.Future[Any], WorkerHost, Callable[[Any], None] | None]] = {}
        self.cache = Cache(None, set())
        self._numbers = 0
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._functions: dict[str, Function[..., Any]] = {}
        self._triggers: dict[str, list[Callable[..., Any]]] = {}
        self._failed: BaseException | None = None
        self._answered: dict[int, BaseException] = {}
        self._raised: dict[int, BaseException] = {}
        self.interruption = Interruption(self.running, _OWN_FILES)

    def run(self, layers: Mapping[str, Any]) -> None:
        """Until the host goes away. `layers` are what holds this process, for the host to show."""
        sys.stdout = sys.stderr = Output(self)
        self.send(["hello", dict(layers), os.getpid()])
        self.interruption.watch()
        self.loop.run_forever()

    def send(self, frame: list[Any]) -> None:
        self.channel.send(frame)

    def take_number(self) -> int:
        self._numbers += 1
        return self._numbers

    @staticmethod
    def running() -> WorkerHost | None:
        """The call whose code runs now."""
        return _running.get()

    # frames

    def take(self, frame: list[Any]) -> None:
        match frame:
            case ["res", number, value]:
                self._answer(number, value, None)
            case ["err", number, told]:
                self._answer(number, None, told)
            case ["call", number, *rest]:
                self._call(number, *rest)
            case ["cancel", number]:
                task = self._tasks.get(number)
                if task is not None:
                    task.cancel()
                else:
                    self.send(["gone", number])
            case ["load", described]:
                self._load(described)
            case ["env", env]:
                self.env = env
            case ["stop"]:
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
            self._answered[number] = error
            future.set_exception(error)

    def failure(self, told: Any) -> BaseException:
        """The error that the host tells of. One that was raised in this worker is the same object again."""
        if told[0] == "known" and (raised := self._raised.pop(told[1], None)) is not None:
            return raised
        return make(told[2] if told[0] == "known" else told, "", trusted=True)

    # loading

    def _load(self, described: dict[str, Any]) -> None:
        self.path, self.env = described["path"], described["env"]
        files = ComponentFiles(described["files"])
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
            for table, on_change in component.triggers:
                self._triggers.setdefault(f"trigger on {table}", []).append(on_change)
            self.cache = Cache(component.schema, {table for table, _ in component.triggers})
            manifest = manifest_json(component, files) if described["manifest"] else None
        except BaseException as error:
            self._failed = error
            self.send(["failed", "import", *self._told(error)])
            return
        self.send(["loaded", manifest])
        self.channel.flush()  # a call that does not come back would hold it up
        trim()

    @staticmethod
    def _told(error: BaseException) -> list[Any]:
        if isinstance(error, MemoryError) and not error.args:
            error.args = (_NO_MEMORY,)  # Python raises it without a word
        return tell(error, frames_of(error, _OWN_FILES))

    # calls

    def _call(
        self,
        number: int,
        name: str,
        kind: str,
        ordinal: int | None,
        args: dict[str, Any],
        now_ms: float,
        is_real: bool,
        seed: int,
        transaction: str,
        pages: dict[str, str] | None,
        cpu_max: float | None,
        seconds_left: float | None,
        remembers: bool | None,
    ) -> None:
        info = FunctionInfo(name, kind, self.path)  # type: ignore[arg-type]
        moment = _monotonic() if is_real else None
        host = WorkerHost(self, number, info, now_ms, seed, transaction, pages, moment, cpu_max, seconds_left, remembers)
        if self._failed is not None:
            self._finish(host, None, self._failed)
            return
        context = contextvars.Context()
        context.run(_running.set, host)
        running = self._run(host, ordinal, args)
        if kind == "action":
            self._tasks[number] = self.loop.create_task(_go_on(host, running, None), context=context)
            return
        stand_still(context, Still(host.label, now_ms, seed, host.look_at_time))
        # Its first part without a task: where it finds what it reads here, there is no other.
        host.since = _monotonic()
        try:
            pending = context.run(running.send, None)
        except StopIteration:
            return
        host.rests()
        self._tasks[number] = self.loop.create_task(_go_on(host, running, _Told(pending)), context=context)

    async def _run(self, host: WorkerHost, ordinal: int | None, args: dict[str, Any]) -> None:
        value: Any = None
        failed: BaseException | None = None
        try:
            value = await self._perform(host, ordinal, args)
        except Overtime as over:
            failed = DeadlineExceeded(host.label, over.what, over.seconds).with_traceback(over.__traceback__)
        except BaseException as error:
            failed = error
        self._finish(host, value, failed)

    async def _perform(self, host: WorkerHost, ordinal: int | None, args: dict[str, Any]) -> Any:
        info = host.function
        context = _CONTEXTS[info.kind](host)
        if ordinal is not None:
            await _awaited(self._triggers[info.name][ordinal](context, Change(**args)))
            return None
        function = self._functions[info.name]
        made = partial(function.handler, context, **function.arguments(args))()
        return function.result(await _awaited(made) if _is_async(function) else made)

    def _finish(self, host: WorkerHost, value: Any, failed: BaseException | None) -> None:
        host.is_ended = True
        self._tasks.pop(host.number, None)
        host.tell_consumed()
        steps, spent = host.take_steps(), host.take_spent()
        if failed is None:
            host.remember_writes()
            self.send(["ret", host.number, host.looked_at_time, value, steps, spent])
            return
        host.undo()
        for number, answered in self._answered.items():
            if answered is failed:
                # The host has the error itself: it goes on as it came.
                self.send(["exc", host.number, host.looked_at_time, ["op", number, frames_of(failed, _OWN_FILES)], steps, spent])
                return
        reference = self.take_number()
        if len(self._raised) > _RAISED_MAX:
            self._raised.clear()
        self._raised[reference] = failed
        self.send(["exc", host.number, host.looked_at_time, ["raised", reference, self._told(failed)], steps, spent])


def _is_async(function: Function[..., Any]) -> bool:
    return not function.declaration().plain


class _Told(NamedTuple):
    """What a coroutine waits for that has suspended once already."""

    pending: Any


class _GoOn:
    """The coroutine of a call as something to await, begun or not: for how long each of its parts runs is counted."""

    __slots__ = ("_coroutine", "_host", "_told")

    def __init__(self, host: WorkerHost, coroutine: Coroutine[Any, Any, Any], told: _Told | None) -> None:
        self._host, self._coroutine, self._told = host, coroutine, told

    def __await__(self) -> Generator[Any, Any, None]:
        host, coroutine, told = self._host, self._coroutine, self._told
        error: BaseException | None = None
        sent: Any = None
        while True:
            if told is not None:
                error = None
                try:
                    sent = yield told.pending
                except BaseException as thrown:
                    error = thrown
            host.since = _monotonic()
            try:
                told = _Told(coroutine.send(sent) if error is None else coroutine.throw(error))
            except StopIteration:
                return
            host.rests()


async def _go_on(host: WorkerHost, coroutine: Coroutine[Any, Any, Any], told: _Told | None) -> None:
    await _GoOn(host, coroutine, told)


async def _awaited(made: Any) -> Any:
    return await made if isinstance(made, Coroutine) or hasattr(made, "__await__") else made
