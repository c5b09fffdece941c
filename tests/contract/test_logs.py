"""What an embedded backend writes to the log when nobody has said how."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.one_isolation("inline", "the app's own function, in a program of its own")
PROGRAM = """
import asyncio, sys
import httpx
from interlock import Backend

async def main():
    async with Backend(sys.argv[1], data=":memory:", env={"EMBED_KEY": "s3cret-value"}) as backend:
        transport = httpx.ASGITransport(app=backend.asgi())
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            answer = await client.post("/api/mutation", json={"path": "guesses:fail", "args": {}})
            print(answer.json()["errorMessage"])

asyncio.run(main())
"""
APP = Path(__file__).parent / "myapp"


def test_a_traceback_in_the_log_shows_no_local_variables() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(APP)], capture_output=True, text=True, check=True)
    assert "Server Error" in done.stdout
    assert "it went wrong" in done.stdout + done.stderr  # whole in the log
    assert "s3cret-value" not in done.stdout + done.stderr
