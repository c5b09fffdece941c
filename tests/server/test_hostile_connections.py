"""What a connection may cost: heads that never end, pings that nobody answers for, messages that are small only on the wire."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed

from interlock.server import decoding
from interlock.server.decoding import BadJson, read_json
from interlock.server.http_front import HttpFront
from interlock.server.socket_front import SocketFront

from .site import Site, site
from .sync_client import SESSION, settle

CONNECT = {"type": "Connect", "sessionId": SESSION, "connectionCount": 0}
PING = b"\x89\xfd" + bytes(4) + b"p" * 125


async def connection(here: Site) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = here.url.removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port))


async def raw_socket(here: Site) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await connection(here)
    upgrade = ("GET /api/sync HTTP/1.1", "Host: tiny", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
    writer.write("\r\n".join([*upgrade, "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==", "", ""]).encode())
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
    return reader, writer


def fronts(kind: type[Any]) -> list[Any]:
    return [each for each in gc.get_objects() if type(each) is kind and each.transport is not None and not each.transport.is_closing()]


HEADS = {
    "url": (b"POST /api/", b"x" * 9_000),
    "header": (b"POST /api/query HTTP/1.1\r\nx: ", b"x" * 9_000),
    "headers": (b"POST /api/query HTTP/1.1\r\n", b"a: b\r\n" * 1_500),
    "trailers": (b"POST /api/query HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", b"a: b\r\n" * 1_500),
    "trailer": (b"POST /api/query HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\na: ", b"x" * 9_000),
    "head of another route": (b"GET /elsewhere HTTP/1.1\r\nx: ", b"x" * 9_000),
}


@pytest.mark.parametrize("head", HEADS)
async def test_a_head_that_never_ends_is_refused(head: str) -> None:
    begin, part = HEADS[head]
    async with site() as here:
        _, writer = await connection(here)
        writer.write(begin)
        sent = 0
        with pytest.raises(OSError):
            while sent < 100 * 2**20:
                writer.write(part)
                await writer.drain()
                sent += len(part)
        assert sent < 20 * 2**20  # what the two ends and the system keep on the way
        writer.close()


async def test_a_long_head_is_taken() -> None:
    async with site() as here:
        reader, writer = await connection(here)
        body = b'{"path":"t:get","args":{}}'
        writer.write(b"POST /api/query HTTP/1.1\r\nx: %b\r\nContent-Type: application/json\r\n" % (b"x" * 40_000))
        await settle()
        writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        assert b"200" in await reader.readline()
        writer.close()


async def test_a_flood_of_pings_leaves_others_their_turns_and_keeps_no_pongs() -> None:
    async with site() as here, here.socket() as other:
        _, writer = await raw_socket(here)
        flood = PING * 2_000
        try:
            async with asyncio.timeout(20):
                for _ in range(200):  # 50 MB
                    writer.write(flood)
                    await writer.drain()
        except TimeoutError:
            pass
        assert max(front.transport.get_write_buffer_size() for front in fronts(SocketFront)) < 2**20
        await other.send(json.dumps(CONNECT))
        await other.send(json.dumps({"type": "Mutation", "requestId": 0, "udfPath": "t:add", "args": [{}]}))
        assert json.loads(await other.recv())["success"]
        writer.transport.abort()


async def test_pings_are_answered() -> None:
    async with site() as here, here.socket() as one:
        for _ in range(5):
            await (await one.ping())


async def test_a_message_is_not_held_on_to_when_it_is_answered() -> None:
    async with site() as here, here.socket() as one:
        await one.send(json.dumps(CONNECT))
        for message in ("x" * 5_000_000, ["x" * 1_000_000] * 5):
            content = "".join(message)
            call = json.dumps({"type": "Mutation", "requestId": 0, "udfPath": "t:add", "args": [{"key": "a", "note": content}]})
            await one.send(call if isinstance(message, str) else [call[:2_000_000], call[2_000_000:]])
            assert json.loads(await one.recv())["success"]
            await one.recv()
            (front,) = fronts(SocketFront)
            assert front.conn.parser.gi_yieldfrom is not None
            frame = front.conn.parser.gi_yieldfrom.gi_frame.f_locals["frame"]
            assert len(frame.data) == 0
            assert front.frames == []


async def test_a_connection_that_has_ended_leaves_nothing_for_the_collector() -> None:
    async with site() as here:
        gc.collect()
        gc.disable()
        try:
            _, http = await connection(here)
            body = b'{"path":"t:get","args":{}}'
            http.write(b"POST /api/query HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            http.write(b"POST /api/query HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
            _, plain = await connection(here)
            plain.write(b"GET /nothing HTTP/1.1\r\n\r\n")
            _, ws = await raw_socket(here)
            ws.write(b"\x81\xfe" + len(json.dumps(CONNECT)).to_bytes(2) + bytes(4) + json.dumps(CONNECT).encode())
            ws.write(b"\x81\xff" + (10_000_000).to_bytes(8) + bytes(4) + b"x" * 100_000)  # never whole
            async with asyncio.timeout(10):
                while len(fronts(HttpFront)) < 2 or not fronts(SocketFront):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            left = [weakref.ref(front) for kind in (HttpFront, SocketFront) for front in fronts(kind)]
            for writer in (http, plain, ws):
                writer.transport.abort()
            async with asyncio.timeout(10):
                while any(front() is not None for front in left):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        finally:
            gc.enable()


async def test_a_text_that_is_not_utf8_is_no_json(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        async with site() as here, here.socket() as one:
            await one.send(b'{"type":"Conn\xff\xfe"}', text=True)
            assert json.loads(await one.recv())["type"] == "FatalError"
            with pytest.raises(ConnectionClosed):
                await one.recv()
    assert caplog.records == []


# JSON that is small on the wire alone


@pytest.mark.parametrize("item", ["[]", "{}", "0", '""', '{"a":[]}'])
def test_a_message_of_too_many_values_is_refused_before_it_is_read(item: str) -> None:
    count = 1 + decoding._VALUES_MAX * 2 // 1
    for text in ("[" + ",".join([item] * count) + "]", ("[" + ",".join([item] * count) + "]").encode()):
        with pytest.raises(BadJson, match="more than 4,000,000 values"):
            read_json(text)


@pytest.mark.parametrize("text", ["1,2;[3]:{4}", '\\",[', "\\\\", '"'])
def test_what_stands_in_strings_is_not_counted(text: str) -> None:
    long = text * (2 * decoding._VALUES_MAX)
    assert read_json(json.dumps({"csv": long}).encode()) == {"csv": long}


@given(
    value=st.recursive(
        st.none() | st.integers(0, 9) | st.text(',:[{"\\é', max_size=8),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(',:[{"\\', max_size=4), inner, max_size=4),
    ),
    limit=st.integers(1, 40),
)
def test_values_are_counted_as_the_parser_finds_them(value: object, limit: int) -> None:
    """Model: what stands in the parsed value."""

    def marks(value: object) -> int:
        if isinstance(value, list):
            return 1 + max(0, len(value) - 1) + sum(map(marks, value))
        if isinstance(value, dict):
            return 1 + len(value) + max(0, len(value) - 1) + sum(map(marks, value.values()))
        return 0

    before = decoding._VALUES_MAX
    decoding._VALUES_MAX = limit
    try:
        for text in (json.dumps(value, separators=(",", ":")), json.dumps(value, ensure_ascii=False).encode()):
            if marks(value) <= limit:
                assert read_json(text) == value
            elif len(text) > limit:
                with pytest.raises(BadJson):
                    read_json(text)
    finally:
        decoding._VALUES_MAX = before
