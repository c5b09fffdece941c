"""The server on a real port: under its own web server, and under uvicorn as it comes."""

from __future__ import annotations

import asyncio
import gc
import json
import random
import socket
import subprocess
import sys
from functools import partial
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from interlock.errors import MountError
from interlock.server.serve import bind, run
from interlock.server.socket_front import SocketFront

from .site import FRONTS, site
from .sync_client import SESSION, settle


async def send(connection: ClientConnection, *messages: dict[str, Any]) -> None:
    for message in messages:
        await connection.send(json.dumps(message))


async def receive(connection: ClientConnection) -> Any:
    return json.loads(await connection.recv())


CONNECT = {"type": "Connect", "sessionId": SESSION, "connectionCount": 0, "lastCloseReason": None}


def add(query_id: int, path: str, **args: Any) -> dict[str, Any]:
    change = {"type": "Add", "queryId": query_id, "udfPath": path, "args": [args]}
    return {"type": "ModifyQuerySet", "baseVersion": query_id, "newVersion": query_id + 1, "modifications": [change]}


def mutation(request_id: int, path: str, **args: Any) -> dict[str, Any]:
    return {"type": "Mutation", "requestId": request_id, "udfPath": path, "args": [args]}


@pytest.mark.parametrize(("front", "prefix"), [("own", ""), ("uvicorn", ""), ("uvicorn", "/backend")])
async def test_a_subscription_and_a_mutation_over_a_socket(front: str, prefix: str) -> None:
    async with site(front, prefix) as here, here.socket() as connection:
        await send(connection, CONNECT, add(0, "t:get"))
        assert (await receive(connection))["modifications"][0]["value"] is None
        await send(connection, mutation(0, "t:put", value="é😀\0"))
        kinds = [await receive(connection) for _ in range(2)]
        assert [message["type"] for message in kinds] == ["MutationResponse", "Transition"]
        assert kinds[1]["modifications"][0]["value"] == "é😀\0"
        async with httpx.AsyncClient(base_url=here.url) as client:
            assert (await client.post("/api/query", json={"path": "t:get", "args": {}})).json()["value"] == "é😀\0"


@pytest.mark.parametrize("front", FRONTS)
async def test_a_socket_without_a_version_is_one_of_the_python_client(front: str) -> None:
    async with site(front) as here, here.socket("/api/sync", additional_headers={"Convex-Client": "python-0.8.1"}) as connection:
        await send(connection, CONNECT, {"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": []})
        assert (await receive(connection))["type"] == "Transition"


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize(("path", "status"), [("/api/nonsense/sync", 400), ("/api/1.2/sync", 400), ("/elsewhere", 404)])
async def test_a_socket_that_is_not_there_is_refused_at_the_handshake(front: str, path: str, status: int) -> None:
    async with site(front) as here:
        with pytest.raises(InvalidStatus) as refused:
            async with here.socket(path):
                pass
        assert refused.value.response.status_code == status


@pytest.mark.parametrize("front", FRONTS)
async def test_a_fatal_error_arrives_before_the_close(front: str) -> None:
    async with site(front) as here, here.socket() as connection:
        await connection.send("nonsense")
        assert (await receive(connection))["type"] == "FatalError"
        with pytest.raises(ConnectionClosed) as closed:
            await connection.recv()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1000


@pytest.mark.parametrize("front", FRONTS)
async def test_a_close_of_the_server_has_a_code_and_a_reason(front: str) -> None:
    async with site(front) as here, here.socket() as connection:
        await send(connection, CONNECT, mutation(0, "t:crash"))
        with pytest.raises(ConnectionClosed) as closed:
            await connection.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1011, "InternalServerError")


async def test_a_long_message_goes_out_in_frames_that_every_client_takes() -> None:
    async with site() as here, here.socket("/api/sync") as connection:
        await send(connection, CONNECT, add(0, "t:big", size=20_000_000))
        parts = [part async for part in connection.recv_streaming()]
        assert max(map(len, parts)) <= 4 * 1024 * 1024
        assert len(json.loads("".join(str(part) for part in parts))["modifications"][0]["value"]) == 20_000_000


async def test_long_messages_of_a_client_are_taken_up_to_the_limit() -> None:
    async with site() as here, here.socket() as connection:
        await send(connection, CONNECT, mutation(0, "t:put", value="x" * 17_000_000))
        assert (await receive(connection))["success"]
        with pytest.raises(ConnectionClosed) as closed:
            await connection.send("x" * 68_000_000)
            while True:
                await connection.recv()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009


async def test_everybody_is_told() -> None:
    async with site() as here:
        sockets = [here.socket() for _ in range(150)]
        connections = [await each.__aenter__() for each in sockets]
        for connection in connections:
            await send(connection, CONNECT, add(0, "t:get"))
        for connection in connections:
            await receive(connection)
        here.service.commit(lambda state: state.update(counter=1))
        told = await asyncio.gather(*map(receive, connections))
        assert {message["modifications"][0]["value"] for message in told} == {1.0}
        for each in sockets:
            await each.__aexit__(None, None, None)


@pytest.mark.parametrize("front", FRONTS)
async def test_a_client_that_never_reads_is_cut_off_and_others_do_not_notice(front: str) -> None:
    async with site(front) as here, here.socket() as other:
        deaf = await connect(here.url.replace("http", "ws") + "/api/1.0.0/sync", max_size=None, max_queue=1)
        await send(deaf, CONNECT, add(0, "t:everything"))
        await send(other, CONNECT, add(0, "t:get"))
        await receive(other)
        noise = random.Random(0).randbytes(1_000_000).hex()  # no compression helps
        for n in range(20):
            here.service.commit(partial(dict.update, counter=n, load=noise))
            assert (await receive(other))["modifications"][0]["value"] == float(n)
        assert len(here.service.live) == 2
        for _ in range(5):
            here.clock.move_to(here.clock.now_ms() + 15_000)
            await asyncio.sleep(0)
        await settle()
        assert len(here.service.live) == 1
        deaf.transport.abort()


async def test_a_client_that_answers_no_ping_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["interlock.server.serve"]
    monkeypatch.setattr(module, "_PING_EVERY_S", 0.05)
    monkeypatch.setattr(module, "_SILENT_S", 0.1)
    async with site() as here:
        reader, writer = await open_raw(here.url)
        assert b"keepalive ping timeout" in await asyncio.wait_for(reader.read(), 10)
        writer.close()


async def open_raw(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A socket after its handshake, for frames that no library would send."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    upgrade = ("GET /api/sync HTTP/1.1", "Host: tiny", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
    writer.write("\r\n".join([*upgrade, "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==", "", ""]).encode())
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
    return reader, writer


def frame(first: int, payload: bytes = b"") -> bytes:
    assert len(payload) < 126
    return bytes((first, 0x80 | len(payload), 0, 0, 0, 0)) + payload


async def test_the_pings_of_a_client_that_reads_nothing_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    fronts: list[SocketFront] = []
    made = SocketFront.connection_made
    monkeypatch.setattr(SocketFront, "connection_made", lambda self, transport: (fronts.append(self), made(self, transport))[1])
    async with site() as here:
        reader, writer = await open_raw(here.url)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        (front,) = fronts
        for _ in range(60):
            writer.write(frame(0x89, b"x" * 125) * 2000)
            await writer.drain()
        assert not front.writable.is_set() and front.transport.get_write_buffer_size() < 1_000_000
        writer.write(frame(0x89, b"last"))
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        tail = b""
        while not tail.endswith(b"last"):
            tail = (tail + await asyncio.wait_for(reader.read(65_536), 10))[-65_536:]
        writer.transport.abort()


async def test_a_message_in_no_end_of_fragments_is_refused() -> None:
    async with site() as here:
        reader, writer = await open_raw(here.url)
        writer.write(frame(0x01))
        writer.write(frame(0x00) * (64 * 1024))
        assert b"too many fragments" in await asyncio.wait_for(reader.read(), 10)
        writer.close()


async def test_a_refused_handshake_is_no_error_of_the_server(caplog: pytest.LogCaptureFixture) -> None:
    async with site() as here:
        with pytest.raises(InvalidStatus):
            async with here.socket("/elsewhere"):
                pass
    assert not caplog.records


async def test_a_server_that_stops_answers_first_and_takes_no_more() -> None:
    async with site() as here, here.socket() as connection, httpx.AsyncClient(base_url=here.url) as client:
        here.service.gates["t:add"] = gate = asyncio.Event()
        await send(connection, CONNECT, mutation(0, "t:add"))
        request = asyncio.ensure_future(client.post("/api/mutation", json={"path": "t:add", "args": {}}))
        await here.service.called(2)
        here.stop.set()
        with pytest.raises(OSError):
            while True:
                (await asyncio.open_connection(*here.url.removeprefix("http://").split(":")))[1].close()
                await asyncio.sleep(0.01)
        gate.set()
        assert (await receive(connection))["type"] == "MutationResponse"
        assert (await receive(connection))["type"] == "Transition"
        with pytest.raises(ConnectionClosed) as closed:
            await connection.recv()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1011
        assert (await request).json()["status"] == "success"


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limit")
def test_a_server_asks_for_as_many_sockets_as_it_may_have() -> None:
    program = """
import resource
from interlock.server.serve import run

async def limit():
    return resource.getrlimit(resource.RLIMIT_NOFILE)

_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, min(hard, 4096)))
print(*run(limit()))
"""
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "4096 4096\n"


def test_the_collector_is_set_back_for_who_goes_on_after_the_server() -> None:
    async def settings() -> tuple[tuple[int, int, int], bool]:
        return gc.get_threshold(), gc.get_freeze_count() > 0

    before = gc.get_threshold(), gc.get_freeze_count() > 0
    assert run(settings()) == ((50_000, 50, 1_000), True)
    assert (gc.get_threshold(), gc.get_freeze_count() > 0) == before
    with pytest.raises(ZeroDivisionError):
        run(fails())
    assert (gc.get_threshold(), gc.get_freeze_count() > 0) == before


async def fails() -> None:
    raise ZeroDivisionError


def test_a_port_that_is_taken_is_named_with_a_way_out() -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    port = taken.getsockname()[1]
    with taken, pytest.raises(MountError, match=f"127.0.0.1:{port}: another program listens on this port.\n.*--port {port + 1}"):
        bind("127.0.0.1", port).close()
    with pytest.raises(MountError, match="cannot listen here"):
        bind("192.0.2.1", 3210)
