"""IP addresses: which are somebody's machine on the internet, and which are this machine and its surroundings.

Source: the IANA registries of special-purpose addresses (RFC 6890 and its updates), and the addresses at which clouds tell a
machine its own secrets. Written out rather than asked of `ipaddress`, whose answers differ between versions of Python.
"""

from __future__ import annotations

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_SPECIAL_V4 = """0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 168.63.129.16/32 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24
192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4"""
_SPECIAL_V6 = "2001::/23 2001:db8::/32 3fff::/20"
_OWNED = "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7"

_CLOSED_V4 = tuple(map(ipaddress.IPv4Network, _SPECIAL_V4.split()))
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
_CLOSED_V6 = tuple(map(ipaddress.IPv6Network, _SPECIAL_V6.split()))
_SIX_TO_FOUR = ipaddress.IPv6Network("2002::/16")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

_LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
_PRIVATE = tuple(map(ipaddress.ip_network, _OWNED.split()))
_METADATA_V6 = ipaddress.IPv6Network("fd00:ec2::/32")


def address_in(host: str) -> Address | None:
    """The address that a host is, None for a name. IPv4 alone in its four decimal numbers; IPv4 in IPv6 is the IPv4 that it means."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return address if mapped is None else mapped


def is_public(address: Address) -> bool:
    """Whether it is a machine on the internet, for which being asked by us means nothing."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _CLOSED_V4)
    if address.scope_id is not None:
        return False
    if address in _NAT64:
        return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    if address in _SIX_TO_FOUR:
        return is_public(ipaddress.IPv4Address(int(address) >> 80 & 0xFFFFFFFF))
    return address in _GLOBAL_V6 and not any(address in network for network in _CLOSED_V6)


def is_loopback(address: Address) -> bool:
    """Whether it is this machine."""
    return any(address in network for network in _LOOPBACK)


def is_private(address: Address) -> bool:
    """Whether it is in a network that its owner numbers: RFC 1918, unique local addresses. What clouds keep there for themselves is not."""
    return any(address in network for network in _PRIVATE) and address not in _METADATA_V6


def kind_of(address: Address) -> str:
    """For people: what is special about an address that is not public."""
    if is_loopback(address):
        return "this machine itself"
    if address.is_link_local:
        return "a link-local address, where clouds keep their metadata"
    if address.is_multicast:
        return "a multicast address"
    return "a private address" if is_private(address) else "a reserved address"
