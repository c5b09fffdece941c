"""A result that is there at once where one to await was expected: mostly nothing is waited for, and that saves a coroutine."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Generic, TypeVar

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class Made(Generic[T_co]):
    """`value` is the result."""

    __slots__ = ("value",)

    def __init__(self, value: T_co) -> None:
        self.value = value


async def arrived(made: Made[T] | Awaitable[T]) -> T:
    """The result, waited for if it has to be."""
    return made.value if type(made) is Made else await made  # type: ignore[misc]
