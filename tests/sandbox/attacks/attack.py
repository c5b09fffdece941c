"""How a hostile function says what it is, what has to become of it, and whether it has won.

A hostile function gets its `prey` (paths, numbers of processes, addresses) and returns LOOT when it got through. Anything else that
it returns or raises is a defeat. The same function, unconfined, must win: that is its canary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

LOOT = "got through"


@dataclass(frozen=True)
class Attack:
    """`ends` is a regular expression for how it has to end in a sealed worker. `plan` are shares that it runs with there.

    `depends_on_machine`: what the machine refuses to the unconfined as well cannot be shown, and is skipped. `wins_by_lasting`:
    unconfined it goes on and on, and is ended by the test.
    """

    run: Callable[[Any], Any]
    ends: str
    plan: dict[str, Any] = field(default_factory=dict)
    depends_on_machine: bool = False
    wins_by_lasting: bool = False

    def __call__(self, prey: Any) -> Any:
        return self.run(prey)


def attack(
    ends: str = "PermissionError|RefusedInSandbox",
    *,
    depends_on_machine: bool = False,
    wins_by_lasting: bool = False,
    **plan: Any,
) -> Callable[[Callable[[Any], Any]], Attack]:
    """The decorator of hostile functions."""

    def mark(run: Callable[[Any], Any]) -> Attack:
        return Attack(run, ends, plan, depends_on_machine, wins_by_lasting)

    return mark


def native() -> Any:
    """The C library. ctypes was put away, and what a component finds of it in memory serves it all the same."""
    import sys

    return sys.modules["interlock.sandbox.confinement.libc"].library()


def call(number: int, *arguments: Any) -> int:
    """A system call past all of Python. Raises OSError, so that a refusal is told like any other."""
    import os

    library = native()
    globals_of_ctypes = type(library).__init__.__globals__
    long = globals_of_ctypes["c_long"]
    library.syscall.restype = long
    passed = [long(argument) if isinstance(argument, int) else argument for argument in arguments]
    result = int(library.syscall(long(number), *passed))
    if result < 0:
        code = globals_of_ctypes["get_errno"]()
        raise OSError(code, f"system call {number}: {os.strerror(code)}")
    return result


def buffer(size_or_bytes: Any) -> Any:
    """Memory that C can write to."""
    return type(native()).__init__.__globals__["create_string_buffer"](size_or_bytes)
