"""What an embedded backend writes to the log when nobody has said how."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import asyncio
from interlock import Backend, Component, MutationCtx

component = Component("leaky", env={"KEY": str})

@component.mutation
async def fail(ctx: MutationCtx) -> None:
    key = ctx.env["KEY"]
    raise RuntimeError("it went wrong")

async def main():
    async with Backend(component, data=":memory:", env={"KEY": "s3cret-value"}) as backend:
        try:
            await backend.mutation("fail")
        except RuntimeError:
            print("raised")

asyncio.run(main())
"""


def test_a_traceback_in_the_log_shows_no_local_variables() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert "raised" in done.stdout
    assert "it went wrong" in done.stdout + done.stderr
    assert "s3cret-value" not in done.stdout + done.stderr
