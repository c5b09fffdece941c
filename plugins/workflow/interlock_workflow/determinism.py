"""Finds, when a workflow is defined, what would make it answer differently when it is replayed: clocks, chance, files, threads.

It reads the code of the function itself and of what is defined in it; helpers that it calls are not looked into.
"""

from __future__ import annotations

import builtins
import dis
from collections.abc import Callable, Iterator
from types import CodeType, ModuleType
from typing import Any

_TIME = "step.now()"
_RANDOM = "step.random"
_ACTION = "an action: step.run_action(ref, …)"
INSTEAD: dict[str, str] = {
    "time.sleep": "step.sleep(seconds)",
    "time.*": _TIME,
    "datetime.now": _TIME,
    "datetime.utcnow": _TIME,
    "datetime.today": _TIME,
    "date.today": _TIME,
    "random.Random": "",  # with a seed it is as good as a constant
    "random.*": _RANDOM,
    "secrets.*": _RANDOM,
    "uuid.uuid1": "step.uuid4()",
    "uuid.uuid4": "step.uuid4()",
    "os.environ": "an argument, or a query step",
    "os.getenv": "an argument, or a query step",
    "os.urandom": "step.random.randbytes(n)",
    "os.*": _ACTION,
    "asyncio.sleep": "step.sleep(seconds)",
    "asyncio.to_thread": _ACTION,
    "asyncio.timeout": "with_options(timeout=…) or await_event(timeout=…)",
    "asyncio.wait_for": "with_options(timeout=…) or await_event(timeout=…)",
    "threading.*": _ACTION,
    "socket.*": _ACTION,
    "subprocess.*": _ACTION,
    "builtins.open": _ACTION,
    "builtins.input": "step.await_event(name)",
}
_HARMLESS = {"os.path", "time.struct_time"}


def check_handler(handler: Callable[..., Any]) -> None:
    """Raise TypeError for a function that uses what a workflow may not, naming it, the line and what to write instead."""
    code = getattr(handler, "__code__", None)
    if not isinstance(code, CodeType):
        return
    names = {**vars(builtins), **getattr(handler, "__globals__", {}), **_closure(handler, code)}
    for line, used in _uses(code, names):
        instead = INSTEAD.get(used)
        if instead is None and used not in _HARMLESS:
            instead = INSTEAD.get(f"{used.partition('.')[0]}.*")
        if instead:
            place = f"{code.co_filename}:{line}"
            raise TypeError(f"{place}: the workflow {handler.__name__} uses {used}, which differs when it is replayed. Use {instead}.")


def names_its_steps(handler: Callable[..., Any], is_known: Callable[[Any], bool]) -> bool:
    """Whether each step of a function calls what stands in its module or closure and is known, as far as its code can show.

    False for helpers that are given the step, child workflows, references that are made on the way, and whatever else is not plain.
    """
    code = getattr(handler, "__code__", None)
    if not isinstance(code, CodeType) or not code.co_argcount or any(isinstance(constant, CodeType) for constant in code.co_consts):
        return False
    step, *_ = code.co_varnames
    names = {**getattr(handler, "__globals__", {}), **_closure(handler, code)}
    before = ""
    for instruction in dis.get_instructions(code):
        loads, name = instruction.opname, instruction.argval
        if loads in ("CACHE", "PUSH_NULL", "EXTENDED_ARG", "RESUME"):
            continue
        is_attribute = loads in ("LOAD_ATTR", "LOAD_METHOD")
        if before == "step" and not (is_attribute and name in _PLAIN):
            return False
        if before == "run" and not (loads in ("LOAD_GLOBAL", "LOAD_DEREF") and is_known(names.get(name))):
            return False
        if before == "known" and (is_attribute or loads == "COPY" or "JUMP" in loads):
            return False
        before = {"run": "known"}.get(before, "")
        if is_attribute and isinstance(name, str) and name.startswith("run_"):
            before = "run"
        elif name == step or (isinstance(name, tuple) and step in name):
            if loads not in ("LOAD_FAST", "LOAD_FAST_BORROW"):
                return False
            before = "step"
    return True


_PLAIN = {"run_query", "run_mutation", "run_action", "sleep", "await_event", "now", "uuid4", "random", "workflow_id", "log"}


def _uses(code: CodeType, names: dict[str, Any]) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of what the code takes from modules and from classes of `datetime`."""
    line, holder = code.co_firstlineno, ""
    for instruction in dis.get_instructions(code):
        line = _line(instruction) or line
        name = str(instruction.argval)
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF"):
            known = names.get(name)
            holder = known.__name__ if isinstance(known, ModuleType) else _class_of_datetime(known)
            if not holder and known is not None:
                yield line, _place(known)
        elif instruction.opname in ("LOAD_ATTR", "LOAD_METHOD") and holder:
            if holder == "datetime" and name in ("datetime", "date"):
                holder = name
                continue
            yield line, f"{holder}.{name}"
            holder = ""
        elif instruction.opname not in ("PUSH_NULL", "CACHE", "PRECALL"):
            holder = ""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _uses(constant, names)


def _line(instruction: Any) -> int | None:
    line = getattr(instruction, "line_number", None)  # from Python 3.13 on
    return line if line is not None else instruction.starts_line if not isinstance(instruction.starts_line, bool) else None


def _class_of_datetime(known: Any) -> str:
    is_there = isinstance(known, type) and known.__module__ == "datetime" and known.__name__ in ("datetime", "date")
    return known.__name__ if is_there else ""


def _place(known: Any) -> str:
    """`asyncio.sleep` for what was imported by name."""
    module = str(getattr(known, "__module__", "") or "").partition(".")[0]
    if module == "_io" or known is open:
        return "builtins.open"
    return f"{module}.{getattr(known, '__name__', '')}"


def _closure(handler: Any, code: CodeType) -> dict[str, Any]:
    cells = getattr(handler, "__closure__", None) or ()
    found = {}
    for name, cell in zip(code.co_freevars, cells, strict=False):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not bound yet
            continue
    return found
