"""Where a URL leads: parsed once, and what was parsed is what is connected to. No second reader could see another host in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from interlock.errors import ArgumentError, PermissionDenied
from interlock.mounting.addresses import Address, address_in
from interlock.mounting.network import canonical_host

_PORTS = {"http": 80, "https": 443}
_LENGTH_MAX = 16_384
_UNSAFE = re.compile(r"[\x00-\x20\x7f\\]")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_LOOKS_LIKE_A_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


@dataclass(frozen=True, slots=True)
class Place:
    """A URL, taken apart: `host` is canonical, `target` path and query as they are sent."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def address(self) -> Address | None:
        """The address that its host is, None for a name."""
        return address_in(self.host)

    @property
    def authority(self) -> str:
        """Host and port as the header `Host` has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port

    @property
    def permission(self) -> str:
        """What would allow it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"net:{host}" if self.port == _PORTS[self.scheme] else f"net:{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


def parse(url: Any, *, who: str) -> Place:
    """Raises ArgumentError for what is no URL or is written to be misread, PermissionDenied for another scheme than http and https."""
    if not isinstance(url, str):
        raise _no_url(f"a {type(url).__name__}")
    if len(url) > _LENGTH_MAX:
        raise _no_url(f"one of {len(url):,} characters")
    if (unsafe := _UNSAFE.search(url)) is not None:
        raise _no_url(f"{url[:200]!r}, with the character {unsafe[0]!r}: write it as %{ord(unsafe[0]):02X}")
    import httpx

    try:
        read = httpx.URL(url)
        host, port, userinfo = read.raw_host.decode("ascii"), read.port, read.userinfo
    except (httpx.InvalidURL, ValueError) as error:
        raise _no_url(f"{url[:200]!r}: {error}") from None
    if read.scheme not in _PORTS:
        raise PermissionDenied(f"{who} fetches {url[:200]!r}", "ctx.fetch speaks http and https alone.")
    if userinfo:
        raise _no_url("one with a user before the host: send that in the header Authorization")
    if not host:
        raise _no_url(f"{url[:200]!r}, without a host")
    if port is not None and not 0 < port < 65_536:
        raise _no_url(f"{url[:200]!r}, with the port {port}")
    canonical = canonical_host(host)
    if address_in(canonical) is None:
        _check_name(canonical, url)
    elif "%" in canonical:
        raise _no_url(f"{url[:200]!r}, with an address of one interface")
    return Place(read.scheme, canonical, port or _PORTS[read.scheme], read.raw_path.decode("ascii") or "/")


def _check_name(host: str, url: str) -> None:
    """Raises ArgumentError for a host that the system would read as an address in another notation, or that is no name."""
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise _no_url(f"{url[:200]!r}, whose host is no name")
    if _LOOKS_LIKE_A_NUMBER.fullmatch(labels[-1]):
        raise _no_url(f"{url[:200]!r}, whose host is a number: write an address as four decimal numbers, like 192.0.2.1")


def _no_url(got: str) -> ArgumentError:
    return ArgumentError("ctx.fetch", ".url", "a URL like https://api.example/path", got)
