"""Clients that keep to nothing, against a real server: each gets an answer or the end of its connection, and nobody else notices.

Every attack is one connection and is made from its own number, so `attack(url, seed, number)` does one again by itself. Beside them
a witness uses the server as clients do, and asserts that everything it is told is right and comes in time.

Start at `fuzz`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import struct
import sys
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
from websockets.asyncio.client import ClientConnection, connect

from .server import PATIENCE_S, PROGRAMS, Footprint, Server

KIB, MIB = 1024, 1024 * 1024
SESSION = "2c5d1168-4a21-466f-a876-5edc31c009e1"
LONGEST = 12
"""CPU time that a server may spend on attackers before it answers a witness: so many times what reading a large message takes."""

_SILENCE_S = 0.1
_SYNC = "/api/1.48.0/sync"
_SERVER_MESSAGES = {"Transition", "TransitionChunk", "MutationResponse", "ActionResponse", "FatalError", "AuthError", "Ping"}


@dataclass
class Fuzz:
    """What came of it."""

    attacks: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    witnessed: int = 0
    longest_s: float = 0.0


class Witness:
    """`programs/witness.py` on a server, from begin to end of the block."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.rounds = 0
        self.longest_s = 0.0

    async def __aenter__(self) -> Witness:
        command = (sys.executable, str(PROGRAMS / "witness.py"), self._server.url, str(self._server.pid), str(LONGEST))
        self._process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=PIPE)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        async with asyncio.timeout(PATIENCE_S):
            output, errors = await self._process.communicate(b"")
        assert kind is not None or self._process.returncode == 0, errors.decode()
        if self._process.returncode == 0:
            rounds, longest = output.split()
            self.rounds, self.longest_s = int(rounds), float(longest)

    @property
    def has_ended(self) -> bool:
        """Too early. What it has to say comes at the end of the block."""
        return self._process.returncode is not None


async def fuzz(server: Server, *, seed: int, numbers: range, at_once: int, told: Fuzz) -> None:
    """Make the attacks of these numbers, some at once. Raises AssertionError with seed and number."""
    waiting = iter(numbers)

    async def attack_on() -> None:
        for number in waiting:
            kind = kind_of(seed, number)
            try:
                async with asyncio.timeout(PATIENCE_S):
                    end = await attack(server.url, seed, number)
            except Exception as error:
                raise AssertionError(f"seed {seed}, attack {number} ({kind}): {error!r}") from error
            told.attacks[kind] += 1
            told.ends[end] += 1
            if witness.has_ended:
                break

    try:
        async with Witness(server) as witness, asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(attack_on())
    except ExceptionGroup as group_of_errors:
        raise group_of_errors.exceptions[0] from None
    told.witnessed += witness.rounds
    told.longest_s = max(told.longest_s, witness.longest_s)


async def settled(server: Server, before: Footprint) -> Footprint:
    """The footprint once the connections of the attackers are gone: the server lets go of them in its own time."""
    async with asyncio.timeout(PATIENCE_S):
        while (now := server.footprint).descriptors > before.descriptors:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return now


async def attack(url: str, seed: int, number: int) -> str:
    """One attack; how its connection ended. Raises when the server did what no server may."""
    return await _KINDS[kind_of(seed, number)](url, random.Random(f"attack {seed}.{number}"))


def kind_of(seed: int, number: int) -> str:
    """Each kind once, and then as they come."""
    return list(_KINDS)[number] if number < len(_KINDS) else random.Random(f"{seed}.{number}").choice(_DRAWN)


# The sync socket


async def _messages(url: str, chance: random.Random) -> str:
    """Messages that are nearly right, in any order."""
    messages = [_message(chance) for _ in range(chance.randint(1, 12))]
    if chance.random() < 0.7:
        messages.insert(0, {"type": "Connect", "sessionId": SESSION, "connectionCount": 0})
    return await _talk(url, [json.dumps(message) for message in messages])


async def _text(url: str, chance: random.Random) -> str:
    """No JSON, or JSON that is cut off, or bytes."""
    whole = json.dumps(_message(chance)).encode()
    cut = whole[: chance.randrange(len(whole))]
    swapped = bytearray(whole)
    swapped[chance.randrange(len(swapped))] = chance.randrange(256)
    return await _talk(url, [chance.choice((cut, bytes(swapped), chance.randbytes(50), b"", whole + whole))])


async def _deep(url: str, chance: random.Random) -> str:
    depth = chance.choice((60, 70, 1_000, 1_100, 100_000, 2_000_000))
    opened, closed = chance.choice((("[", "]"), ('{"a":', "}")))
    value = opened * depth + "1" * (closed == "}") + closed * depth
    messages = [_connect(), f'{{"type":"Mutation","requestId":0,"udfPath":"wall:take","args":[{{"value":{value}}}]}}']
    return await _talk(url, messages if chance.random() < 0.8 else [value])


async def _wide(url: str, chance: random.Random) -> str:
    """Small on the wire, large once it is read."""
    item = chance.choice(("[]", "{}", '""', "0.5", "null", '{"a":[]}', '{"$integer":"AAAAAAAAAAA="}'))
    size = chance.choice((9_000, 1 * MIB, 8 * MIB))
    value = "[" + ",".join([item] * (size // (len(item) + 1))) + "]"
    messages = [_connect(), f'{{"type":"Mutation","requestId":0,"udfPath":"wall:take","args":[{{"value":{value}}}]}}']
    return await _talk(url, messages)


async def _oversized(url: str, chance: random.Random) -> str:
    """A message beyond the limit, in one frame or in many; and one that only says so."""
    async with _raw_socket(url) as (reader, writer):
        kind = chance.choice(("claimed", "whole", "fragments"))
        if kind == "claimed":
            writer.write(_frame(b"", claimed=chance.choice((65 * MIB, 2**40, 2**63 - 1))))
        elif kind == "whole":
            await _write(writer, _frame(b"x" * (65 * MIB)))
        else:
            part = b"x" * MIB
            await _write(writer, _frame(part, fin=False))
            for _ in range(65):
                if not await _write(writer, _frame(part, opcode=0, fin=False)):
                    break
        return await _must_end(reader)


async def _frames(url: str, chance: random.Random) -> str:
    """What no WebSocket client sends."""
    async with _raw_socket(url) as (reader, writer):
        for _ in range(chance.randint(1, 5)):
            if not await _write(writer, _bad_frame(chance)):
                break
        await _write(writer, _frame(b"", opcode=8))
        _write_eof(writer)
        return await _must_end(reader)


def _bad_frame(chance: random.Random) -> bytes:
    payload = chance.randbytes(chance.choice((0, 1, 125, 126, 3_000)))
    match chance.randrange(6):
        case 0:
            return chance.randbytes(20)
        case 1:
            return _frame(payload, opcode=chance.randrange(16), fin=chance.random() < 0.5)
        case 2:
            return _frame(payload, masked=False)
        case 3:
            return _frame(payload, reserved=chance.randrange(1, 8))
        case 4:
            return _frame(b"\xff\xfe" + payload)
        case _:
            return _frame(struct.pack("!H", chance.choice((0, 999, 1005, 70))) + payload[:100], opcode=8)


async def _pings_unread(url: str, chance: random.Random) -> str:
    """Asks for pongs, and takes none of them."""
    ping = _frame(b"p" * 125, opcode=9)
    async with _raw_socket(url) as (_, writer):
        for _ in range(chance.choice((20, 80))):
            if not await _write(writer, ping * 4_000, within_s=0.5):
                break
        return "cut by the client"


async def _subscribed_and_deaf(url: str, chance: random.Random) -> str:
    """Watches something long that changes all the time, and reads nothing of it."""
    name = f"deaf {chance.randrange(4)}"
    async with _raw_socket(url) as (_, writer):
        add = {"type": "Add", "queryId": 0, "udfPath": "wall:long", "args": [{"name": name, "size": 2 * MIB}]}
        writer.write(_frame(_connect().encode()))
        writer.write(_frame(json.dumps({"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": [add]}).encode()))
        for number in range(10):
            message = {"type": "Mutation", "requestId": number, "udfPath": "wall:add", "args": [{"name": name}]}
            writer.write(_frame(json.dumps(message).encode()))
            await asyncio.sleep(0.02)
        return "cut by the client"


async def _calls_unread(url: str, chance: random.Random) -> str:
    """Calls and calls, and takes no answer."""
    kind, path = chance.choice((("Mutation", "wall:take"), ("Action", "wall:wait"), ("Mutation", "wall:fail")))
    async with _raw_socket(url) as (_, writer):
        writer.write(_frame(_connect().encode()))
        size = chance.choice((10, 100_000))
        for number in range(2_000 if size == 10 else 200):
            args = {"seconds": 1} if kind == "Action" else {"value": "x" * size}
            message = {"type": kind, "requestId": number, "udfPath": path, "args": [args]}
            if not await _write(writer, _frame(json.dumps(message).encode()), within_s=0.5):
                break
        return "cut by the client"


async def _half_a_handshake(url: str, chance: random.Random) -> str:
    lines = _handshake(url)
    async with _connection(url) as (_, writer):
        writer.write(lines[: chance.randrange(1, len(lines))])
        return "cut by the client"


# HTTP


async def _requests(url: str, chance: random.Random) -> str:
    """Bodies that are nearly right."""
    routes = ("query", "mutation", "action", "function", "query_at_ts", "query_batch", "query_ts", "run/wall/add", "run/", "x", "%00", "..")
    statuses = []
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_S) as client:
        for _ in range(chance.randint(1, 6)):
            body = {"path": chance.choice(("wall:take", "wall:read", _junk(chance, 2))), "args": _junk(chance, 3), "format": "json"}
            for name in ("ts", "componentPath", "queries", "format"):
                if chance.random() < 0.2:
                    body[name] = _junk(chance, 2)
            text = json.dumps(chance.choice((body, _junk(chance, 3)))).encode()
            if chance.random() < 0.2:
                text = text[: chance.randrange(len(text) + 1)]
            headers = {"content-type": chance.choice(("application/json", "text/plain"))}
            if chance.random() < 0.3:
                headers["authorization"] = chance.choice(("Bearer x.y.z", "Convex a|b", "Basic a", "x" * 3_000))
            method = chance.choice(("POST", "POST", "POST", "GET", "PUT", "OPTIONS", "HEAD"))
            response = await client.request(method, f"/api/{chance.choice(routes)}", content=text, headers=headers)
            assert response.status_code < 500, f"{response.status_code}: {response.text}"
            if method != "HEAD" and response.status_code != 200:
                assert response.json()["code"] and response.json()["message"]
            statuses.append(response.status_code)
    return f"answered {max(statuses)}"


async def _no_request(url: str, chance: random.Random) -> str:
    """Bytes that are no HTTP, or only begin like it."""
    request = b"POST /api/query HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    swapped = bytearray(request)
    for _ in range(chance.randint(1, 3)):
        swapped[chance.randrange(len(swapped) - 2)] = chance.randrange(256)
    other = (chance.randbytes(200), bytes(swapped), request.replace(b"2\r", b"-1\r"), request.replace(b"2\r", b"99999999999999999999\r"))
    return await _exchange(url, chance.choice(other))


async def _endless_head(url: str, chance: random.Random) -> str:
    """A URL, a header, many headers or trailers that never end."""
    kind = chance.choice(("url", "value", "headers", "trailers", "other route"))
    begin = {
        "url": b"POST /api/",
        "value": b"POST /api/query HTTP/1.1\r\nx: ",
        "headers": b"POST /api/query HTTP/1.1\r\n",
        "trailers": b"POST /api/query HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n",
        "other route": b"GET /other HTTP/1.1\r\nx: ",
    }[kind]
    part = b"x" * 10_000 if kind in ("url", "value", "other route") else b"".join(b"h%d: x\r\n" % n for n in range(1_000))
    async with _connection(url) as (reader, writer):
        writer.write(begin)
        for _ in range(3_000):
            if not await _write(writer, part, within_s=2):
                break
        else:
            raise AssertionError(f"{3_000 * len(part):,} bytes of {kind} were taken")
        return await _must_end(reader)


async def _large_body(url: str, chance: random.Random) -> str:
    """More than is taken, told before or not."""
    async with _connection(url) as (reader, writer):
        head = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" % chance.choice(
            (b"/api/query", b"/api/mutation", b"/echo")
        )
        if chance.random() < 0.5:
            writer.write(head + b"Content-Length: %d\r\n\r\n" % chance.choice((17 * MIB, 2**40)))
            chunk = b"x" * 100_000
        else:
            writer.write(head + b"Transfer-Encoding: chunked\r\n\r\n")
            chunk = b"186a0\r\n" + b"x" * 100_000 + b"\r\n"
        for _ in range(200):
            if not await _write(writer, chunk):
                break
        return await _must_answer(reader, {400, 413})  # 400: what lies behind the body is no request


async def _heavy_body(url: str, chance: random.Random) -> str:
    """As deep or as wide as a body can be."""
    depth = chance.choice((70, 1_100, 1_000_000))
    item = chance.choice(("[]", "{}", "0.5"))
    value = chance.choice(("[" * depth + "]" * depth, "[" + ",".join([item] * chance.choice((9_000, 1_000_000))) + "]"))
    body = f'{{"path":"wall:take","args":{{"value":{value}}}}}'.encode()
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_S) as client:
        response = await client.post("/api/mutation", content=body, headers={"content-type": "application/json"})
    assert response.status_code in (200, 400), response.text
    return f"answered {response.status_code}"


async def _pipelined_and_deaf(url: str, chance: random.Random) -> str:
    """Asks for long answers one after the other, and takes none."""
    body = json.dumps({"path": "wall:long", "args": {"name": "none", "size": 3 * MIB}}).encode()
    request = b"POST /api/query HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    async with _connection(url) as (_, writer):
        for _ in range(300):
            if not await _write(writer, request, within_s=0.3):
                break
        return "cut by the client"


async def _unfinished(url: str, chance: random.Random) -> str:
    """A request that is cut off in the middle."""
    request = b"POST /api/mutation HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n" + b"{" * 400
    async with _connection(url) as (_, writer):
        for byte in range(0, chance.randrange(1, len(request)), 50):
            writer.write(request[byte : byte + 50])
            await asyncio.sleep(0)
        return "cut by the client"


Attack = Callable[[str, random.Random], Awaitable[str]]

_KINDS: dict[str, Attack] = {
    "messages": _messages,
    "text": _text,
    "deep": _deep,
    "wide": _wide,
    "oversized": _oversized,
    "frames": _frames,
    "pings unread": _pings_unread,
    "subscribed and deaf": _subscribed_and_deaf,
    "calls unread": _calls_unread,
    "half a handshake": _half_a_handshake,
    "requests": _requests,
    "no request": _no_request,
    "endless head": _endless_head,
    "large body": _large_body,
    "heavy body": _heavy_body,
    "pipelined and deaf": _pipelined_and_deaf,
    "unfinished": _unfinished,
}
_WEIGHTS = {"messages": 12, "text": 4, "frames": 6, "requests": 10, "no request": 6, "deep": 2}
_DRAWN = [kind for kind in _KINDS for _ in range(_WEIGHTS.get(kind, 1))]


# What is sent

_WORDS = (
    *("type", "Connect", "ModifyQuerySet", "Mutation", "Action", "Authenticate", "Event", "Add", "Remove", "User", "Admin", "None"),
    *("value", "args", "name", "size", "AAAAAAAAAAA=", "//////////8=", "$integer", "$float", "$bytes", "$undefined", "__proto__"),
    *("wall:add", "wall:read", "wall:take", "x:y", "_x", "..", ":", "/", "\0", "é", "\ud800", "x" * 3_000),
)
_SCALARS = (None, True, False, 0, 1, 2, -1, 0.5, -0.0, 2**31, 2**32, 2**53, 2**63, 2**64, 10**400, 1e308, "", *_WORDS)


def _junk(chance: random.Random, depth: int) -> Any:
    if depth == 0 or chance.random() < 0.5:
        return chance.choice(_SCALARS)
    if chance.random() < 0.5:
        return [_junk(chance, depth - 1) for _ in range(chance.randint(0, 3))]
    return {chance.choice(_WORDS): _junk(chance, depth - 1) for _ in range(chance.randint(0, 3))}


def _message(chance: random.Random) -> Any:
    """A message of the protocol in which something may be anything."""

    def of(*good: Any) -> Any:
        return chance.choice(good) if chance.random() < 0.85 else _junk(chance, 2)

    def args() -> Any:
        return of([{"name": "fuzz"}], [{"value": _junk(chance, 3)}], [], {})

    match chance.choice(("Connect", "ModifyQuerySet", "ModifyQuerySet", "Mutation", "Action", "Authenticate", "Event", "junk")):
        case "Connect":
            message = {"type": "Connect", "sessionId": of(SESSION), "connectionCount": of(0), "maxObservedTimestamp": of(None)}
        case "ModifyQuerySet":
            paths = ("wall:read", "wall:everything", "wall:none")
            changes = [
                {"type": of("Add", "Remove"), "queryId": of(0, 1, 2), "udfPath": of(*paths), "args": args(), "journal": of(None)}
                for _ in range(chance.randint(0, 3))
            ]
            base = chance.randint(0, 3)
            message = {
                "type": "ModifyQuerySet",
                "baseVersion": of(base),
                "newVersion": of(base + 1, base + 5, base),
                "modifications": of(changes),
            }
        case "Mutation" | "Action" as kind:
            path = of("wall:add", "wall:take", "wall:fail", "wall:wait", "wall:read")
            message = {"type": kind, "requestId": of(0, 1, 2, 2**32 - 1), "udfPath": path, "args": args()}
        case "Authenticate":
            kind = of("User", "Admin", "None")
            message = {"type": "Authenticate", "baseVersion": of(0, 1), "tokenType": kind, "value": of("a.b.c", "x|y")}
        case "Event":
            message = {"type": "Event", "eventType": _junk(chance, 1), "event": _junk(chance, 3)}
        case _:
            return _junk(chance, 3)
    if chance.random() < 0.1:
        message.pop(chance.choice(list(message)))
    if chance.random() < 0.1:
        message["componentPath"] = _junk(chance, 1)
    return message


def _connect() -> str:
    return json.dumps({"type": "Connect", "sessionId": SESSION, "connectionCount": 0})


def _frame(
    payload: bytes, *, opcode: int = 1, fin: bool = True, masked: bool = True, reserved: int = 0, claimed: int | None = None
) -> bytes:
    """A frame of a WebSocket client, masked with nothing. `claimed` is the length that it says it has."""
    length = len(payload) if claimed is None else claimed
    first, mask = (0x80 if fin else 0) | reserved << 4 | opcode, 0x80 if masked else 0
    if length < 126:
        head = bytes((first, mask | length))
    elif length < 65_536:
        head = struct.pack("!BBH", first, mask | 126, length)
    else:
        head = struct.pack("!BBQ", first, mask | 127, length)
    return head + (bytes(4) if masked else b"") + payload


def _handshake(url: str) -> bytes:
    key = base64.b64encode(bytes(16)).decode()
    lines = (
        f"GET {_SYNC} HTTP/1.1",
        f"Host: {urlsplit(url).netloc}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _sync_url(url: str) -> str:
    return url.replace("http", "ws") + _SYNC


# How it is sent, and what has to come of it


class _connection:
    """A bare connection, cut off at the end."""

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url)

    async def __aenter__(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, self._writer = await asyncio.open_connection(self._address.hostname, self._address.port, limit=256 * KIB)
        return reader, self._writer

    async def __aexit__(self, *_: object) -> None:
        self._writer.transport.abort()


class _raw_socket(_connection):
    """A WebSocket that has got through its handshake."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._url = url

    async def __aenter__(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await super().__aenter__()
        writer.write(_handshake(self._url))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101"), head
        return reader, writer


async def _write(writer: asyncio.StreamWriter, data: bytes, within_s: float = PATIENCE_S) -> bool:
    """Send it. False when the server has closed, or takes no more."""
    try:
        async with asyncio.timeout(within_s):
            writer.write(data)
            await writer.drain()
    except (OSError, TimeoutError):
        return False
    return not writer.is_closing()


def _write_eof(writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):  # the server has closed meanwhile
        writer.write_eof()


async def _exchange(url: str, request: bytes) -> str:
    """Send a request and no more: it is answered, or the connection ends."""
    async with _connection(url) as (reader, writer):
        writer.write(request)
        _write_eof(writer)
        return await _must_answer(reader, set(range(200, 500)))


async def _must_answer(reader: asyncio.StreamReader, statuses: set[int]) -> str:
    try:
        head = await reader.read(100)
        if head:
            status = int(head.split(b" ", 2)[1])
            assert status in statuses, head
            return f"answered {status}"
    except OSError:
        pass
    return "closed"


async def _must_end(reader: asyncio.StreamReader) -> str:
    """Until the server closes, whatever it says before."""
    try:
        while await reader.read(64 * KIB):
            pass
    except OSError:
        pass
    return "closed"


async def _talk(url: str, messages: list[str] | list[bytes]) -> str:
    """Send messages, and read until the server closes or has nothing more to say. All it says is of the protocol."""
    async with connect(_sync_url(url), max_size=None, max_queue=None, compression=None, ping_timeout=None) as socket:
        for message in messages:
            try:
                await socket.send(message, text=True)
            except OSError:
                break
            except Exception as error:
                if type(error).__module__.startswith("websockets"):
                    break
                raise
        return await _listen(socket)


async def _listen(socket: ClientConnection) -> str:
    from websockets.exceptions import ConnectionClosed

    heard = "silent"
    try:
        while True:
            async with asyncio.timeout(PATIENCE_S if heard in ("FatalError", "AuthError") else _SILENCE_S):
                message = json.loads(await socket.recv())
            assert message["type"] in _SERVER_MESSAGES, message
            heard = message["type"]
    except TimeoutError:
        assert heard not in ("FatalError", "AuthError"), f"not closed after a {heard}"
        return f"open after {heard}"
    except ConnectionClosed as closed:
        code = closed.rcvd.code if closed.rcvd is not None else None
        assert code in (None, 1000, 1007, 1009, 1011, 1013), closed
        return f"closed {code}"
