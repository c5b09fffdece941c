"""Which addresses and names count as whose."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.errors import ArgumentError, PermissionDenied
from interlock.functions.fetch import headers as http_headers
from interlock.functions.fetch.url import Place, parse
from interlock.mounting.addresses import address_in, is_public
from interlock.mounting.environment import HeldSecret
from interlock.mounting.network import NetPermission, Network
from interlock.mounting.permissions import is_permission

NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
OURS = """127.0.0.1 127.255.255.254 0.0.0.0 10.1.2.3 172.31.0.1 192.168.1.1 169.254.169.254 100.100.100.200 192.0.0.192 168.63.129.16
224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255 198.18.0.1 192.0.2.1 :: ::1 ::ffff:127.0.0.1 ::ffff:a9fe:a9fe ::127.0.0.1
fe80::1 fe80::1%eth0 fec0::1 fc00::1 fd00:ec2::254 ff02::1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::1 2002:7f00:1::1
2002:c0a8:101::1 2001::1 2001:db8::1 3fff::1 5f00::1 100::1 4000::1"""
THEIRS = """1.1.1.1 8.8.8.8 172.15.255.255 172.32.0.1 192.169.0.1 100.128.0.1 223.255.255.255 2606:4700::1111 64:ff9b::808:808
2002:808:808::1"""


@pytest.mark.parametrize("text", OURS.split())
@pytest.mark.one_isolation("inline", "no component runs: what an address is, and who is let through")
def test_an_address_of_our_own_surroundings_is_not_public(text: str) -> None:
    address = address_in(text)
    assert address is not None and not is_public(address)


@pytest.mark.parametrize("text", THEIRS.split())
@pytest.mark.one_isolation("inline", "no component runs: what an address is, and who is let through")
def test_an_address_of_a_stranger_is_public(text: str) -> None:
    address = address_in(text)
    assert address is not None and is_public(address)


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6) | st.integers(0, 2**125 - 1).map(lambda low: ipaddress.IPv6Address((1 << 125) + low)))
@pytest.mark.one_isolation("inline", "no component runs: what an address is, and who is let through")
def test_nothing_is_public_that_python_knows_to_be_special(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """Model: `ipaddress`, which knows some of them. Those that stand for an IPv4 address are asked about by that."""
    if isinstance(address, ipaddress.IPv6Address) and (address.sixtofour or address in NAT64):
        low = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        assert is_public(address) == is_public(address.sixtofour or low)
    elif is_public(address):
        assert address.is_global and not address.is_multicast and not address.is_reserved


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("http://API.Example", "api.example", 80),
        ("https://api.example.:8443/x", "api.example", 8443),
        ("http://bücher.example/", "xn--bcher-kva.example", 80),
        ("http://[::1]:8080/", "::1", 8080),
        ("http://[0:0:0:0:0:0:0:1]/", "::1", 80),
        ("http://[::ffff:127.0.0.1]/", "127.0.0.1", 80),
        ("http://[::ffff:7f00:1]/", "127.0.0.1", 80),
        ("http://127。0。0。1/", "127.0.0.1", 80),
        ("http://localhost./", "localhost", 80),
        ("http://LOCALHOST/", "localhost", 80),
        ("http://api.example:080/", "api.example", 80),
        ("http://api.example/@evil.example/", "api.example", 80),
        ("http://api.example?@evil.example/", "api.example", 80),
        ("http://api.example#@evil.example/", "api.example", 80),
    ],
)
@pytest.mark.one_isolation("inline", "no component runs: what an address is, and who is let through")
def test_a_host_has_one_spelling(url: str, host: str, port: int) -> None:
    place = parse(url, who="it")
    assert (place.host, place.port) == (host, port)
    assert parse(str(place), who="it") == place


@pytest.mark.parametrize(
    "url",
    [
        "http://2130706433/",
        "http://017700000001/",
        "http://0x7f000001/",
        "http://0x7f.1/",
        "http://127.1/",
        "http://0177.0.0.1/",
        "http://127.0.0.0x1/",
        "http://127.0.0.01/",
        "http://127.0.0.1.5/",
        "http://api.example@127.0.0.1/",
        "http://user:password@api.example/",
        "http://api.example\\@127.0.0.1/",
        "http://127.0.0.1\\.api.example/",
        "http://api.example\t.evil.example/",
        "http://api.example\r\nHost: evil/",
        "http://api.example/\x00",
        "http://api.example/a b",
        "http://[::1%25eth0]/",
        "http://[fe80::1%eth0]/",
        "http://[127.0.0.1]/",
        "http://127.0.0.1%2f@api.example/",
        "http://%31%32%37.0.0.1/",
        "http://１２７.0.0.1/",
        "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/",
        "http://a..example/",
        "http://.example/",
        "http://-a.example/",
        "http://api.example:0/",
        "http://api.example:65536/",
        "http://api.example:80:80/",
        "http://api.example:-1/",
        "http:///path",
        "http:api.example",
        "http://",
        "http://" + "a" * 20_000,
        "http://*.example/",
    ],
)
@pytest.mark.one_isolation("inline", "no component runs: what an address is, and who is let through")
def test_a_url_that_is_written_to_be_misread_is_refused(url: str) -> None:
    with pytest.raises(ArgumentError) as refusal:
        parse(url, who="it")
    assert refusal.value.path == ".url" and len(str(refusal.value)) < 500


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "gopher://api.example/", "ftp://api.example/", "FILE:///x", "//api.example/", "/x", "ws://api.example/"]
)
@pytest.mark.one_isolation("inline", "no component runs: what an address is, and who is let through")
def test_another_scheme_is_not_allowed(url: str) -> None:
    with pytest.raises(PermissionDenied, match="speaks http and https alone"):
        parse(url, who="it")


@pytest.mark.one_isolation("inline", "no component runs: what an address is, and who is let through")
def test_what_is_no_text_is_no_url() -> None:
    with pytest.raises(ArgumentError, match="got a list"):
        parse(["http://api.example"], who="it")


@pytest.mark.parametrize(
    ("permission", "place", "allowed"),
    [
        ("net:api.example", "api.example:443", True),
        ("net:api.example", "API.example:8080", True),
        ("net:api.example.", "api.example:443", True),
        ("net:api.example:443", "api.example:8443", False),
        ("net:api.example", "evil-api.example:443", False),
        ("net:api.example", "sub.api.example:443", False),
        ("net:api.example", "api.example.evil.example:443", False),
        ("net:*.example", "api.example:443", True),
        ("net:*.example", "a.b.example:443", True),
        ("net:*.example", "example:443", False),
        ("net:*.example", "evilexample:443", False),
        ("net:*", "whatever.example:1", True),
        ("net:[::1]:80", "::1:80", True),
        ("net:[0:0::1]", "::1:80", True),
        ("net:[::ffff:127.0.0.1]", "127.0.0.1:80", True),
        ("net:127.0.0.1", "127.0.0.2:80", False),
    ],
)
@pytest.mark.one_isolation("inline", "no component runs: what an address is, and who is let through")
def test_a_permission_allows_its_host_and_no_other(permission: str, place: str, allowed: bool) -> None:
    assert is_permission(permission)
    host, _, port = place.lower().rpartition(":")
    assert Network.of([permission], [permission]).allows(host, int(port)) is allowed


@pytest.mark.one_isolation("inline", "no component runs: what an address is, and who is let through")
def test_what_is_allowed_and_not_asked_for_opens_nothing() -> None:
    assert not Network.of([], ["net:*"]).allows("api.example", 443)
    assert not Network.of(["net:api.example"], []).allows("api.example", 443)
    assert not Network.of(["net:*"], ["net:api.example"]).allows("api.example", 443)
    assert Network.of(["net:api.example"], ["net:*"]).allows("api.example", 443)


@pytest.mark.parametrize("asked", ["net:127.0.0.1", "net:localhost", "net:db", "net:x.internal", "net:169.254.169.254", "net:[::1]:80"])
@pytest.mark.parametrize("given", ["net:*", "net:*.internal"])
@pytest.mark.one_isolation("inline", "no component runs: what an address is, and who is let through")
def test_a_wildcard_gives_nobody_a_place_of_our_own(asked: str, given: str) -> None:
    wide, narrow = NetPermission.parse(given), NetPermission.parse(asked)
    assert wide is not None and narrow is not None and not wide.covers(narrow)


@pytest.mark.parametrize("text", ["net:a:0", "net:a:65536", "net:[]", "net:[::g]", "net:a..b", "net:.a", "net:a.*", "net:**"])
@pytest.mark.one_isolation("inline", "no component runs: what an address is, and who is let through")
def test_what_names_no_host_is_no_permission(text: str) -> None:
    assert not is_permission(text)


SECRETS = {"{{secret:A:1}}": HeldSecret("A", "the value of A"), "{{secret:B:2}}": HeldSecret("B", "{{secret:A:1}}")}


@pytest.mark.one_isolation("inline", "no component runs: what an address is, and who is let through")
def test_a_secret_is_filled_in_once() -> None:
    filled = http_headers.fill({"x": "a {{secret:A:1}}, {{secret:B:2}}", "y": "{{secret:C:3}}", "z": "plain"}, SECRETS)
    assert filled.items == {"x": "a the value of A, {{secret:A:1}}", "y": "{{secret:C:3}}", "z": "plain"}
    assert filled.secret == {"x"}
    assert filled.for_another_origin().items == {"y": "{{secret:C:3}}", "z": "plain"}


@pytest.mark.one_isolation("inline", "no component runs: what an address is, and who is let through")
def test_a_secret_with_line_breaks_is_refused_without_being_shown() -> None:
    held = {"{{secret:A:1}}": HeldSecret("A", "line\r\nx-injected: 1")}
    with pytest.raises(ArgumentError, match="the secret A") as refusal:
        http_headers.fill({"x": "{{secret:A:1}}"}, held)
    assert "injected" not in str(refusal.value)


@pytest.mark.parametrize("name", ["x\r\ny", "", "a:b", "a b", "é", "x" * 300, 5])
@pytest.mark.one_isolation("inline", "no component runs: what an address is, and who is let through")
def test_a_name_of_a_header_is_a_token(name: object) -> None:
    with pytest.raises(ArgumentError):
        http_headers.check({name: "a"}, who="it")


@pytest.mark.parametrize("name", ["Host", "CONTENT-LENGTH", "transfer-encoding", "Connection", "Proxy-Authorization", "Upgrade", "Expect"])
@pytest.mark.one_isolation("inline", "no component runs: what an address is, and who is let through")
def test_a_header_that_is_ours_to_set_is_refused(name: str) -> None:
    with pytest.raises(PermissionDenied, match=rf"it sets the header {name} of a fetch"):
        http_headers.check({name: "evil.example"}, who="it")


@pytest.mark.one_isolation("inline", "no component runs: what an address is, and who is let through")
def test_a_place_says_what_would_allow_it() -> None:
    assert [Place("https", host, port, "/").permission for host, port in (("a.example", 443), ("a.example", 80), ("::1", 443))] == [
        "net:a.example",
        "net:a.example:80",
        "net:[::1]",
    ]
