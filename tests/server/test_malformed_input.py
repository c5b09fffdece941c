"""Whatever is sent: it is answered or the connection ends; nothing is raised, and nobody else notices."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interlock.server import make_admin_key
from interlock.testing.virtual_clock import VirtualClock

from .sync_client import SESSION, SyncClient, settle
from .test_http_api import app_of
from .tiny import FUNCTIONS, SECRET, TinyService, shared

VOCABULARY = """
    type Connect ModifyQuerySet Mutation Action Authenticate Event Add Remove User Admin None tokenType value args
    AAAAAAAAAAA= //////////8= $integer $float $bytes $set __proto__ issuer subject tokenIdentifier json a/b .. :
"""
WORDS = st.sampled_from([*VOCABULARY.split(), "\ud800", "\0", "é", SESSION, make_admin_key("tiny", SECRET), *FUNCTIONS])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3),
    st.integers(),
    st.sampled_from([2**31, 2**32, 2**53, 2**63, 2**64, 10**400, 1e308, -0.0]),
    st.floats(allow_nan=False, allow_infinity=False),
    WORDS,
    st.text(max_size=20),
)
JUNK = st.recursive(SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=3)), max_leaves=8)
DEEP = st.integers(1, 3000).map(lambda depth: json.loads("[" * min(depth, 900) + "]" * min(depth, 900)))
ANY = st.one_of(JUNK, DEEP)


def of(*good: Any) -> st.SearchStrategy[Any]:
    return st.one_of(*(st.just(value) for value in good), *(st.just(value) for value in good), ANY)


ARGS = st.one_of(st.just([{}]), st.lists(JUNK, max_size=2), ANY)
CHANGE = st.fixed_dictionaries(
    {"type": of("Add", "Remove"), "queryId": of(0, 1), "udfPath": of("t:get", "t:whoami"), "args": ARGS},
    optional={"journal": of(None, "j"), "componentPath": of(None, "", "tally")},
)
MESSAGE = st.one_of(
    st.fixed_dictionaries({"type": st.just("Connect"), "sessionId": of(SESSION)}, optional={"maxObservedTimestamp": ANY, "clientTs": ANY}),
    st.fixed_dictionaries(
        {
            "type": st.just("ModifyQuerySet"),
            "baseVersion": of(0, 1, 2),
            "newVersion": of(1, 2, 3),
            "modifications": st.one_of(st.lists(CHANGE, max_size=3), ANY),
        }
    ),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["Mutation", "Action"]), "requestId": of(0, 1, 2), "udfPath": of("t:add", "t:act"), "args": ARGS},
        optional={"componentPath": of(None, "", "tally")},
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("Authenticate"),
            "baseVersion": of(0, 1),
            "tokenType": of("User", "Admin", "None"),
            "value": of(make_admin_key("tiny", SECRET)),
        },
        optional={"impersonating": of({"issuer": "i", "subject": "s"}), "acting_as": ANY},
    ),
    ANY,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    messages=st.lists(st.one_of(MESSAGE.map(json.dumps), st.text(max_size=50), st.binary(max_size=50)), max_size=8), connects=st.booleans()
)
def test_a_socket_takes_anything(messages: list[str | bytes], connects: bool) -> None:
    async def play() -> None:
        service = TinyService()
        clock = VirtualClock(1_800_000_000_000.0)
        common = shared(service, clock)
        other = SyncClient(common)
        await other.connect(sessionId="00000000-0000-0000-0000-000000000001")
        await other.add(0, "t:get", {"key": "mine"})
        hostile = SyncClient(common)
        if connects:
            await hostile.connect()
        for message in messages:
            await hostile.session.receive(message)
        await settle()
        for raw in hostile.wire.sent:
            assert json.loads(raw)["type"] in {"Transition", "MutationResponse", "ActionResponse", "FatalError", "AuthError"}
        if hostile.wire.closed is not None:
            assert hostile.wire.closed[0] in {1000, 1011, 1013}
        await other.mutate("t:add", {"key": "mine"})
        await settle()
        other.read()
        assert other.value(0) == 1.0 and other.wire.closed is None
        for client in (hostile, other):
            client.session.disconnected()
        assert not service.live and not service.pinned

    asyncio.run(play())


BODY = st.one_of(
    st.fixed_dictionaries(
        {"path": of("t:get", "t:add", "t:act"), "args": ARGS},
        optional={
            "format": of("json", "export_json"),
            "ts": of("AAAAAAAAAAA="),
            "componentPath": of("", "tally"),
            "queries": st.lists(ANY, max_size=2),
        },
    ).map(json.dumps),
    ANY.map(json.dumps),
    st.binary(max_size=50),
)
ROUTES = st.sampled_from(
    ["query", "mutation", "action", "function", "query_at_ts", "query_batch", "run/t/add", "run/", "nothing", "query?adminKey=x&args={"]
)
HEADER = st.one_of(
    st.none(), st.sampled_from(["Bearer x.y.z", "Convex a|b:c", "x", "Basic abcdefg", f"Convex {make_admin_key('tiny', SECRET)}"])
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(requests=st.lists(st.tuples(ROUTES, BODY, HEADER), max_size=5))
def test_the_http_api_takes_anything(requests: list[tuple[str, str | bytes, str | None]]) -> None:
    async def play() -> None:
        transport = httpx.ASGITransport(app_of(TinyService()))
        async with httpx.AsyncClient(transport=transport, base_url="http://tiny") as client:
            for route, body, header in requests:
                headers = {"content-type": "application/json"} | ({} if header is None else {"authorization": header})
                answer = await client.post(f"/api/{route}", content=body, headers=headers)
                document = answer.json()
                if answer.status_code == 200:
                    assert document.get("status") in {"success", "error"} or "results" in document
                else:
                    assert 400 <= answer.status_code < 500 and document["code"] and document["message"]

    asyncio.run(play())
