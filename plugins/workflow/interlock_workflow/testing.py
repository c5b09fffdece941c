"""Replays of recorded runs: `assert replay(orders.fulfil, "histories/order-17.json").status == "done"` is a whole test.

It needs no backend and does nothing: every step gets what is recorded. What the record does not have ends the replay there.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from interlock import Function, from_text
from interlock_workflow.client import definition_of
from interlock_workflow.step import Call
from interlock_workflow.turn import Entry, Turn


@dataclass(frozen=True, slots=True)
class Replay:
    """What became of a run by its record: `done` with its `result`, `failed` with its `error`, or `blocked`: it asks for `asks` next."""

    status: str
    result: Any = None
    error: Mapping[str, Any] | None = None
    asks: tuple[str, ...] = ()


def replay(workflow: Function[..., Any], history: Mapping[str, Any] | str | os.PathLike[str], *, version: int | None = None) -> Replay:
    """Run a workflow's function against a record, as `WorkflowManager.history` gives it, or a JSON file of one.

    Raises ChangedPast where the code no longer does what the run has done. `version` runs another version than the record's.
    """
    definition = definition_of(workflow)
    if definition is None:
        raise TypeError(f"replay takes a function that WorkflowManager.define has made, not {workflow!r}")
    if workflow.public_name is None:
        _name_functions_beside(workflow)
    record = history if isinstance(history, Mapping) else json.loads(Path(history).read_text(encoding="utf-8"))
    function = definition.of(version if version is not None else record.get("version"))
    names = ("number", "key", "name", "kind", "digest", "at", "state", "value", "error")
    entries = [Entry(**{name: step[name] for name in names if name in step}) for step in record["steps"]]
    for entry in entries:
        entry.number = int(entry.number)
    turn = Turn(record["id"], f"{record['seed']} {int(record['run'])}", record["started"], entries, local="apart")
    args = function.check_arguments(from_text(record["args"]))
    outcome = _finish(turn.drive(function.handler, args, _Nothing(), function.check_result))
    asks = tuple(step["key"] for step in outcome.steps if step["kind"] != "patch")
    result = from_text(outcome.value) if outcome.value is not None else None
    return Replay(outcome.status, result, from_text(outcome.error) if outcome.error is not None else None, asks)


def _name_functions_beside(workflow: Function[..., Any]) -> None:
    """Give the functions of an app that was imported, and that no backend has loaded, the names that they have in it.

    Steps are recorded by these. They follow from where a module lies, seen from the app.py above it.
    """
    file = _file_of(sys.modules.get(workflow.module))
    home = next((folder for folder in file.parents if (folder / "app.py").is_file()), None) if file is not None else None
    if home is None:
        return
    for module in list(sys.modules.values()):
        file = _file_of(module)
        if file is None or home not in file.parents:
            continue
        place = file.relative_to(home).with_suffix("").as_posix()
        for attribute, value in list(vars(module).items()):
            if isinstance(value, Function) and value.public_name is None and value.module == module.__name__:
                value.public_name = f"{place}:{value.name or attribute}"


def _file_of(module: ModuleType | None) -> Path | None:
    file = vars(module).get("__file__") if isinstance(module, ModuleType) else None
    return Path(file) if isinstance(file, str) else None


def _finish(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run what never waits."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("a replay waits for nothing")


class _Nothing:
    """Does no step: a replay ends at the first one that is not recorded."""

    async def run(self, call: Call) -> None:
        raise AssertionError("a replay does no steps")

    async def to_start(self, call: Call) -> dict[str, Any]:
        return {}

    async def long_value(self, entry: Entry) -> str:
        raise AssertionError(f"the record has no value of step {entry.key}")

    def is_full(self) -> bool:
        return False

    def room(self) -> int:
        return sys.maxsize

    def log(self, level: str, text: str) -> None: ...
