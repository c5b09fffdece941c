"""A real server, clients that keep sending, and a kill when nobody expects it; then everything that was answered has to be there.

Each client behaves as an official one: one session for good, requests counted up, and after a lost connection it sends again what
has no answer yet, and what it cannot be sure to have been seen. What every request has done stands in the data under its tag.

Start at `torture`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import signal
import uuid
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from .server import PATIENCE_S, PROGRAMS, Server

BANK = PROGRAMS / "bank"
ACCOUNTS, BALANCE = 12, 100
_WINDOW = 4
_ANSWERS_A_SECOND = 150


@dataclass
class Request:
    """What a client wants to have done once. `answer` is the first one that came."""

    message: dict[str, Any]
    tag: str
    answer: dict[str, Any] | None = None

    @property
    def has_succeeded(self) -> bool:
        return self.answer is not None and self.answer["success"]


class Client:
    """One session of the sync protocol, over as many connections as it takes."""

    def __init__(self, name: str, chance: random.Random) -> None:
        self._name, self._chance = name, chance
        self._session = str(uuid.UUID(int=chance.getrandbits(128), version=4))
        self._connections = 0
        self._newest: tuple[int, str] | None = None
        self.requests: list[Request] = []
        self.resent = 0
        self.is_sending = True

    @property
    def _open(self) -> list[Request]:
        return [request for request in self.requests if request.answer is None]

    async def run(self, url: str) -> None:
        """Until the connection breaks; or, when it is to send nothing new, until everything has its answer."""
        try:
            async with connect(url.replace("http", "ws") + "/api/1.48.0/sync", max_size=None, open_timeout=PATIENCE_S) as socket:
                await self._connect(socket)
                while self.is_sending or self._open:
                    while self.is_sending and len(self._open) < _WINDOW:
                        self.requests.append(self._request())
                        await self._send(socket, self.requests[-1])
                    self._take(json.loads(await socket.recv()))
        except (WebSocketException, OSError, EOFError):
            pass

    async def _connect(self, socket: ClientConnection) -> None:
        hello: dict[str, Any] = {
            "type": "Connect",
            "sessionId": self._session,
            "connectionCount": self._connections,
            "lastCloseReason": None,
        }
        if self._newest is not None:
            # The server has to turn us away if it no longer knows of what we have seen.
            hello["maxObservedTimestamp"] = self._newest[1]
        self._connections += 1
        await socket.send(json.dumps(hello))
        await socket.send(json.dumps({"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": []}))
        done = [request for request in self.requests[-30:] if request.has_succeeded]
        again = {id(request) for request in self._chance.sample(done, min(len(done), 3))}
        for request in self.requests:
            if request.answer is None or id(request) in again:
                self.resent += 1
                await self._send(socket, request)

    @staticmethod
    async def _send(socket: ClientConnection, request: Request) -> None:
        await socket.send(json.dumps(request.message))

    def _take(self, message: dict[str, Any]) -> None:
        assert message["type"] not in ("FatalError", "AuthError"), message
        if message["type"] != "MutationResponse":
            return
        request = self.requests[message["requestId"]]
        if message["success"]:
            ts = int.from_bytes(base64.b64decode(message["ts"]), "little")
            if self._newest is None or ts > self._newest[0]:
                self._newest = ts, message["ts"]
        else:
            assert message.get("errorData") == "not enough", message
        if request.answer is None:
            request.answer = message
        else:
            assert message == request.answer, f"one request, two answers: {request.answer} and {message}"

    def _request(self) -> Request:
        chance, number = self._chance, len(self.requests)
        tag = f"{self._name}.{number}"
        match chance.choices(("transfer", "add", "mutation", "action"), (4, 3, 2, 1))[0]:
            case "transfer":
                source, target = chance.sample(range(ACCOUNTS), 2)
                path, args = "bank:transfer", {"tag": tag, "source": source, "target": target, "amount": chance.randint(1, 40)}
            case "add":
                path, args = "bank:add", {"tag": tag}
            case kind:
                path, args = "bank:plan", {"tag": tag, "kind": kind, "seconds": chance.choice((0, 0, 0.05, 0.4))}
        return Request({"type": "Mutation", "requestId": number, "udfPath": path, "args": [args]}, tag)


@dataclass
class Torture:
    """What came of it, for those who want to know how much was tried."""

    seed: int
    kills: int = 0
    kills_at_start: int = 0
    answered: int = 0
    resent: int = 0
    jobs: int = 0
    actions_lost: int = 0
    looks: int = 0


async def torture(data: Path, *, seed: int, kills: int, clients: int = 6) -> Torture:
    """Kill a server so many times, and look whether it has kept its word. Raises AssertionError with the seed."""
    chance = random.Random(seed)
    told = Torture(seed)
    senders = [Client(f"c{number}", random.Random(chance.getrandbits(64))) for number in range(clients)]
    try:
        await _open_accounts(data)
        while told.kills < kills:
            server = Server(BANK, data)
            await server.start()
            try:
                if chance.random() < 0.2:
                    await asyncio.sleep(chance.uniform(0.05, 1.0))
                    told.kills_at_start += 1
                else:
                    await server.serving()
                    await _load(server, senders, chance.choice((0.0, 0.02, 0.1, 0.2, 0.4)), chance.random() < 0.3, told)
            finally:
                server.kill()
            await server.ended()
            told.kills += 1
        await _finish(data, senders, told)
    except Exception as error:
        raise AssertionError(f"seed {seed}, after {told.kills} kills: {error}") from error
    told.answered = _answered(senders)
    told.resent = sum(sender.resent for sender in senders)
    return told


async def _open_accounts(data: Path) -> None:
    server = Server(BANK, data)
    await server.start()
    await server.serving()
    await server.call("mutation", "bank:open_accounts", count=ACCOUNTS, balance=BALANCE)
    await server.end(signal.SIGKILL)


async def _load(server: Server, senders: list[Client], seconds: float, is_patient: bool, told: Torture) -> None:
    """All clients at once, and somebody who looks whether everything adds up meanwhile; a patient kill comes after that. A kill that
    comes later has had more answers before it, on any machine.
    """
    before = _answered(senders)
    sending = [asyncio.create_task(sender.run(server.url)) for sender in senders]
    looking = asyncio.create_task(_look(server, senders, told))
    if is_patient:
        await looking
    await asyncio.sleep(seconds)
    async with asyncio.timeout(PATIENCE_S):
        while _answered(senders) - before < _ANSWERS_A_SECOND * seconds:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    server.kill()
    await asyncio.gather(*sending)
    with suppress(httpx.HTTPError, json.JSONDecodeError):  # cut off by the kill
        await looking


def _answered(senders: list[Client]) -> int:
    return sum(request.has_succeeded for sender in senders for request in sender.requests)


async def _look(server: Server, senders: list[Client], told: Torture) -> None:
    answered = [request for sender in senders for request in sender.requests if request.has_succeeded]
    _check_money(await server.query("bank:money"), answered)
    _check_numbers(await server.query("bank:numbers"), answered)
    _check_plans(await server.query("bank:jobs"), answered)
    told.looks += 1


async def _finish(data: Path, senders: list[Client], told: Torture) -> None:
    """One start more: every request gets its answer, every job its end."""
    server = Server(BANK, data)
    await server.start()
    await server.serving()
    for sender in senders:
        sender.is_sending = False
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*(sender.run(server.url) for sender in senders))
        while await _are_jobs_left(server):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    requests = [request for sender in senders for request in sender.requests]
    assert all(request.answer is not None for request in requests)
    await _look(server, senders, told)
    _check_once("transfer", (await server.query("bank:money"))["transfers"], requests)
    _check_once("add", (await server.query("bank:numbers"))["additions"], requests)
    jobs = await server.query("bank:jobs")
    _check_once("plan", jobs["plans"], requests)
    _check_jobs(jobs, told)
    assert await server.end(signal.SIGTERM) == 0


async def _are_jobs_left(server: Server) -> bool:
    return any(state in ("pending", "running") for _, state, _ in (await server.query("bank:jobs"))["states"])


# What has to hold at every moment. `answered` are requests that had succeeded before the look.


def _check_money(seen: dict[str, Any], answered: list[Request]) -> None:
    assert sum(seen["balances"]) == ACCOUNTS * BALANCE, f"money was made or lost: {seen['balances']}"
    balances = [float(BALANCE)] * ACCOUNTS
    for _, source, target, amount in seen["transfers"]:
        balances[int(source)] -= amount
        balances[int(target)] += amount
    assert balances == seen["balances"], f"the balances are {seen['balances']}, the transfers make {balances}"
    assert min(balances) >= 0
    _check_kept("transfer", seen["transfers"], answered)


def _check_numbers(seen: dict[str, Any], answered: list[Request]) -> None:
    values = [value for _, value in seen["additions"]]
    assert values == list(range(1, len(values) + 1)), f"in the order of their commits: {values}"
    assert seen["counters"].get("additions", 0) == len(values)
    numbers = dict(seen["additions"])
    for request in _of("add", answered):
        assert request.answer is not None
        assert numbers.get(request.tag) == request.answer["result"], f"{request} is {numbers.get(request.tag)} now"


def _check_plans(seen: dict[str, Any], answered: list[Request]) -> None:
    _check_kept("plan", seen["plans"], answered)
    states = Counter(tag for tag, _, _ in seen["states"])
    assert states == Counter(tag for tag, _ in seen["plans"]), "there is one job for each plan"
    runs = Counter((tag, step) for tag, step in seen["runs"])
    assert max(runs.values(), default=1) == 1, f"run twice: {[run for run, times in runs.items() if times > 1]}"
    kinds = dict(seen["plans"])
    for tag, state, error in seen["states"]:
        if kinds[tag] == "mutation":
            assert error is None, f"{tag}: {error}"
            assert ((tag, "run") in runs) == (state == "success"), f"{tag} is {state}"
        elif state == "success":
            assert (tag, "begin") in runs, tag
            assert (tag, "end") in runs, tag
        elif state == "pending":
            assert (tag, "begin") not in runs, tag


def _check_kept(function: str, rows: list[list[Any]], answered: list[Request]) -> None:
    missing = {request.tag for request in _of(function, answered)} - {row[0] for row in rows}
    assert not missing, f"answered, and lost: {missing}"


def _check_once(function: str, rows: list[list[Any]], requests: list[Request]) -> None:
    wanted = Counter(request.tag for request in _of(function, requests) if request.has_succeeded)
    found = Counter(row[0] for row in rows)
    assert found == wanted, f"{function}: {found - wanted} too many, {wanted - found} missing"


def _check_jobs(seen: dict[str, Any], told: Torture) -> None:
    kinds = dict(seen["plans"])
    for tag, state, error in seen["states"]:
        told.jobs += 1
        if kinds[tag] == "mutation":
            assert state == "success", f"{tag} is {state}: {error}"
        elif state == "failed":
            told.actions_lost += 1
            assert error == "The process ended while it ran.", f"{tag}: {error}"
        else:
            assert state == "success", f"{tag} is {state}"


def _of(function: str, requests: list[Request]) -> list[Request]:
    return [request for request in requests if request.message["udfPath"] == f"bank:{function}"]
