"""What running functions reach, put together once by the dispatcher."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from interlock.clock import Clock
from interlock.engine import Engine
from interlock.functions.deadlines import Deadlines
from interlock.functions.fetch import Fetcher
from interlock.functions.handles import Handles
from interlock.functions.log_volume import LogVolume
from interlock.functions.meter import CpuMeter
from interlock.functions.own_calls import OwnCalls
from interlock.functions.scheduling import Scheduling
from interlock.functions.sealing import Seal
from interlock.hooks import Hooks
from interlock.limits import Limits
from interlock.sandbox.share import Share

if TYPE_CHECKING:
    from interlock.functions.action_host import ActionHost
    from interlock.functions.scope import Callee, Directory


class TopLevel(Protocol):
    """Calls that are transactions of their own, made by an action."""

    async def call_from_action(self, callee: Callee, args: Mapping[str, Any], action: ActionHost, limits: Limits | None) -> Any: ...


@dataclass(slots=True)
class Services:
    """`entropy` is where all randomness comes from; in a test it is seeded. `env` holds the app's variables, `secrets` those that must
    not be read in any log, and `key` is what placeholders of secrets are made with.

    An optional one that is None is not there to be asked; `observers` are told of calls only if somebody listens.
    """

    engine: Engine
    clock: Clock
    directory: Directory
    pages: Seal
    handles: Handles
    entropy: random.Random
    meter: CpuMeter
    deadlines: Deadlines
    top_level: TopLevel
    own_calls: OwnCalls
    env: Mapping[str, str]
    secrets: tuple[str, ...]
    key: bytes
    fetcher: Fetcher
    scheduling: Scheduling | None = None
    observers: Hooks | None = None
    log_volume: LogVolume = field(default_factory=LogVolume)
    shares: dict[str, Share] = field(default_factory=dict)

    def share(self, component_path: str) -> Share | None:
        """That of the mount that this instance is, or is in. The app itself has none."""
        mount = component_path.partition("/")[0]
        if mount and mount not in self.shares:
            self.shares[mount] = Share(self.own_calls.is_busy)
        return self.shares.get(mount)
