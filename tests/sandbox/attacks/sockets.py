"""Attacks on the network and on sockets of every family, and on the one descriptor that a worker has."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

from tests.sandbox.attacks.attack import LOOT, attack, buffer, call


@attack()
def connect_by_tcp(prey: Any) -> Any:
    return LOOT if socket.create_connection(tuple(prey["tcp"]), 5) else None


@attack()
def connect_with_asyncio(prey: Any) -> Any:
    async def connect() -> Any:
        return await asyncio.open_connection(*prey["tcp"])

    return LOOT if asyncio.run(connect()) else None


@attack("PermissionError|RefusedInSandbox|URLError")
def fetch_with_urllib(prey: Any) -> Any:
    from urllib.error import HTTPError, URLError
    from urllib.request import urlopen

    try:
        urlopen(f"http://{prey['tcp'][0]}:{prey['tcp'][1]}/", timeout=0.2)
    except HTTPError:
        return LOOT
    except (TimeoutError, ConnectionResetError):
        return LOOT  # it got as far as the server
    except URLError as error:
        if isinstance(error.reason, TimeoutError):
            return LOOT
        raise
    return LOOT


@attack()
def send_by_udp(prey: Any) -> Any:
    return LOOT if socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", tuple(prey["udp"])) else None


@attack()
def resolve_a_name(prey: Any) -> Any:
    return LOOT if socket.getaddrinfo("localhost", 80) else None


@attack()
def connect_to_a_unix_socket(prey: Any) -> Any:
    socket.socket(socket.AF_UNIX).connect(prey["unix"])
    return LOOT


@attack()
def connect_to_an_abstract_socket(prey: Any) -> Any:
    socket.socket(socket.AF_UNIX).connect("\0" + prey["abstract"])
    return LOOT


@attack()
def listen(prey: Any) -> Any:
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen()
    return LOOT


@attack()
def ask_the_kernel_by_netlink(prey: Any) -> Any:
    return LOOT if socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) else None


@attack("Operation not permitted|PermissionError|RefusedInSandbox", depends_on_machine=True)
def open_a_raw_socket(prey: Any) -> Any:
    return LOOT if socket.socket(socket.AF_INET, socket.SOCK_RAW, 1) else None


@attack("Operation not permitted|PermissionError|RefusedInSandbox", depends_on_machine=True)
def open_a_packet_socket(prey: Any) -> Any:
    return LOOT if socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) else None


@attack("Operation not permitted", depends_on_machine=True)
def open_a_machine_socket(prey: Any) -> Any:
    return LOOT if call(41, 40, 1, 0) >= 0 else None  # AF_VSOCK


@attack("Operation not permitted", depends_on_machine=True)
def connect_by_many_paths(prey: Any) -> Any:
    return LOOT if call(41, 2, 1, 262) >= 0 else None  # multipath TCP, which Landlock does not see


@attack("Operation not permitted", depends_on_machine=True)
def talk_to_the_crypto_of_the_kernel(prey: Any) -> Any:
    return LOOT if call(41, 38, 5, 0) >= 0 else None  # AF_ALG


@attack()
def make_a_pair(prey: Any) -> Any:
    return LOOT if socket.socketpair() else None


@attack("Operation not permitted")
def open_a_socket_past_python(prey: Any) -> Any:
    return LOOT if call(41, 2, 1, 0) >= 0 else None


@attack("Operation not permitted")
def duplicate_the_channel(prey: Any) -> Any:
    return LOOT if os.dup(3) > 3 else None


@attack("Operation not permitted")
def get_signals_from_the_channel(prey: Any) -> Any:
    import fcntl

    fcntl.fcntl(3, fcntl.F_SETOWN, prey["host"])
    return LOOT


@attack("Operation not permitted")
def look_who_is_at_the_other_end(prey: Any) -> Any:
    return LOOT if call(55, 3, 1, 17, buffer(12), buffer((12).to_bytes(4, "little"))) == 0 else None  # SO_PEERCRED


@attack("Operation not permitted")
def pass_a_descriptor_to_the_host(prey: Any) -> Any:
    return LOOT if call(44, 3, buffer(b""), 0, 0x40, 0, 0) >= 0 else None  # sendto on the channel; sendmsg is refused alike


@attack("Operation not permitted|RefusedInSandbox")
def make_a_pipe(prey: Any) -> Any:
    return LOOT if os.pipe() else None


@attack("Operation not permitted")
def wait_with_epoll(prey: Any) -> Any:
    return LOOT if call(291, 0) >= 0 else None
