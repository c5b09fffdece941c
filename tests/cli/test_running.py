import json
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from interlock.cli.running import RunningServer


@pytest.fixture
def port() -> Iterator[int]:
    """A port that answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def test_a_server_is_found_by_its_data_while_it_is_there(tmp_path: Path, port: int) -> None:
    server = RunningServer(f"http://127.0.0.1:{port}", "secret|01", os.getpid())
    assert RunningServer.of(tmp_path) is None
    with server.announced(tmp_path):
        assert RunningServer.of(tmp_path) == server
        [file] = tmp_path.iterdir()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_server_left_behind_is_nobody(tmp_path: Path, port: int) -> None:
    dead = {"url": f"http://127.0.0.1:{port}", "admin_key": "k", "pid": 2**22 + 1}
    (tmp_path / "server.json").write_text(json.dumps(dead))
    assert RunningServer.of(tmp_path) is None


def test_a_process_that_answers_on_no_port_is_nobody(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        silent = {"url": f"http://127.0.0.1:{closed.getsockname()[1]}", "admin_key": "k", "pid": os.getpid()}
    (tmp_path / "server.json").write_text(json.dumps(silent))
    assert RunningServer.of(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"url": 1}'])
def test_a_file_that_says_nothing_is_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / "server.json").write_text(text)
    assert RunningServer.of(tmp_path) is None
