"""What a server without sign-in, pages and handles has no use for is not loaded: it takes 10 MB."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_SERVED = """
import asyncio, sys
from pathlib import Path
from interlock.server import serve
from interlock.backend import Backend

async def main():
    async with Backend(Path(sys.argv[1]), data=None) as backend:
        await backend.asgi().startup()
asyncio.run(main())
print(*sorted({name.partition(".")[0] for name in sys.modules} & {"cryptography", "jwt", "httpx"}))
"""


def test_a_server_loads_cryptography_only_when_it_is_used(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("from interlock import App\n\napp = App()\n")
    done = subprocess.run([sys.executable, "-c", _SERVED, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert (done.stdout.strip(), done.returncode) == ("", 0), done.stderr
