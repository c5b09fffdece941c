"""What clients do, and what has to be true whatever goes wrong. Written once, and run under every kind of fault."""

from __future__ import annotations

import random

from interlock.testing.simulation.client import SimulatedClient


class Workload:
    """Subclass it, and overwrite what you need. Each run has an object of its own: what clients are answered can be kept in it.

    `clients` do `rounds` rounds each, all at the same time. `random` is seeded; `client.random` is one client's own.

    An error of `act`, `follow` or `always` that comes from the faults (`CallFailed.is_passing`) ends that round and no more
    (`follow` begins anew): the call had no effect, except perhaps an action. Every other error, a failed assertion above all,
    fails the simulation.
    """

    clients: int = 3
    rounds: int = 6

    def __init__(self, chance: random.Random) -> None:
        self.random = chance

    async def setup(self, client: SimulatedClient) -> None:
        """Before all else; nothing goes wrong yet."""

    async def act(self, client: SimulatedClient) -> None:
        """One round of one client."""
        raise NotImplementedError("a workload says what its clients do: overwrite `act`")

    async def follow(self, client: SimulatedClient) -> None:
        """What a client does all the time beside its rounds: look at a subscription, most likely. It ends with the simulation."""

    async def always(self, client: SimulatedClient) -> None:
        """Assert what must be true in every state. A client of its own does it again and again, in the middle of everything."""

    async def at_end(self, client: SimulatedClient) -> None:
        """Assert what must be true when all clients are done, no job is left, and nothing goes wrong any more."""
