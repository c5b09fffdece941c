"""The PyPI package `convex`, unmodified. Run as `python python_client.py SCENARIO`, alone: its blocking calls hold the GIL."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from convex import ConvexClient, ConvexError, ConvexInt64
from convex.http_client import ConvexHttpClient

URL = os.environ["INTERLOCK_URL"]
SCENARIOS: dict[str, Callable[[], None]] = {}


def scenario(run: Callable[[], None]) -> Callable[[], None]:
    SCENARIOS[run.__name__] = run
    return run


def fresh(prefix: str) -> str:
    return f"{prefix}-{os.getpid()}"


def failure(call: Callable[..., Any], *args: Any) -> Exception:
    try:
        call(*args)
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


VALUES: list[Any] = [
    None,
    True,
    0.0,
    1.5,
    -1e300,
    5e-324,
    2.0**53,
    math.inf,
    -math.inf,
    ConvexInt64(0),
    ConvexInt64(-(2**63)),
    ConvexInt64(2**63 - 1),
    "",
    "é😀\0",
    b"",
    b"\x00\xff",
    [],
    [1.0, ConvexInt64(2), None, ["x"]],
    {},
    {"a": {"b": [b"x"]}, "": 1.0},
]


def calls(client: ConvexClient | ConvexHttpClient) -> None:
    name = fresh(type(client).__module__)
    assert client.query("counter:get", {"name": name}) == 0.0
    assert client.mutation("counter:add", {"name": name, "n": 5}) == 5.0
    assert client.action("counter:add_twice", {"name": name, "n": 1}) == 7.0
    assert client.query("counter.js:get", {"name": name}) == 7.0
    for value in VALUES:
        assert client.query("echoes:echo", {"value": value}) == value, value
        assert client.action("echoes:echo_action", {"value": value}) == value, value
    assert math.isnan(client.query("echoes:echo", {"value": math.nan}))
    assert math.copysign(1, client.query("echoes:echo", {"value": -0.0})) == -1
    assert client.query("echoes:typed", {"n": 7}) == 7.0


def errors(client: ConvexClient | ConvexHttpClient) -> None:
    for kind in ("query", "mutation", "action"):
        call = getattr(client, kind)
        for data in ({"code": 7.0}, None, "text", [1.0, None]):
            error = failure(call, f"echoes:fail_{kind}", {"how": "data", "data": data})
            assert isinstance(error, ConvexError) and error.data == data, (kind, data, error)
        error = failure(call, f"echoes:fail_{kind}", {"how": "plain"})
        assert not isinstance(error, ConvexError) and "plainly wrong" in str(error)
        assert "Could not find public function" in str(failure(call, "nothing:here"))
    assert "mutation" in str(failure(client.query, "counter:add", {}))
    assert client.query("counter:get", {"name": "never"}) == 0.0


@scenario
def socket_calls() -> None:
    calls(ConvexClient(URL))


@scenario
def socket_errors() -> None:
    errors(ConvexClient(URL))


@scenario
def http_calls() -> None:
    calls(ConvexHttpClient(URL))


@scenario
def http_errors() -> None:
    client = ConvexHttpClient(URL)
    errors(client)
    client.set_auth("nonsense")
    assert str(failure(client.query, "echoes:whoami")).startswith("401 InvalidAuthHeader: ")


@scenario
def iteration() -> None:
    name = fresh("iteration")
    client = ConvexClient(URL)
    other = ConvexHttpClient(URL)
    subscription = client.subscribe("counter:get", {"name": name})
    assert next(subscription) == 0.0
    for expected in (1.0, 2.0, 3.0):
        other.mutation("counter:add", {"name": name})
        assert next(subscription) == expected
    assert client.mutation("counter:add", {"name": name}) == 4.0
    assert next(subscription) == 4.0
    subscription.unsubscribe()
    assert client.query("counter:get", {"name": name}) == 4.0


@scenario
def async_iteration() -> None:
    async def follow() -> None:
        name = fresh("async")
        client = ConvexClient(URL)
        seen: list[Any] = []
        async for value in client.subscribe("counter:get", {"name": name}):
            seen.append(value)
            if len(seen) == 4:
                break
            await asyncio.to_thread(ConvexHttpClient(URL).mutation, "counter:add", {"name": name})
        assert seen == [0.0, 1.0, 2.0, 3.0]

    asyncio.run(follow())


@scenario
def a_query_that_fails_and_recovers() -> None:
    client = ConvexClient(URL)
    assert isinstance(failure(next, client.subscribe("echoes:fail_query", {"how": "data", "data": 1})), ConvexError)
    assert client.query("counter:get", {}) >= 0


@scenario
def mutations_only() -> None:
    """A connection that never subscribes still gets its Transitions: without them this hangs."""
    client = ConvexClient(URL)
    for n in range(20):
        assert client.mutation("counter:add", {"name": fresh("only")}) == n + 1.0
    assert isinstance(failure(client.mutation, "echoes:fail_mutation", {"how": "data"}), ConvexError)


@scenario
def large_results() -> None:
    client = ConvexClient(URL)
    for size in (1_000_000, 12_000_000, 16_700_000):
        assert len(client.query("echoes:big", {"size": size})) == size
    assert len(client.action("echoes:echo_action", {"value": "y" * 16_000_000})) == 16_000_000


@scenario
def tokens() -> None:
    client = ConvexClient(URL)
    assert client.query("echoes:whoami") is None
    client.set_auth(os.environ["GOOD_TOKEN"])
    assert client.query("echoes:whoami")["subject"] == "ada"
    assert client.mutation("echoes:whoami_mutation") == "ada"
    client.clear_auth()
    assert client.query("echoes:whoami") is None
    client.set_admin_auth(os.environ["INTERLOCK_ADMIN_KEY"])
    assert client.mutation("counter:add_secretly", {"n": 2, "name": fresh("secret")}) == 2.0
    http = ConvexHttpClient(URL)
    http.set_auth(os.environ["GOOD_TOKEN"])
    assert http.query("echoes:whoami")["subject"] == "ada"
    http.set_admin_auth(os.environ["INTERLOCK_ADMIN_KEY"])
    assert http.mutation("counter:add_secretly", {"n": 2, "name": fresh("secret-http")}) == 2.0


@scenario
def bad_token() -> None:
    """The Python client sends a refused token again and again, and its calls hang; the server must not mind."""
    client = ConvexClient(URL)
    client.set_auth("nonsense")
    signal.alarm(2)  # its default action ends the process, whoever holds the GIL
    client.query("echoes:whoami")
    raise AssertionError("a refused token was of use")


@scenario
def restart() -> None:
    name = fresh("restart")
    client = ConvexClient(URL)
    subscription = client.subscribe("counter:get", {"name": name})
    assert next(subscription) == 0.0
    assert client.mutation("counter:add", {"name": name}) == 1.0
    assert next(subscription) == 1.0
    print("restart me", flush=True)
    assert sys.stdin.readline() == "restarted\n"
    assert client.mutation("counter:add", {"name": name}) == 2.0
    seen = next(subscription)
    while seen != 2.0:
        seen = next(subscription)
    assert client.query("counter:get", {"name": name}) == 2.0


if __name__ == "__main__":
    SCENARIOS[sys.argv[1]]()
    os._exit(0)  # the client's own threads would be waited for
