"""Servers in processes of their own, and official clients in others: a blocking call of the Python client holds the GIL."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

HERE = Path(__file__).parent
_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
LOGIN_KEY = _KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
LOGIN_PRIVATE_KEY = _KEY.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()


class Served:
    """A server process."""

    def __init__(self, data: Path, *options: str) -> None:
        command = [sys.executable, str(HERE / "run_server.py"), "--data", str(data), *options]
        self.errors = data.with_suffix(".log").open("a")
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self.errors, text=True, env={**os.environ, "LOGIN_KEY": LOGIN_KEY}
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                break
        else:
            raise AssertionError(f"the server did not start: {data.with_suffix('.log').read_text()}")
        facts: dict[str, Any] = json.loads(line)
        self.url: str = facts["url"]
        self.admin_key: str = facts["adminKey"]
        self.port = int(self.url.rpartition(":")[2])

    @property
    def environment(self) -> dict[str, str]:
        """What the client scripts need to know."""
        facts = {"INTERLOCK_URL": self.url, "INTERLOCK_ADMIN_KEY": self.admin_key, "LOGIN_PRIVATE_KEY": LOGIN_PRIVATE_KEY}
        return {**os.environ, **facts}

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.errors.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all tests that do not mind others."""
    served = Served(tmp_path_factory.mktemp("clients") / "data")
    yield served
    served.stop()
    assert served.process.returncode == 0


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Servers of one's own, all on one database."""
    started: list[Served] = []

    def start(*options: str) -> Served:
        started.append(Served(tmp_path / "data", *options))
        return started[-1]

    yield start
    for served in started:
        served.stop()


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The npm packages of package.json, installed if they are not there."""
    folder = HERE / "node_modules"
    if not (folder / "convex" / "package.json").is_file():
        npm = shutil.which("npm")
        assert npm, "the tests of the JavaScript clients need node and npm"
        subprocess.run([npm, "install", "--no-package-lock", "--no-fund", "--no-audit"], cwd=HERE, check=True, capture_output=True)
    return folder
