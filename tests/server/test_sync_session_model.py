"""Random histories of several connections, each checked message by message.

Model: the tiny backend keeps every state there ever was. After each Transition, everything that a client holds has to be what a
fresh query gives at that Transition's timestamp and identity; at rest, what it gives now.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interlock.server import make_admin_key
from interlock.server.messages import decode_ts
from interlock.server.service import Answer, Credentials
from interlock.testing.virtual_clock import VirtualClock

from .sync_client import SyncClient, settle
from .tiny import SECRET, TinyService, place_of, shared

ADMIN_KEY = make_admin_key("tiny", SECRET)
QUERIES = ("t:get", "t:everything", "t:whoami", "t:fail", "t:nothing")
KEYS = ("a", "b")

clients = st.integers(0, 2)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), clients, st.sampled_from(QUERIES), st.sampled_from(KEYS)),
        st.tuples(st.just("remove"), clients, st.integers(0, 10)),
        st.tuples(st.just("modify"), clients),
        st.tuples(st.just("mutate"), clients, st.sampled_from(("t:add", "t:add", "t:failMutation", "t:get")), st.sampled_from(KEYS)),
        st.tuples(st.just("act"), clients),
        st.tuples(st.just("log in"), clients, st.sampled_from(("ada", "bob", None))),
        st.tuples(st.just("commit"), st.sampled_from(KEYS)),
        st.tuples(st.just("gate"), st.sampled_from(("t:get", "t:whoami", "t:add", "t:act"))),
        st.tuples(st.just("hold"), clients),
        st.tuples(st.just("know"), st.sampled_from(QUERIES)),
        st.tuples(st.just("time"), st.integers(1, 14)),
        st.tuples(st.just("rounds"), st.integers(1, 12)),
    ),
    max_size=40,
)


class Watched(SyncClient):
    """A client whose every Transition is compared with the backend."""

    def __init__(self, service: TinyService, *args: Any) -> None:
        super().__init__(*args)
        self.service = service
        self.identities: list[Credentials] = [Credentials()]
        self.live: dict[int, tuple[str, dict[str, Any]]] = {}
        self.all: dict[int, tuple[str, dict[str, Any]]] = {}

    def _take_transition(self, message: dict[str, Any]) -> None:
        super()._take_transition(message)
        end = message["endVersion"]
        self.check(place_of(decode_ts(end["ts"])), self.identities[end["identity"]])

    def check(self, place: int, who: Credentials) -> None:
        for query_id, told in self.held.items():
            path, args = self.all[query_id]
            fresh = self.service.run(place, "query", path, args, who)
            if isinstance(fresh, Answer):
                assert told["type"] == "QueryUpdated" and told["value"] == json.loads(fresh.json), (path, args)
            else:
                assert told["type"] == "QueryFailed"


@dataclass
class Play:
    service: TinyService = field(default_factory=TinyService)
    clock: VirtualClock = field(default_factory=lambda: VirtualClock(1_800_000_000_000.0))
    clients: list[Watched] = field(default_factory=list)

    async def take(self, step: tuple[Any, ...]) -> None:
        match step:
            case ("add", n, path, key):
                client = self.clients[n]
                query_id = len(client.all)
                client.all[query_id] = client.live[query_id] = (path, {"key": key})
                await client.add(query_id, path, {"key": key})
            case ("remove", n, which):
                client = self.clients[n]
                if client.live:
                    query_id = sorted(client.live)[which % len(client.live)]
                    del client.live[query_id]
                    await client.remove(query_id)
            case ("modify", n):
                await self.clients[n].modify()
            case ("mutate", n, path, key):
                await self.clients[n].mutate(path, {"key": key})
            case ("act", n):
                await self.clients[n].call("Action", "t:act")
            case ("log in", n, name):
                client = self.clients[n]
                if name is None:
                    client.identities.append(Credentials())
                    await client.authenticate(tokenType="None")
                else:
                    who = {"issuer": "i", "subject": name, "tokenIdentifier": f"i|{name}"}
                    client.identities.append(Credentials(who, admin=True))
                    await client.authenticate(tokenType="Admin", value=ADMIN_KEY, impersonating=who)
            case ("commit", key):
                self.service.commit(lambda state: state.update({key: state.get(key, 0) + 1}))
            case ("gate", path):
                gate = self.service.gates.pop(path, None)
                if gate is None:
                    self.service.gates[path] = asyncio.Event()
                else:
                    gate.set()
            case ("know", path):
                self.service.known ^= {path}
            case ("hold", n):
                wire = self.clients[n].wire
                if wire.is_held:
                    wire.release()
                else:
                    wire.is_held = True
            case ("time", seconds):
                self.clock.move_to(self.clock.now_ms() + seconds)
            case ("rounds", rounds):
                await settle(rounds)
        for client in self.clients:
            client.read()

    async def end(self) -> None:
        """Let go of everything, and see that all is told."""
        for gate in self.service.gates.values():
            gate.set()
        self.service.gates.clear()
        for client in self.clients:
            client.wire.release()
        await settle(400)
        for client in self.clients:
            client.read()
            assert client.wire.closed is None
            assert set(client.held) == set(client.live)
            assert len(client.responses) == client.next_request and not client.unconfirmed
            assert client.version["querySet"] == client.query_set and client.version["identity"] == client.identity
            client.check(len(self.service.states) - 1, client.identities[-1])
        assert not self.service.pinned
        for client in self.clients:
            client.session.disconnected()
        assert not self.service.live


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=steps)
def test_every_client_sees_true_states_in_order_and_at_rest_the_newest(steps: list[tuple[Any, ...]]) -> None:
    async def play() -> None:
        game = Play()
        common = shared(game.service, game.clock)
        for n in range(3):
            client = Watched(game.service, common)
            await client.connect(sessionId=f"2c5d1168-4a21-466f-a876-5edc31c009e{n}")
            game.clients.append(client)
        for step in steps:
            await game.take(step)
        await game.end()

    asyncio.run(play())
