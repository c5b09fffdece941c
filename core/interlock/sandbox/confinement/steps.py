"""A lock-down as a list of calls whose arguments are made: a forked child does nothing but call.

Whatever a child looks up, makes or runs for the first time costs it a copy of a page that it would share with all others. So its
steps are written down before the fork, and the child only goes through them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from interlock.sandbox.confinement.libc import last_error


class Step(NamedTuple):
    """One call. It fails by raising, or as C functions do by a negative answer; unless it `must` work that is passed over."""

    what: str
    call: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    must: bool = True


def take(steps: Iterable[Step]) -> None:
    """Go through them. Raises OSError for the first one that fails and must not, and none behind it is taken."""
    for what, call, arguments, must in steps:
        answer = call(*arguments)
        if answer is not None and answer < 0 and must:
            raise last_error(what)


def first_that_works(steps: Iterable[Step]) -> str | None:
    """Try all of these, which are to fail; the name of the first one that does not."""
    for what, call, arguments, _ in steps:
        if call(*arguments) >= 0:
            return what
    return None
