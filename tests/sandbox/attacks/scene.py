"""A real backend with a thief and a vault: what attacks on the host and on the component beside are made in."""

from __future__ import annotations

from typing import Any

import pytest

from interlock import ComponentCrashed, DeadlineExceeded, Limits
from interlock.backend import Backend
from interlock.functions.caller import Caller

DEADLINE = 1.0
"""Of an attack that nothing else ends. All others have time to fail, and those that are honest to succeed, whatever else is running."""
PATIENCE_S = 60.0


class Scene:
    """A backend with the thief and the vault, what lies in the vault, and how to call either."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.secret = ""

    async def call(self, path: str, name: str, /, limits: Limits | None = None, **args: Any) -> Any:
        caller = Caller(admin=True, source="test", request_id="r")
        return (await self.backend.dispatcher.call(None, name, args, caller=caller, component_path=path, limits=limits)).value

    async def thief(self, name: str, /, **args: Any) -> Any:
        return await self.call("thief", name, **args)

    async def vault(self, name: str, /, **args: Any) -> Any:
        return await self.call("vault", name, **args)

    async def denied(
        self, name: str, /, path: str = "thief", deadline: float = PATIENCE_S, limits: Limits | None = None, **args: Any
    ) -> str:
        """What the thief is told; it must be an error of Interlock's or of Python's, with words."""
        with pytest.raises(Exception) as raised:
            await self.call(path, name, limits=limits or Limits(deadline=deadline), **args)
        assert str(raised.value)
        return f"{type(raised.value).__name__}: {raised.value}"

    async def unharmed(self) -> None:
        """Everything is as it was: the vault answers, and so does the thief again; nothing that was not meant to be is there."""
        assert await self.vault("texts") == ["the secret"]
        for attempt in range(5):
            try:
                assert await self.thief("looted") == []
            except (ComponentCrashed, DeadlineExceeded):  # what an attack has left in its own channel is its own trouble
                assert attempt < 4
            else:
                break
        assert await self.thief("loot_something", text="honest")
        assert await self.thief("looted") == ["honest"]
