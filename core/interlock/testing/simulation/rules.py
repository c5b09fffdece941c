"""What must hold in every simulation, whatever the app: see each method of `Rules`.

They are found from outside: from what clients were sent, and from what is on the disk.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interlock.engine import Engine
from interlock.engine.made import arrived
from interlock.errors import AppError
from interlock.functions.caller import Caller
from interlock.functions.dispatcher import Dispatcher
from interlock.functions.meter import CpuMeter
from interlock.functions.requests import KeptAnswer
from interlock.mounting import Tree
from interlock.scheduler import Scheduler
from interlock.scheduler.rows import ENDED, JOBS, RUNNING
from interlock.server.messages import decode_ts
from interlock.testing.simulation.client import Broken, CallFailed, SimulatedClient
from interlock.testing.simulation.disk import Platter
from interlock.testing.simulation.loop import SimulatedClock, SimulatedLoop
from interlock.values import unpack

_LOOKED_AT = 4


@dataclass(frozen=True)
class Seen:
    """A client has seen the result of a query: `outcome` is wire JSON, or an error."""

    ts: int
    function: str
    component: str
    args: bytes
    outcome: Any


class Rules:
    """What was promised to clients, and whether it is kept."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._answered: set[int] = set()
        self._told = 0
        self._seen: list[Seen] = []
        self._seen_count = 0

    def sent(self, message: bytes) -> None:
        """The server has sent this. From now on it rests on what can no longer be lost, whether it arrives or not."""
        if message.startswith((b'{"type":"MutationResponse"', b'{"type":"Transition"')):
            said = json.loads(message)
            if said["type"] == "Transition":
                self._told = max(self._told, decode_ts(said["endVersion"]["ts"]))
            elif said["success"]:
                self._answered.add(decode_ts(said["ts"]))

    def saw(self, seen: Seen) -> None:
        """Keep some of them, each with the same likelihood."""
        if isinstance(seen.outcome, CallFailed) and seen.outcome.is_passing:
            return
        self._seen_count += 1
        if len(self._seen) < _LOOKED_AT:
            self._seen.append(seen)
        elif (at := self._chance.randrange(self._seen_count)) < _LOOKED_AT:
            self._seen[at] = seen

    # the rules

    def nothing_answered_is_lost(self, platter: Platter) -> None:
        """What a mutation was answered, and what a query was answered from, is on the disk when the server has died."""
        lost = sorted(self._answered - platter.timestamps())
        if lost:
            raise Broken(f"the commits of {len(lost)} answered mutations are lost, the first one of timestamp {lost[0]}")
        if platter.newest and self._told > platter.newest:
            raise Broken(f"clients were told of the state at {self._told}, and what is left ends at {platter.newest}")

    async def no_job_runs_twice(self, platter: Platter) -> None:
        """A job that has ended stays so, and an action's job begins once. Read off the log of commits."""
        boot = await platter.load()
        tables = {table.number for table in boot.tables if table.name == JOBS}
        began: Counter[str] = Counter()
        ended: dict[str, str] = {}
        for commit in await platter.tail(0):
            for write in commit.writes:
                if write.table not in tables or write.new is None:
                    continue
                row = unpack(write.new)
                if write.id in ended:
                    raise Broken(f"the job {row['function']} ({write.id}) had ended with {ended[write.id]}, and then was {row['state']}")
                if row["state"] in ENDED:
                    ended[write.id] = row["state"]
                elif row["state"] == RUNNING:
                    began[write.id] += 1
                    if began[write.id] > 1:
                        raise Broken(f"the job {row['function']} ({write.id}) of an action began twice")

    async def no_failed_mutation_stands(self, platter: Platter, clients: Sequence[SimulatedClient], clock: SimulatedClock) -> None:
        """What a client was told to have failed is nowhere to be found, not even by an attempt that nobody has answered."""
        engine = Engine(await platter.copy_at(platter.newest), clock=clock, seed=0)
        await engine.open()
        for client in clients:
            for key in client.failed:
                if (await engine.query(KeptAnswer(key).before)).value is not None:
                    raise Broken(f"{client.name} was told that its request {key.request} had failed, and it stands")
        await engine.close()

    async def results_are_of_true_states(
        self, platter: Platter, tree: Tree, env: Mapping[str, str], clock: SimulatedClock, loop: SimulatedLoop
    ) -> int:
        """What a client saw at a timestamp is what the query gives on the commits up to there alone. Gives how many were asked."""
        asked = 0
        for seen in sorted(self._seen, key=lambda each: (each.ts, each.function, each.args)):
            engine = Engine(await platter.copy_at(seen.ts), clock=clock, seed=0)
            await engine.open()
            meter = CpuMeter(seconds=loop.time, cpu_seconds=lambda: 0.0, tick_seconds=None)
            secret = bytes.fromhex(engine.facts["secret"])
            dispatcher = Dispatcher(engine, tree, secret=secret, env=env, entropy=random.Random(0), meter=meter)
            dispatcher.attach(scheduling=Scheduler(engine).jobs)
            caller = Caller(admin=True, source="client", request_id="simulation")
            live = dispatcher.live_query(
                seen.function, json.loads(seen.args), caller=caller, wake=lambda: None, component_path=seen.component
            )
            entry = await arrived(live.at(engine.log.durable))
            if entry.expires_ms is None:  # else it has looked at the time, which was another then
                asked += 1
                fresh = entry.error if entry.error is not None else entry.value.json
                if not _is_same(seen.outcome, fresh):
                    raise Broken(
                        f"{seen.function}({seen.args.decode()}) was {seen.outcome} for a client at {seen.ts}; "
                        f"on the commits up to there it is {fresh if isinstance(fresh, Exception) else fresh.decode()}"
                    )
            live.close()
            await engine.close()
        return asked

    async def subscribers_converge(self, clients: Sequence[SimulatedClient], asker: SimulatedClient) -> None:
        """At rest, whoever looks at a query has what somebody is given who asks now."""
        for client in clients:
            for query in client.live():
                if query.result is None or client.is_somebody:
                    continue
                outcome = query.outcome()
                try:
                    fresh: Any = await asker.ask_again(query)
                except (AppError, CallFailed) as error:
                    fresh = error
                if not _is_same(outcome, fresh):
                    raise Broken(f"{client.name} looks at {query.function} and has {outcome}; who asks now is given {fresh}")


def _is_same(told: Any, fresh: Any) -> bool:
    if isinstance(told, Exception) or isinstance(fresh, Exception):
        return isinstance(told, Exception) and isinstance(fresh, Exception)
    return bool(json.loads(told) == json.loads(fresh))
