"""The PyPI package `convex`, unmodified, in processes of its own."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import jwt
import pytest

from .conftest import HERE, LOGIN_PRIVATE_KEY, Served

ALONE = ("restart", "bad_token")


def scenarios() -> list[str]:
    return re.findall(r"^@scenario\ndef (\w+)", (HERE / "python_client.py").read_text(), re.MULTILINE)


def environment(server: Served) -> dict[str, str]:
    now = int(time.time())
    claims = {"iss": "https://login.example", "sub": "ada", "aud": "clients", "iat": now, "exp": now + 3600}
    return {**server.environment, "GOOD_TOKEN": jwt.encode(claims, LOGIN_PRIVATE_KEY, "RS256", headers={"kid": "k"})}


def run(scenario: str, server: Served) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(HERE / "python_client.py"), scenario]
    return subprocess.run(command, env=environment(server), capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("scenario", [name for name in scenarios() if name not in ALONE])
def test_the_python_clients(scenario: str, server: Served) -> None:
    done = run(scenario, server)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_refused_token_that_is_sent_again_and_again_does_no_harm(server: Served) -> None:
    done = run("bad_token", server)
    assert done.returncode == -signal.SIGALRM, done.stdout + done.stderr
    assert run("mutations_only", server).returncode == 0


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_the_python_client_goes_on_when_the_server_comes_back(end: str, serve: Callable[..., Served]) -> None:
    first = serve()
    command = [sys.executable, str(HERE / "python_client.py"), "restart"]
    pipe = subprocess.PIPE
    client = subprocess.Popen(command, env=environment(first), text=True, stdin=pipe, stdout=pipe, stderr=pipe)
    assert client.stdin is not None and client.stdout is not None
    assert "restart me\n" in iter(client.stdout.readline, "")
    if end == "kill":
        first.process.kill()
        first.process.wait()
    else:
        first.stop()
    serve("--port", str(first.port))
    client.stdin.write("restarted\n")
    client.stdin.flush()
    out, errors = client.communicate(timeout=60)
    assert client.returncode == 0, out + errors
