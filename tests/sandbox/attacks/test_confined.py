"""Each hostile function, unconfined and sealed: it wins there, which shows that it is real, and is defeated here."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import re
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.sandbox.attacks import bombs, files, kernel, processes, sockets
from tests.sandbox.attacks.attack import LOOT, Attack
from tests.sandbox.spawning import SECONDS_MAX, comes, receive, wait_exit, wait_pid

from interlock.sandbox.confinement import available
from interlock.sandbox.plan import Plan
from interlock.sandbox.zygote import Spawned, Zygote

pytestmark = [
    pytest.mark.skipif(bool(available().missing), reason=f"not here: {available().missing}"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers of the calls are those of x86-64"),
]
ROOT = Path(__file__).parents[3]
MODULES = (files, processes, sockets, kernel, bombs)
ATTACKS = [
    pytest.param(module, name, id=f"{module.__name__.rpartition('.')[2]}-{name}")
    for module in MODULES
    for name, found in vars(module).items()
    if isinstance(found, Attack)
]
OWN_ADDRESS_READ = ctypes.create_string_buffer(b"in host")


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    zygote = Zygote.launch(worker="tests.sandbox.attacks.hostile_worker", path=[str(ROOT)])
    yield zygote
    zygote.close()


@pytest.fixture(scope="module")
def neighbour(zygote: Zygote) -> Iterator[int]:
    worker = zygote.spawn(Plan(isolation="process"))
    receive(worker)
    yield wait_pid(worker)
    worker.close()


@pytest.fixture
def prey(zygote: Zygote, neighbour: int, tmp_path: Path) -> Iterator[dict[str, Any]]:
    for name in ("directory", "scratch"):
        (tmp_path / name).mkdir()
    (tmp_path / "directory" / "secret").write_text("the secret of another")
    (tmp_path / "directory" / "planted.py").write_text(f"LOOT = {LOOT!r}")
    (tmp_path / "scratch" / "victim").write_text("of value")
    abstract = f"interlock-attack-{os.getpid()}"
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_UNIX) as unix,
        socket.socket(socket.AF_UNIX) as unnamed,
    ):
        udp.bind(("127.0.0.1", 0))
        unix.bind(str(tmp_path / "socket"))
        unnamed.bind("\0" + abstract)
        for server in (unix, unnamed):
            server.listen()
        yield {
            "secret": str(tmp_path / "directory" / "secret"),
            "directory": str(tmp_path / "directory"),
            "scratch": str(tmp_path / "scratch"),
            "library": _a_native_library(),
            "host": os.getpid(),
            "zygote": zygote.pid,
            "neighbour": neighbour,
            "address": ctypes.addressof(OWN_ADDRESS_READ),
            "tcp": tcp.getsockname(),
            "udp": udp.getsockname(),
            "unix": str(tmp_path / "socket"),
            "abstract": abstract,
        }


def _a_native_library() -> str:
    import orjson.orjson

    return str(orjson.orjson.__file__)


def launch(zygote: Zygote, plan: Plan, module: ModuleType, name: str, prey: dict[str, Any]) -> Spawned:
    worker = zygote.spawn(plan)
    assert receive(worker)[0] == "hello"
    request = {"source": Path(str(module.__file__)).read_text(), "function": name, "prey": prey}
    worker.sock.setblocking(True)
    worker.sock.sendall(json.dumps(request).encode() + b"\n")
    worker.sock.setblocking(False)
    return worker


def outcome(worker: Spawned) -> str:
    """What the hostile function came to, or how its process ended."""
    try:
        return ": ".join(receive(worker))
    except (AssertionError, ConnectionError):
        code = wait_exit(worker).code
        return f"ended: {signal.Signals(-code).name if code is not None and code < 0 else code}"


def outlasts(worker: Spawned, cpu: float) -> bool:
    """Whether it has used this much of the processor, and goes on."""
    wait_pid(worker)
    until = time.monotonic() + SECONDS_MAX
    while worker.cpu_seconds() < cpu:
        worker.read_status()
        if worker.exit is not None or comes(worker.sock.fileno(), 0.02) or time.monotonic() > until:
            return False
    return True


@pytest.mark.parametrize(("module", "name"), ATTACKS)
def test_an_attack_wins_unconfined_and_is_defeated_sealed(zygote: Zygote, prey: dict[str, Any], module: ModuleType, name: str) -> None:
    attack: Attack = getattr(module, name)
    before = Path(prey["scratch"], "victim").read_text()
    sealed = launch(zygote, Plan(**attack.plan), module, name, prey)
    ended = outcome(sealed)
    assert LOOT not in ended and re.search(attack.ends, ended), ended
    assert Path(prey["scratch"], "victim").read_text() == before
    assert [path.name for path in Path(prey["scratch"]).iterdir()] == ["victim"]
    sealed.close()

    free = launch(zygote, Plan(isolation="process", memory=None), module, name, prey)  # the canary
    if attack.wins_by_lasting:
        assert outlasts(free, attack.plan["cpu"] + 0.3)
    else:
        ended = outcome(free)
        if attack.depends_on_machine and LOOT not in ended:
            free.close()
            pytest.skip(f"this machine refuses it to everybody: {ended}")
        assert ended == f"returned: {LOOT}"
    free.close()


@pytest.mark.canary("test_an_attack_wins_unconfined_and_is_defeated_sealed")
def test_the_zygote_and_a_neighbour_have_lived_through_all_of_it(zygote: Zygote, neighbour: int) -> None:
    assert zygote.is_alive
    os.kill(neighbour, 0)
    worker = zygote.spawn(Plan())
    assert receive(worker)[0] == "hello"
    worker.close()


def test_there_are_enough_of_them() -> None:
    assert len(ATTACKS) >= 100  # each with its canary
    assert sys.platform == "linux"
