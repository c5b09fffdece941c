"""The short way of HTTP requests, byte by byte, against uvicorn's own way: whatever is sent, both answer alike."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from typing import Any

import pytest

from .site import FRONTS, Site, site


def request(path: str, body: bytes | None = None, *headers: str, version: str = "1.1", method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: tiny", *headers]
    if body is not None:
        lines += ["Content-Type: application/json"]
        if not any(line.startswith("Transfer-Encoding") for line in headers):
            lines += [f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def call(function: str, **args: Any) -> bytes:
    return json.dumps({"path": function, "args": args, "format": "convex_encoded_json"}).encode()


ADD = request("/api/mutation", call("t:add", n=1))
GET = request("/api/query", call("t:get"))
VERSION = request("/version", method="GET")
LAST = request("/version", None, "Connection: close", method="GET")
CHUNKS = b"".join(b"%x\r\n%b\r\n" % (1, bytes([byte])) for byte in call("t:get")) + b"0\r\n\r\n"

CONVERSATIONS = {
    "one after the other": ADD + GET + LAST,
    "many at once, of both ways": ADD + VERSION + ADD + GET + VERSION + VERSION + ADD + GET + LAST,
    "the last one closes": ADD + request("/api/query", call("t:get"), "Connection: close"),
    "an old client": request("/api/mutation", call("t:add"), version="1.0"),
    "a body in chunks": request("/api/query", b"", "Transfer-Encoding: chunked") + CHUNKS + LAST,
    "no body": request("/api/query", None, "Content-Length: 0") + LAST,
    "not JSON": request("/api/query", b"{") + GET + LAST,
    "from a page": request("/api/query", call("t:get"), "Origin: https://app.example") + LAST,
    "nothing there": request("/api/nothing", b"{}") + request("/nothing", b"{}") + LAST,
    "a percent in the path": request("/api/qu%65ry", call("t:get")) + LAST,
    "a slash too many": request("//api/query", call("t:get")) + LAST,
    "an admin key in the URL": request("/api/query?adminKey=nonsense", call("t:get")) + LAST,
    "a failure": request("/api/mutation", call("t:failMutation", data={"a": 1})) + LAST,
    "a crash": request("/api/mutation", call("t:crash"), "Convex-Request-Id: abc") + LAST,
    "another method": request("/api/query", None, "Content-Length: 0", method="DELETE") + LAST,
    "a preflight": request("/api/query", None, "Origin: x", "Access-Control-Request-Method: POST", method="OPTIONS") + LAST,
    "no HTTP": b"nonsense\r\n\r\n",
}


async def converse(here: Site, *parts: bytes) -> bytes:
    """All that comes back until the server closes."""
    host, port = here.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    for part in parts:
        writer.write(part)
        await writer.drain()
        if len(parts) > 1:
            await asyncio.sleep(0)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer


def parsed(answer: bytes) -> list[tuple[bytes, dict[bytes, bytes], bytes]]:
    """Status line, headers and body of each response."""
    responses = []
    while answer:
        head, _, answer = answer.partition(b"\r\n\r\n")
        status, *lines = head.split(b"\r\n")
        headers = {name.lower(): value for name, value in (line.split(b": ", 1) for line in lines)}
        headers.pop(b"date", None)
        length = int(headers.get(b"content-length", b"0"))
        if (
            status.endswith(b"200 OK")
            and not headers.get(b"content-type", b"").startswith(b"application/json")
            and not answer[:length].strip()
        ):
            length = 0  # of a HEAD
        responses.append((status, headers, re.sub(rb"[0-9a-f]{16}", b"*", answer[:length])))
        answer = answer[length:]
    return responses


@pytest.mark.parametrize("name", CONVERSATIONS)
async def test_both_ways_answer_alike(name: str) -> None:
    answers = []
    for front in FRONTS:
        async with site(front) as here:
            answers.append(parsed(await converse(here, CONVERSATIONS[name])))
    own, theirs = answers
    for response in theirs:
        response[1].pop(b"server", None)
    assert own == theirs and own


async def test_a_request_in_single_bytes() -> None:
    async with site() as here:
        answer = parsed(await converse(here, *(bytes([byte]) for byte in ADD + GET + LAST)))
        assert [body for _, _, body in answer][1].startswith(b'{"status":"success","value":1.0')


async def test_pipelined_requests_are_answered_in_order_though_the_first_takes_long() -> None:
    async with site() as here:
        here.service.gates["t:add"] = gate = asyncio.Event()
        answer = asyncio.ensure_future(converse(here, ADD + VERSION + GET + LAST))
        await here.service.called(1)
        await converse(here, LAST)  # by now it would have begun
        assert len(here.service.calls) == 1, "the next request is begun when the one before it is answered"
        gate.set()
        bodies = [body for _, _, body in parsed(await answer)]
        assert [b"wrote" in bodies[0], bodies[1], b'"value":1.0' in bodies[2], bodies[3]] == [True, b"1.2.3", True, b"1.2.3"]


@pytest.mark.parametrize("front", FRONTS)
async def test_a_body_that_never_ends_is_refused(front: str) -> None:
    async with site(front) as here:
        host, port = here.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request("/api/query", b"", "Transfer-Encoding: chunked"))
        piece = b"%x\r\n%b\r\n" % (1 << 20, b" " * (1 << 20))

        async def pour() -> None:
            while True:
                writer.write(piece)
                await writer.drain()

        pouring = asyncio.ensure_future(pour())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        assert head.startswith(b"HTTP/1.1 413") and b"connection: close" in head.lower()
        pouring.cancel()
        await asyncio.gather(pouring, return_exceptions=True)
        writer.transport.abort()
        async with here.socket():
            pass


async def test_a_client_that_goes_before_its_answer_leaves_the_mutation_done() -> None:
    async with site() as here:
        here.service.gates["t:add"] = gate = asyncio.Event()
        host, port = here.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(ADD)
        await here.service.called(1)
        writer.transport.abort()
        await converse(here, LAST)  # by now it is seen
        gate.set()
        assert b'"value":1.0' in await converse(here, GET + LAST)


FRONT = sys.modules["interlock.server.http_front"]


async def test_a_head_that_never_ends_is_refused() -> None:
    async with site() as here:
        host, port = here.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /version HTTP/1.1\r\n")

        async def pour() -> None:
            while True:
                writer.write(b"A: " + b"a" * 8192 + b"\r\n")
                await writer.drain()

        pouring = asyncio.ensure_future(pour())
        assert (await asyncio.wait_for(reader.readline(), 10)).startswith(b"HTTP/1.1 431")
        pouring.cancel()
        await asyncio.gather(pouring, return_exceptions=True)
        writer.transport.abort()


async def test_a_head_behind_a_long_body_is_not_taken_for_a_long_head() -> None:
    long = request("/api/mutation", call("t:put", value="x" * 3_000_000))
    last = LAST.removesuffix(b"\r\n")
    async with site() as here:
        assert [status for status, _, _ in parsed(await converse(here, ADD + long + last, b"\r\n"))] == [b"HTTP/1.1 200 OK"] * 3


@pytest.mark.parametrize(
    ("begun", "answer"),
    [
        (b"POST /api/query HTTP/1.1\r\nHo", b"HTTP/1.1 408"),
        (GET[:-1], b"HTTP/1.1 408"),
        (ADD + GET[:-1], b"HTTP/1.1 200"),
        (request("/nothing", b"{}")[:-1], b"HTTP/1.1 408"),
        (request("/api/sync", None, "Upgrade: websocket", "Connection: Upgrade", method="GET")[:-2], b"HTTP/1.1 408"),
    ],
)
async def test_a_request_that_does_not_come_in_is_not_waited_for(begun: bytes, answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FRONT, "_PATIENCE_S", 0.05)
    monkeypatch.setattr(FRONT, "_BYTES_PER_S_MIN", 1 << 20)
    async with site() as here:
        assert (await converse(here, begun)).startswith(answer)
        async with here.socket() as connection:
            await asyncio.sleep(0.2)  # a socket is no request
            await connection.send("nonsense")
            assert "FatalError" in str(await connection.recv())


async def test_a_slow_request_may_take_longer_the_longer_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FRONT, "_PATIENCE_S", 0.05)
    monkeypatch.setattr(FRONT, "_BYTES_PER_S_MIN", 1)
    body = call("t:get") + b" " * 100
    head = request("/api/query", b"", "Connection: close").replace(b"Content-Length: 0", b"Content-Length: %d" % len(body))
    async with site() as here:
        host, port = here.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        for part in (head, body[:100], body[100:]):
            writer.write(part)
            await asyncio.sleep(0.1 if part is not head else 0.01)
        assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_what_follows_a_body_is_no_header() -> None:
    chunked = request("/api/query", b"", "Transfer-Encoding: chunked", "Connection: close") + CHUNKS[:-2]
    async with site() as here:
        ((status, _, body),) = parsed(await converse(here, chunked + b"Authorization: Convex nonsense|00\r\n\r\n"))
        assert status == b"HTTP/1.1 200 OK" and b'"value":null' in body


async def test_who_goes_in_the_middle_of_a_pipelined_body_leaves_nothing_waiting() -> None:
    async with site() as here:
        before = asyncio.all_tasks()
        host, port = here.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(ADD + GET[:-1])
        await reader.readuntil(b"}")
        writer.transport.abort()
        for task in asyncio.all_tasks() - before:
            await asyncio.wait_for(task, 5)


async def test_who_offers_another_protocol_is_answered_in_this_one() -> None:
    offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk")
    offered = request("/api/mutation", call("t:add", n=1), *offer)
    version = request("/version", None, *offer, method="GET")
    async with site() as here:
        once = parsed(await converse(here, offered + ADD + offered + version + offered + LAST))
        assert [b'"value":%d.0' % n in body for n, (_, _, body) in zip((1, 2, 3), once, strict=False)] == [True] * 3
        assert (once[3][2], once[5][2]) == (b"1.2.3", b"1.2.3") and b'"value":4.0' in once[4][2]
        slowly = parsed(await converse(here, *(bytes([byte]) for byte in offered + LAST)))
        assert b'"value":5.0' in slowly[0][2] and slowly[1][2] == b"1.2.3"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_handshake_with_a_body_is_answered_as_the_request_that_it_is(method: str) -> None:
    offer = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==")
    shake = request("/api/sync", b"{}", *offer, method=method)
    async with site() as here:
        refused, last = parsed(await converse(here, shake + LAST))
        assert b"404" in refused[0] and last[2] == b"1.2.3"


async def test_a_head_that_came_before_is_answered_as_the_first_time() -> None:
    """One write a request, each after the answer to the last: the same heads again, before, between and behind others."""
    async with site() as here:
        host, port = here.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        longer = request("/api/mutation", call("t:add", n=1) + b" " * 7)
        bodies = []
        for sent in (ADD, GET, ADD, VERSION, ADD, longer, GET, longer, ADD, GET):
            writer.write(sent)
            head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).lower()
            length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            bodies.append(await reader.readexactly(length))
        writer.close()
        values = [b'"value":%d.0' % n for n in (1, 4, 6)]
        assert [value in bodies[at] for value, at in zip(values, (1, 6, 9), strict=True)] == [True] * 3, bodies
        assert len(here.service.calls) == 9
