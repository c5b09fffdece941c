"""What all connections of a server have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from interlock.clock import Clock
from interlock.server.auth import Authenticator
from interlock.server.fan_out import FanOut
from interlock.server.service import Service
from interlock.server.turns import Turns

Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]


class Shared:
    """`spawn` starts a task that outlives the connection."""

    def __init__(
        self,
        service: Service,
        authenticator: Authenticator,
        clock: Clock,
        turns: Turns,
        spawn: Spawn,
        new_request_id: Callable[[], str],
    ) -> None:
        self.service = service
        self.authenticator = authenticator
        self.clock = clock
        self.turns = turns
        self.spawn = spawn
        self.new_request_id = new_request_id
        self.fan_out = FanOut(service, clock)
