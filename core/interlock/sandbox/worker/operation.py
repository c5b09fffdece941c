"""An operation as a worker's context gives it: like a coroutine, it begins when it is first awaited."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Operation(Generic[T]):
    """`begin` asks the host, or does it here. A coroutine as well, so that it can be made a task."""

    __slots__ = ("_begin", "_waits")

    def __init__(self, begin: Callable[[], Awaitable[T]]) -> None:
        self._begin: Callable[[], Awaitable[T]] | None = begin
        self._waits: Any = None

    def __await__(self) -> Any:
        begin, self._begin = self._begin, None
        if begin is None:
            raise RuntimeError("cannot reuse already awaited coroutine")
        return begin().__await__()

    def send(self, value: Any) -> Any:
        if self._waits is None:
            self._waits = self.__await__()
        return self._waits.send(value)

    def throw(self, *error: Any) -> Any:
        if self._waits is not None:
            return self._waits.throw(*error)
        self._begin = None
        raise error[1] if len(error) > 1 and error[1] is not None else error[0]

    def close(self) -> None:
        self._begin = None
        if self._waits is not None:
            self._waits.close()
