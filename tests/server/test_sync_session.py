"""The protocol of one connection, on a tiny backend and a clock that stands still."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from interlock.limits import LIMITS
from interlock.server import make_admin_key
from interlock.server.client_version import ClientVersion
from interlock.server.messages import encode_ts
from interlock.testing.virtual_clock import VirtualClock

from .sync_client import PYTHON, SESSION, HeldWire, SyncClient, connected, settle
from .tiny import SECRET, TinyService, shared, ts_of

START_MS = 1_800_000_000_000.0


class World:
    """A backend, a clock, and as many clients as wanted."""

    def __init__(self) -> None:
        self.service = TinyService()
        self.clock = VirtualClock(START_MS)
        self.shared = shared(self.service, self.clock)

    async def client(self) -> SyncClient:
        return await connected(self.shared)

    def pass_time(self, seconds: float) -> None:
        self.clock.move_to(self.clock.now_ms() + seconds * 1000)


async def test_a_query_is_answered_and_then_follows_commits() -> None:
    world = World()
    client = await world.client()
    await client.add(0, "t:get")
    await settle()
    [first] = client.read()
    assert first["endVersion"] == {"querySet": 1, "identity": 0, "ts": encode_ts(ts_of(0)).decode()}
    assert client.value(0) is None
    await client.mutate("t:add", {"n": 5.0})
    await settle()
    response, transition = client.read()
    assert response["type"] == "MutationResponse" and response["result"] == 5.0 and response["logLines"] == ["[LOG] wrote"]
    assert transition["endVersion"]["ts"] == response["ts"]
    assert client.value(0) == 5.0 and not client.unconfirmed


async def test_the_response_comes_before_the_transition_that_covers_it() -> None:
    world = World()
    client = await world.client()
    await client.add(0, "t:get")
    await client.mutate("t:add")
    await settle()
    kinds = [message["type"] for message in client.read()]
    assert kinds.index("MutationResponse") < len(kinds) - 1 and kinds[-1] == "Transition"
    assert not client.unconfirmed


async def test_a_failed_mutation_is_followed_by_a_transition_too() -> None:
    world = World()
    client = await world.client()
    for args in ({}, {"data": None}, {"data": {"a": [1.0]}}):
        request = await client.mutate("t:failMutation", args)
        await settle()
        response, transition = client.read()
        assert transition["type"] == "Transition" and transition["startVersion"]["querySet"] == 0
        assert response["success"] is False and ("AppError" if args else "boom") in response["result"]
        assert ("errorData" in response) == ("data" in args) and response.get("errorData") == args.get("data")
        assert request not in client.unconfirmed


async def test_all_queries_of_a_client_move_together() -> None:
    world = World()
    client = await world.client()
    await client.modify(*({"type": "Add", "queryId": n, "udfPath": "t:get", "args": [{"key": key}]} for n, key in enumerate("abc")))
    await settle()
    client.read()
    world.service.gates["t:get"] = gate = asyncio.Event()
    world.service.commit(lambda state: state.update(a=1, b=1, c=1))
    await settle()
    world.service.commit(lambda state: state.update(a=2, b=2, c=2))
    gate.set()
    await settle()
    seen = [{change["queryId"]: change["value"] for change in message["modifications"]} for message in client.read()]
    assert all(values in ({0: 1.0, 1: 1.0, 2: 1.0}, {0: 2.0, 1: 2.0, 2: 2.0}) for values in seen)
    assert seen[-1][0] == 2.0


async def test_an_unchanged_result_is_not_sent() -> None:
    world = World()
    client = await world.client()
    await client.add(0, "t:get", {"key": "mine"})
    await settle()
    client.read()
    world.service.commit(lambda state: state.update(other=1))
    await settle()
    assert client.read() == [] and world.service.runs["t:get"] == 2
    await client.mutate("t:add", {"key": "other"})
    await settle()
    response, transition = client.read()
    assert transition["modifications"] == [] and transition["endVersion"]["ts"] == response["ts"]


async def test_one_transition_may_cover_several_query_sets() -> None:
    world = World()
    client = await world.client()
    for query_id in range(3):
        await client.add(query_id, "t:get", {"key": str(query_id)})
    await settle()
    [transition] = client.read()
    assert transition["endVersion"]["querySet"] == 3 and len(transition["modifications"]) == 3


async def test_an_add_and_its_remove_before_the_first_transition_leave_nothing_but_the_acknowledgement() -> None:
    world = World()
    client = await world.client()
    await client.add(0, "t:get")
    await client.remove(0)
    await settle()
    [transition] = client.read()
    assert transition["modifications"] == [{"queryId": 0, "type": "QueryRemoved"}]
    assert transition["endVersion"]["querySet"] == 2 and world.service.live == set()


async def test_an_empty_query_set_is_acknowledged() -> None:
    world = World()
    client = await world.client()
    await client.modify()
    await settle()
    [transition] = client.read()
    assert transition["endVersion"]["querySet"] == 1 and transition["modifications"] == []


async def test_mutations_of_one_connection_run_one_at_a_time_in_order() -> None:
    world = World()
    client = await world.client()
    world.service.gates["t:put"] = gate = asyncio.Event()
    for value in ("a", "b", "c"):
        await client.mutate("t:put", {"value": value})
    await settle()
    assert world.service.calls == [("t:put", {"value": "a"})]
    gate.set()
    await settle()
    client.read()
    assert list(client.responses) == [0, 1, 2] and world.service.states[-1] == {"counter": "c"}


async def test_actions_run_side_by_side_and_do_not_hold_up_mutations() -> None:
    world = World()
    client = await world.client()
    world.service.gates["t:act"] = gate = asyncio.Event()
    for n in range(3):
        await client.call("Action", "t:act", {"n": n})
    await client.mutate("t:add")
    await settle()
    client.read()
    assert list(client.responses) == [3] and len(world.service.calls) == 4
    gate.set()
    await settle()
    client.read()
    assert sorted(client.responses) == [0, 1, 2, 3]
    assert client.responses[1] == {
        "type": "ActionResponse", "requestId": 1, "success": True, "result": {"n": 1.0}, "logLines": ["[LOG] ran"],
    }  # fmt: skip


async def test_a_failed_query_tells_its_data_only_when_it_has_some() -> None:
    world = World()
    client = await world.client()
    await client.add(0, "t:fail")
    await client.add(1, "t:fail", {"data": None})
    await client.add(2, "t:nothing")
    await client.add(3, "t:add")
    await settle()
    client.read()
    assert "errorData" not in client.held[0] and client.held[1]["errorData"] is None
    assert "Could not find" in client.held[2]["errorMessage"]
    assert "query" in client.held[3]["errorMessage"] and "mutation" in client.held[3]["errorMessage"]


@pytest.mark.parametrize(
    ("path", "args", "word"),
    [
        ("no good:name!", [{}], "not a function name"),
        ("x" * 5000, [{}], "5,000 characters"),
        ("t:get", [{}, {}], "one object"),
        ("t:get", ["text"], "object"),
        ("t:get", 7, "object"),
        ("t:get", [{"a": {"$set": []}}], "$set"),
        ("t:get", [{"a": {"$integer": "AQ=="}}], "$integer"),
        ("t:get", [{"$bytes": "AQ=="}], "object"),
        ("t:get", [{"a": "\ud800"}], "surrogate"),
        ("t:get", [{"é": 1}], "key"),
    ],
)
async def test_a_call_that_cannot_be_one_fails_alone(path: str, args: Any, word: str) -> None:
    world = World()
    client = await world.client()
    await client.modify({"type": "Add", "queryId": 0, "udfPath": path, "args": args})
    await client.send({"type": "Mutation", "requestId": 0, "udfPath": path, "args": args})
    await client.send({"type": "Action", "requestId": 1, "udfPath": path, "args": args})
    await settle()
    client.read()
    for failure in (client.held[0]["errorMessage"], client.responses[0]["result"], client.responses[1]["result"]):
        assert word in failure and len(failure) < 1000
    assert client.wire.closed is None


async def test_no_arguments_are_no_named_arguments() -> None:
    world = World()
    client = await world.client()
    await client.send({"type": "Mutation", "requestId": 0, "udfPath": "t.js:add", "args": []})
    await settle()
    client.read()
    assert client.responses[0]["result"] == 1.0


async def test_a_resent_mutation_gets_its_first_answer() -> None:
    world = World()
    first = await world.client()
    await first.mutate("t:add", {"n": 5})
    await settle()
    first.read()
    first.session.disconnected()
    second = await world.client()
    await second.mutate("t:add", {"n": 5})
    await settle()
    second.read()
    assert second.responses == first.responses and world.service.states[-1] == {"counter": 5}


async def test_a_mutation_that_runs_when_the_client_goes_is_finished_and_those_that_wait_are_not_begun() -> None:
    world = World()
    client = await world.client()
    world.service.gates["t:add"] = gate = asyncio.Event()
    for _ in range(3):
        await client.mutate("t:add")
    await settle()
    client.session.disconnected()
    gate.set()
    await settle()
    assert world.service.states[-1] == {"counter": 1} and client.read() == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[]",
        "null",
        "1e999",
        '{"type":"Nonsense"}',
        '{"type":["Connect"]}',
        '{"type":"Mutation","requestId":-1,"udfPath":"t:add","args":[]}',
        '{"type":"Mutation","requestId":4294967296,"udfPath":"t:add","args":[]}',
        '{"type":"Mutation","requestId":1.5,"udfPath":"t:add","args":[]}',
        '{"type":"Mutation","requestId":true,"udfPath":"t:add","args":[]}',
        '{"type":"Mutation","requestId":99999999999999999999999999999999,"udfPath":"t:add","args":[]}',
        '{"type":"Mutation","requestId":0,"udfPath":7,"args":[]}',
        '{"type":"ModifyQuerySet","baseVersion":1,"newVersion":2,"modifications":{}}',
        '{"type":"ModifyQuerySet","baseVersion":1,"newVersion":2,"modifications":[7]}',
        '{"type":"ModifyQuerySet","baseVersion":1,"newVersion":2,"modifications":[{"type":"Change"}]}',
        '{"type":"ModifyQuerySet","baseVersion":1,"newVersion":2,"modifications":[{"type":"Add","queryId":0,"udfPath":"a:b","args":[],"journal":7}]}',
        '{"type":"ModifyQuerySet","baseVersion":2,"newVersion":3,"modifications":[]}',
        '{"type":"ModifyQuerySet","baseVersion":1,"newVersion":1,"modifications":[]}',
        '{"type":"Authenticate","baseVersion":0,"tokenType":"Guess"}',
        '{"type":"Authenticate","baseVersion":0,"tokenType":"User"}',
        '{"type":"Authenticate","baseVersion":0,"tokenType":"Admin","value":"x","impersonating":[]}',
        "[" * 100_000,
        '{"type":"Event","x":' + "[" * 2000 + "]" * 2000 + "}",
        f'{{"type":"Connect","sessionId":"{SESSION}"}}',
    ],
)
async def test_what_no_client_sends_ends_the_connection_with_a_fatal_error_and_no_other(text: str) -> None:
    world = World()
    other = await world.client()
    await other.add(0, "t:get")
    client = await world.client()
    await client.add(7, "t:get")
    await settle()
    client.read()
    await client.send(text)
    await client.mutate("t:add")
    await settle()
    [fatal] = [json.loads(raw) for raw in client.wire.sent[1:]]
    assert fatal["type"] == "FatalError" and client.wire.closed == (1000, "")
    assert len(world.service.live) == 1 and other.wire.closed is None


async def test_the_first_message_has_to_be_connect() -> None:
    world = World()
    client = SyncClient(world.shared)
    await client.add(0, "t:get")
    assert json.loads(client.wire.sent[0])["type"] == "FatalError" and client.wire.closed


@pytest.mark.parametrize("fields", [{"sessionId": "nonsense"}, {"maxObservedTimestamp": "x"}, {"maxObservedTimestamp": "//////////8="}])
async def test_a_connect_that_none_sends_is_refused(fields: dict[str, Any]) -> None:
    world = World()
    client = SyncClient(world.shared)
    await client.connect(**fields)
    assert json.loads(client.wire.sent[0])["type"] == "FatalError" and client.wire.closed


async def test_a_client_that_has_seen_more_than_there_is_is_turned_away() -> None:
    world = World()
    ahead, level = SyncClient(world.shared), SyncClient(world.shared)
    await ahead.connect(maxObservedTimestamp=encode_ts(ts_of(1)).decode())
    await level.connect(maxObservedTimestamp=encode_ts(ts_of(0)).decode())
    assert ahead.wire.closed == (1011, "InternalServerError") and level.wire.closed is None


@pytest.mark.parametrize(
    "modifications",
    [
        [{"type": "Remove", "queryId": 5}],
        [{"type": "Add", "queryId": 0, "udfPath": "t:get", "args": []}],
        [{"type": "Remove", "queryId": 0}, {"type": "Remove", "queryId": 0}],
    ],
)
async def test_a_query_set_on_which_the_two_sides_disagree_ends_the_connection(modifications: list[dict[str, Any]]) -> None:
    world = World()
    client = await world.client()
    await client.add(0, "t:get")
    await client.modify(*modifications)
    assert client.wire.closed == (1011, "InternalServerError")


async def test_the_clock_skew_is_told_with_the_time_or_not_at_all() -> None:
    world = World()
    skewed = SyncClient(world.shared)
    await skewed.connect(clientTs=int(START_MS) + 250)
    await skewed.modify()
    python = SyncClient(world.shared, PYTHON)
    await python.connect(clientTs=0)
    await python.modify()
    await settle()
    [told], [untold] = skewed.read(), python.read()
    assert told["clientClockSkew"] == 250 and told["serverTs"] == int(START_MS * 1e6)
    assert "clientClockSkew" not in untold and "serverTs" not in untold


async def test_a_silent_client_hears_a_ping_every_fifteen_seconds() -> None:
    world = World()
    client = await world.client()
    world.pass_time(14.9)
    assert client.read() == []
    world.pass_time(0.2)
    assert client.read() == [{"type": "Ping"}]
    world.pass_time(10)
    await client.modify()
    await settle()
    client.read()
    world.pass_time(14)
    assert client.read() == []
    world.pass_time(31)
    assert client.read() == [{"type": "Ping"}] * 3


async def test_a_client_that_does_not_read_is_sent_one_transition_and_then_no_more_until_it_does() -> None:
    world = World()
    client, other = await world.client(), await world.client()
    for one in (client, other):
        await one.add(0, "t:get")
    await settle()
    client.wire.is_held = True
    for _ in range(20):
        world.service.commit(lambda state: state.update(counter=state.get("counter", 0) + 1))
        await settle()
    assert len(client.wire.waiting) <= 2
    other.read()
    assert other.value(0) == 20.0
    client.wire.release()
    await settle()
    client.read()
    assert client.value(0) == 20.0


async def test_a_client_that_never_reads_again_is_cut_off() -> None:
    world = World()
    client = await world.client()
    await client.add(0, "t:get")
    await settle()
    client.wire.is_held = True
    world.service.commit(lambda state: state.update(counter=1))
    await settle()
    world.pass_time(61)
    assert client.wire.is_aborted and client.session.is_over and world.service.live == set()


async def test_a_client_that_reads_slowly_is_not_cut_off() -> None:
    world = World()
    client = await world.client()
    client.wire.is_held = True
    client.wire.waiting = [b'{"type":"Ping"}'] * 20
    for _ in range(20):
        client.wire.waiting.pop()
        world.pass_time(20)
    assert not client.wire.is_aborted


async def test_a_thousand_mutations_may_wait_on_a_socket_and_not_one_more() -> None:
    world = World()
    client = await world.client()
    world.service.gates["t:add"] = asyncio.Event()
    limit = int(LIMITS["socket_mutations"].value)
    for _ in range(limit + 1):  # one runs
        await client.mutate("t:add")
        await asyncio.sleep(0)
    assert client.wire.closed is None
    await client.mutate("t:add")
    assert client.wire.closed == (1013, "TooManyConcurrentMutations")


async def test_a_thousand_actions_may_run_on_a_socket_and_not_one_more() -> None:
    world = World()
    client = await world.client()
    world.service.gates["t:act"] = gate = asyncio.Event()
    for _ in range(int(LIMITS["socket_actions"].value)):
        await client.call("Action", "t:act")
    assert client.wire.closed is None
    await client.call("Action", "t:act")
    assert client.wire.closed == (1013, "TooManyConcurrentActions")
    gate.set()
    await settle()


async def test_a_client_that_sends_little_but_malformed_calls_is_turned_away() -> None:
    world = World()
    client = await world.client()
    for _ in range(1000):
        await client.mutate("not a name!")
        await asyncio.sleep(0)
    await settle()
    assert client.wire.closed == (1013, "TooManyMalformedCalls")


async def test_reading_waits_while_too_much_is_unanswered() -> None:
    world = World()
    client = await world.client()
    world.service.gates["t:put"] = gate = asyncio.Event()
    size = int(LIMITS["socket_held"].value) * 2 // 3
    await client.mutate("t:put", {"value": "x" * size})
    await settle()
    waiting = asyncio.ensure_future(client.mutate("t:put", {"value": "y" * size}))
    await settle()
    assert not waiting.done()
    gate.set()
    await settle()
    assert waiting.done() and world.service.states[-1]["counter"][0] == "y"


async def test_a_backend_that_breaks_under_a_call_ends_the_connection() -> None:
    world = World()
    client = await world.client()
    await client.mutate("t:crash")
    await settle()
    assert client.wire.closed == (1011, "InternalServerError") and client.wire.sent == []


async def test_a_server_that_stops_answers_what_it_has_taken_and_then_closes() -> None:
    world = World()
    client = await world.client()
    await client.add(0, "t:get")
    world.service.gates["t:add"] = gate = asyncio.Event()
    for _ in range(3):
        await client.mutate("t:add")
    finishing = asyncio.ensure_future(client.session.finish())
    await settle()
    await client.mutate("t:add")  # too late, and without a word
    assert not finishing.done() and client.wire.closed is None
    gate.set()
    await settle()
    client.read()
    assert sorted(client.responses) == [0, 1, 2] and not client.unconfirmed and client.value(0) == 3.0
    assert finishing.done() and client.wire.closed == (1011, "InternalServerError")


# Identities


async def test_an_admin_key_and_whom_it_stands_for() -> None:
    world = World()
    client = await world.client()
    await client.add(0, "t:whoami")
    await client.add(1, "t:get")
    await settle()
    client.read()
    await client.authenticate(
        tokenType="Admin", value=make_admin_key("tiny", SECRET), impersonating={"issuer": "i", "subject": "s", "name": "Ada"}
    )
    await settle()
    [transition] = client.read()
    assert transition["endVersion"]["identity"] == 1 and [each["queryId"] for each in transition["modifications"]] == [0]
    assert client.value(0) == {"issuer": "i", "subject": "s", "name": "Ada", "tokenIdentifier": "i|s"}
    await client.authenticate(tokenType="None")
    await settle()
    client.read()
    assert client.value(0) is None and client.version["identity"] == 2


async def test_a_bad_token_is_answered_with_the_version_that_stands_and_the_end() -> None:
    world = World()
    client = await world.client()
    await client.authenticate(tokenType="None")
    await settle()
    await client.authenticate(tokenType="User", value="nonsense")
    await settle()
    *_, error = client.read()
    assert error["type"] == "AuthError" and error["baseVersion"] == 1 and error["authUpdateAttempted"] is True
    assert client.wire.closed == (1000, "")


@pytest.mark.parametrize(
    "fields",
    [
        {"tokenType": "Admin", "value": "tiny|00"},
        {"tokenType": "Admin", "value": "tiny|\ud800"},
        {"tokenType": "Admin", "value": make_admin_key("tiny", SECRET), "impersonating": {"subject": "s"}},
        {"tokenType": "Admin", "value": make_admin_key("tiny", SECRET), "impersonating": {"issuer": 7, "subject": []}},
    ],
)
async def test_a_bad_admin_key_is_an_auth_error(fields: dict[str, Any]) -> None:
    world = World()
    client = await world.client()
    await client.authenticate(**fields)
    [error] = client.read()
    assert error["type"] == "AuthError" and client.wire.closed == (1000, "")


async def test_an_identity_version_that_is_not_the_next_ends_the_connection() -> None:
    world = World()
    client = await world.client()
    await client.send({"type": "Authenticate", "baseVersion": 1, "tokenType": "None"})
    assert client.wire.closed == (1011, "InternalServerError")


async def test_components_are_not_found_but_by_an_admin() -> None:
    world = World()
    client = await world.client()
    for _ in range(2):
        request = await client.call("Mutation", "t:add", componentPath="tally")
        await settle()
        client.read()
        if not request:
            assert "Could not find public function" in client.responses[request]["result"]
            await client.authenticate(tokenType="Admin", value=make_admin_key("tiny", SECRET))
    assert client.responses[1]["success"] and world.service.calls == [("t:add", {})]


# Sizes


async def test_a_long_transition_comes_in_parts_to_clients_that_know_parts() -> None:
    world = World()
    new, old = await world.client(), SyncClient(world.shared, ClientVersion("npm", (1, 27, 9)))
    await old.connect()
    for client in (new, old):
        await client.add(0, "t:big", {"size": 12_000_000, "letter": "é"})
    await settle()
    for client in (new, old):
        client.read()
        assert client.value(0) == "é" * 12_000_000
    assert len(new.wire.sent) == 5 and len(old.wire.sent) == 1


@pytest.mark.parametrize(("can_fragment", "fits"), [(True, 60), (False, 15)])
async def test_a_result_that_the_client_cannot_take_becomes_a_failure(can_fragment: bool, fits: int) -> None:
    world = World()
    client = SyncClient(world.shared, PYTHON, HeldWire(can_fragment))
    await client.connect()
    await client.add(0, "t:big", {"size": fits * 1024 * 1024})
    await client.add(1, "t:get")
    await client.call("Action", "t:bigAction", {"size": fits * 1024 * 1024})
    await settle()
    client.read()
    assert len(client.value(0)) == fits * 1024 * 1024 and client.responses[0]["success"]
    await client.add(2, "t:big", {"size": (fits + 10) * 1024 * 1024, "letter": "y"})
    await client.call("Action", "t:bigAction", {"size": (fits + 10) * 1024 * 1024})
    await settle()
    client.read()
    assert client.held[2]["type"] == "QueryFailed" and client.value(1) is None and not client.responses[1]["success"]
