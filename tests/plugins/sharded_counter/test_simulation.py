"""The counter while everything goes wrong: what was added is there, and nothing else."""

from __future__ import annotations

import random

import pytest

from interlock.testing import FAULTS, Faults, SimulatedClient, Workload, simulate
from interlock_sharded_counter.component import component

NAMES = ("beans", "peas")


class Counting(Workload):
    """Clients add to two counters, one by one, together, and with rebalances planned in between."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__(chance)
        self.added = dict.fromkeys(NAMES, 0)

    async def act(self, client: SimulatedClient) -> None:
        name, count = client.random.choice(NAMES), client.random.randint(1, 9)
        match client.random.randrange(4):
            case 0:
                additions = [{"name": each, "count": count, "shards": 4} for each in NAMES]
                await client.mutation("add_many", additions=additions, rebalance_every=0.5)
                for each in NAMES:
                    self.added[each] += count
                return
            case 1:
                await client.mutation("rebalance", name=name, shards=client.random.choice((1, 2, 4)))
                return
            case 2:
                await client.mutation("add", name=name, count=count, shards=4, rebalance_every=0.2)
            case 3:
                await client.mutation("add", name=name, count=count, shard=client.random.randrange(3))
        self.added[name] += count

    async def follow(self, client: SimulatedClient) -> None:
        before = 0
        async for count in client.subscribe("count", name=NAMES[0]):
            assert count >= before, f"{before}, then {count}"
            before = count

    async def always(self, client: SimulatedClient) -> None:
        for name in NAMES:
            added = self.added[name]
            assert await client.query("count", name=name) >= added

    async def at_end(self, client: SimulatedClient) -> None:
        assert {name: await client.query("count", name=name) for name in NAMES} == self.added


@pytest.mark.one_isolation("inline", "a simulation is one loop and one time: no process is in it")
@pytest.mark.parametrize("faults", FAULTS, ids=str)
def test_no_addition_is_lost_or_counted_twice(faults: Faults) -> None:
    simulate(component, Counting, faults=faults, seeds=3)
