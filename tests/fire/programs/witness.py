"""Uses a server as clients do, and asserts that everything it is told is right and comes in time; until its input ends.

Arguments: the URL and process id of a server of the app `wall`, and for how long that may be at work before it answers: how many times
as long as this machine takes to read a large message. Its CPU time is what counts: on the clock of the wall everything is slow when the
machine has other work. At the end it prints how many rounds it has made, and the longest of these times in seconds. In a process of its
own, so that only the server's doing slows it down.
"""

import asyncio
import json
import os
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

PATIENCE_S = 120.0


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def to_read_s() -> float:
    """What a message of a million values takes, of CPU time."""
    text = "[" + ",".join(["[]"] * 1_000_000) + "]"
    began = time.process_time()
    json.loads(text)
    return time.process_time() - began


async def receive(socket: ClientConnection, kind: str) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE_S):
        while (message := json.loads(await socket.recv()))["type"] == "Ping":
            pass
    assert message["type"] == kind, f"the witness waits for a {kind}, and was told {message}"
    return dict(message)


async def watch(url: str, pid: int, longest_allowed: float) -> None:
    is_over = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    rounds, longest = 0, 0.0
    async with (
        httpx.AsyncClient(base_url=url, timeout=PATIENCE_S) as client,
        connect(url.replace("http", "ws") + "/api/1.48.0/sync", max_size=None, ping_timeout=None) as socket,
    ):
        await socket.send(json.dumps({"type": "Connect", "sessionId": str(uuid.uuid4()), "connectionCount": 0}))
        add = {"type": "Add", "queryId": 0, "udfPath": "wall:read", "args": [{"name": "witness"}]}
        await socket.send(json.dumps({"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": [add]}))
        value = (await receive(socket, "Transition"))["modifications"][0]["value"]
        while not is_over.done():
            began = cpu_s(pid)
            mutation = {"type": "Mutation", "requestId": rounds, "udfPath": "wall:add", "args": [{"name": "witness"}]}
            await socket.send(json.dumps(mutation))
            answer = await receive(socket, "MutationResponse")
            value += 1
            assert answer["success"] and answer["result"] == value, f"the witness was told {answer}, and expected {value}"
            transition = await receive(socket, "Transition")
            told = [change["value"] for change in transition["modifications"]]
            assert told == [value], f"the witness watches {value}, and was told {told}"
            if rounds % 4 == 0:
                body = {"path": "wall:read", "args": {"name": "witness"}, "format": "json"}
                document = (await client.post("/api/query", json=body)).json()
                assert document == {"status": "success", "value": value}, f"the witness was told {document}, and expected {value}"
            rounds += 1
            longest = max(longest, cpu_s(pid) - began)
            assert longest < longest_allowed, f"the server was at work for {longest:.1f} s before it answered the witness"
            await asyncio.sleep(0.02)
    print(rounds, longest)


asyncio.run(watch(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]) * to_read_s()))
