"""What an instance may reach of the network: the hosts that its component asks for and its mount allows.

Hosts are compared as they are connected to: in lower case, without the dot at the end, addresses in their one canonical form.
Start at `Network.allows`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from interlock.mounting.addresses import Address, address_in, is_public

_PRIVATE_SUFFIXES = (".localhost", ".internal", ".local", ".home.arpa")
"""Ends of names that nobody can register: what answers to them is decided where this machine stands (RFC 6761, 6762, 8375, ICANN)."""


@dataclass(frozen=True, slots=True)
class NetPermission:
    """One `net:host[:port]`. `host` may be `*` or begin with `*.`; `port` None is every port."""

    host: str
    port: int | None = None

    @classmethod
    def parse(cls, permission: str) -> Self | None:
        """None for a permission of another kind. It was looked at by `is_permission` before."""
        if not permission.startswith("net:"):
            return None
        place = permission.removeprefix("net:")
        host, colon, port = place.rpartition(":")
        if not colon or not port.isdigit() or host.count("[") != host.count("]"):
            host, port = place, ""
        return cls(canonical_host(host.removeprefix("[").removesuffix("]")), int(port) if port else None)

    @property
    def is_wildcard(self) -> bool:
        return self.host.startswith("*")

    @property
    def address(self) -> Address | None:
        """The address that it names, if it names one."""
        return address_in(self.host)

    @property
    def is_of_strangers(self) -> bool:
        """Whether it names machines on the internet, and not this one's own surroundings."""
        address = self.address
        return not is_private_name(self.host) if address is None else is_public(address)

    def allows(self, host: str, port: int) -> bool:
        """Whether a canonical host and port is among what it names."""
        return self._has_host(host) and self.port in (None, port)

    def covers(self, other: NetPermission) -> bool:
        """Whether everything that `other` names is among what this one names. A wildcard means strangers: no private place by its name."""
        if self.is_wildcard and not other.is_wildcard and not other.is_of_strangers:
            return False
        return self._has_host(other.host) and self.port in (None, other.port)

    def _has_host(self, host: str) -> bool:
        if self.host in ("*", host):
            return True
        return self.host.startswith("*.") and host.endswith(self.host[1:]) and host != self.host[1:]


@dataclass(frozen=True, slots=True)
class Network:
    """`hosts` are asked for and allowed; `addresses` are those that the mount allows by number, for names that lead to them."""

    hosts: tuple[NetPermission, ...]
    addresses: tuple[NetPermission, ...] = ()

    @classmethod
    def of(cls, asked: Iterable[str], allowed: Iterable[str]) -> Self:
        """Of what is asked for, what is allowed."""
        given = [found for permission in allowed if (found := NetPermission.parse(permission)) is not None]
        wanted = [found for permission in asked if (found := NetPermission.parse(permission)) is not None]
        hosts = tuple(one for one in wanted if any(other.covers(one) for other in given))
        return cls(hosts, tuple(one for one in given if one.address is not None))

    def allows(self, host: str, port: int) -> bool:
        """Whether a canonical host may be asked for at all. Where its name leads is another question: see `names_address`, `is_by_name`."""
        return any(one.allows(host, port) for one in self.hosts)

    def names_address(self, address: Address, port: int) -> bool:
        """Whether this very address is allowed."""
        return any(one.address == address and one.port in (None, port) for one in self.addresses)

    def is_by_name(self, host: str, port: int) -> bool:
        """Whether the host is allowed by its own name, and not as one of many."""
        return any(not one.is_wildcard and one.allows(host, port) for one in self.hosts)


def canonical_host(host: str) -> str:
    """A host as it is compared: lower case, no dot at the end; an address as `ipaddress` writes it, and IPv4 in IPv6 as IPv4."""
    host = host.lower().removesuffix(".")
    address = address_in(host)
    return host if address is None else str(address)


def is_private_name(host: str) -> bool:
    """Whether a canonical name can only mean something of this machine's own surroundings: no stranger can make it lead anywhere."""
    return address_in(host) is None and ("." not in host or host.endswith(_PRIVATE_SUFFIXES))


def is_loopback_name(host: str) -> bool:
    """`localhost`, and what is below it."""
    return host == "localhost" or host.endswith(".localhost")
