"""One worker's life, played through in the zygote before the first fork, with a component of our own.

What Python makes when code runs for the first time (caches of modules, specialized bytecode) is then made once and shared by all
workers, instead of by each in memory of its own: that saves a worker a third of the time until its first answer, and of its memory.

Python counts references in the objects themselves, so whatever a worker looks at it writes to, and each first write to a shared page
costs it a copy. Those of loading a component are made ahead of time by `load_for_nothing`, in workers that have nothing to do yet.

Start at `rehearse`. Nothing of it is left but what was warmed.
"""

from __future__ import annotations

import importlib
import marshal
import socket
import sys
from typing import Any

from interlock.sandbox.frames import NOTHING, Frames, decode, encode
from interlock.sandbox.worker.modules import ComponentFiles
from interlock.sandbox.worker.running import Worker

_NAME = "interlock_rehearsal"
_ROUNDS = 10  # bytecode is specialized after some runs
_TURNS = 20  # of the loop, in which all calls of a round have come to their ends
_COMPONENT = '''
"""Every kind of function, once."""

import asyncio
from typing import Any

from pydantic import BaseModel

from interlock import ActionCtx, AppError, Component, MutationCtx, QueryCtx, Schema, Table


class Row(BaseModel):
    name: str
    value: float = 0


component = Component(
    "rehearsal", schema=Schema(rows=Table({"name": str, "value": float}).index("by_name", "name"), models=Table(Row)), env={"A": str | None}
)


@component.mutation
async def add(ctx: MutationCtx, name: str, count: float = 1) -> float:
    row = await ctx.db.query("rows").index("by_name", name=name).first()
    if row is None:
        await ctx.db.insert("rows", {"name": name, "value": count})
        return count
    await ctx.db.patch(row["_id"], {"value": row["value"] + count})
    return float(row["value"] + count)


@component.query
async def count(ctx: QueryCtx, name: str) -> Any:
    return await asyncio.gather(*[ctx.db.get(name) for _ in range(2)])


@component.query
def plain(ctx: QueryCtx, row: Row | None = None) -> dict[str, Any]:
    return {"now": ctx.now(), "env": ctx.env["A"]}


@component.action
async def act(ctx: ActionCtx) -> None:
    await ctx.run_mutation(add, name="a")


@component.query
async def fail(ctx: QueryCtx) -> None:
    raise AppError("no")
'''
_SMALL = '''
"""What every component has, and no more: the copies are to be those that any of them needs."""

from interlock import Component, QueryCtx

component = Component("rehearsal")


@component.query
async def ask(ctx: QueryCtx, n: int) -> None:
    """A question."""
'''
_SMALL_FILES = {f"{_NAME}/__init__.py": b"", f"{_NAME}/component.py": _SMALL.encode()}
_SMALL_CODE = {path: marshal.dumps(compile(text, path, "exec", dont_inherit=True)) for path, text in _SMALL_FILES.items()}
_CALLS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("add", "mutation", {"name": "a"}),
    ("count", "query", {"name": "a"}),
    ("plain", "query", {"row": {"name": "a", "value": 1.0}}),
    ("act", "action", {}),
    ("fail", "query", {}),
)
_ROW = {"_id": "a", "_creationTime": 1.0, "name": "a", "value": 1.0}
_ANSWERS: dict[str, Any] = {"scan": [_ROW], "get": _ROW, "run": 1.0}


def rehearse() -> None:
    """Load a component, call its functions, answer what they ask for."""
    ours, theirs = socket.socketpair()
    finders = list(sys.meta_path)
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        worker = Worker(theirs.fileno())
        try:
            _play(worker, ours)
        finally:
            worker.loop.close()
            sys.meta_path[:] = finders
            for name in [name for name in sys.modules if name.startswith(_NAME)]:
                del sys.modules[name]
            sys.path_importer_cache.pop(_NAME, None)


def load_for_nothing() -> None:
    """Import a small component, as workers mostly do from its code, and forget it."""
    name = f"{_NAME}.component"
    sys.meta_path.append(ComponentFiles(_SMALL_FILES, _SMALL_CODE))
    try:
        module = importlib.import_module(name)
        module.component.functions.clear()  # a component and its functions hold each other
        vars(module).clear()  # and so do functions and where they look up names
    finally:
        sys.meta_path.pop()
        sys.modules.pop(name, None)  # by their names: to look through all modules would touch them all
        sys.modules.pop(_NAME, None)
        sys.path_importer_cache.pop(_NAME, None)


def _play(worker: Worker, host: socket.socket) -> None:
    files = {f"{_NAME}/__init__.py": b"", f"{_NAME}/component.py": _COMPONENT.encode()}
    described = {
        "path": "rehearsal",
        "module": f"{_NAME}.component",
        "object": "component",
        "files": files,
        "code": {},
        "env": {"A": "b"},
        "native": {},
    }
    worker.send(["hello", {}, 1])
    host.sendall(encode(["load", {**described, "manifest": False}]))
    frames = Frames()
    number = open_calls = 0
    for turn in range(_ROUNDS * _TURNS):
        if turn % _TURNS == 0:
            for name, kind, args in _CALLS:
                number += 1
                open_calls += 1
                remembers = kind == "mutation"
                is_real = kind == "action"
                host.sendall(encode(["call", number, name, kind, NOTHING, args, 1.0, is_real, 1, 1, {}, 1.0, NOTHING, remembers]))
        worker.loop.call_soon(worker.loop.stop)
        worker.loop.run_forever()
        worker.channel.flush()
        try:
            frames.feed(host.recv(1 << 18))
        except BlockingIOError:
            continue
        while (body := frames.next()) is not None:
            frame = decode(body)
            if frame[0] == "op":
                host.sendall(encode(["res", frame[2], _ANSWERS.get(frame[3])]))
            elif frame[0] in ("ret", "exc"):
                open_calls -= 1
                assert frame[0] == "ret" or frame[1] % len(_CALLS) == 0, f"the rehearsal fails: {frame}"
            elif frame[0] not in ("hello", "loaded"):
                raise AssertionError(f"the rehearsal fails: {frame}")
    assert not open_calls, "the rehearsal did not come to its end"
