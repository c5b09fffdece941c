"""A component that wants more of the network than it was allowed, and servers that want more of the host. Inline and sandboxed alike.

Each shows its canary: the same goes through a host that looks at no place, or takes in any plain client.
"""

from __future__ import annotations

import asyncio
import gzip
import socket
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs
from tests.fetch.conftest import LOCAL, Mounted
from tests.fetch.web import Heard, Web, answer, raw, redirect

from interlock import ArgumentError, FetchFailed, LimitExceeded, MountError, PermissionDenied
from interlock.functions.fetch import fetcher
from interlock.functions.fetch.fetcher import _Request
from interlock.functions.fetch.wire import Wire

PUBLIC = "203.0.114.7"
"""An address of a stranger. Nothing of it is connected to here: see `connected`."""


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[str]]]:
    """What names lead to, in the order asked; the last answer holds on. Others are not known."""
    answers: dict[str, list[list[str]]] = {}

    async def look_up(self: Wire, host: str, port: int) -> Sequence[str]:
        known = answers.get(host)
        if not known:
            raise socket.gaierror(-2, "Name or service not known")
        return known.pop(0) if len(known) > 1 else known[0]

    monkeypatch.setattr(Wire, "_look_up", look_up)
    return answers


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The addresses that were connected to. A public one is refused at once, as if nobody were there."""
    import anyio

    tried: list[str] = []
    real = anyio.connect_tcp

    async def connect(remote_host: Any, remote_port: int, **options: Any) -> Any:
        tried.append(str(remote_host))
        if not str(remote_host).startswith("127."):
            raise OSError("nobody is there")
        return await real(remote_host, remote_port, **options)

    monkeypatch.setattr(anyio, "connect_tcp", connect)
    yield tried


Unguarded = Callable[[], AbstractContextManager[None]]


@pytest.fixture
def unguarded(monkeypatch: pytest.MonkeyPatch) -> Unguarded:
    """The canary of all that leads where it must not: a host that looks at no place and at no address."""

    @contextmanager
    def looking_at_nothing() -> Iterator[None]:
        with monkeypatch.context() as patched:
            patched.setattr(_Request, "check_place", lambda *_: None)
            patched.setattr(_Request, "_check_address", lambda *_: lambda address: None)
            yield

    return looking_at_nothing


def plain() -> httpx.AsyncClient:
    """The canary of all that wants more of the host: a client as anybody has one."""
    return httpx.AsyncClient(timeout=None)


async def denied(courier: Any, url: str, **options: Any) -> PermissionDenied:
    with pytest.raises(PermissionDenied) as refusal:
        await courier.action("get", url=url, **options)
    return refusal.value


async def test_a_host_that_is_not_allowed_is_refused_with_what_would_allow_it(mounted: Mounted, web: Web, unguarded: Unguarded) -> None:
    async with mounted("net:api.example", allow=("net:*",)) as courier:
        refusal = await denied(courier, web.url("/x"))
        assert web.connections == 0
        with unguarded():
            assert (await courier.action("get", url=web.url("/x")))["status"] == 200
    assert refusal.tried == f"courier/get fetches {web.url('/x')}"
    assert f'permissions=["net:127.0.0.1:{web.port}"] in the component' in refusal.remedy
    assert f'allow=["net:127.0.0.1:{web.port}"]' in refusal.remedy and "test_attacks.py" not in refusal.remedy


async def test_the_log_is_not_filled_with_refusals(mounted: Mounted, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    async with mounted("net:*") as courier:
        told = await told_of_refusals(courier, web)
        assert len(told) == 10 and told[-1]["more"] == "are not told for 60 s"
        monkeypatch.setattr(fetcher, "_TOLD_MAX", 1_000)  # the canary
        assert len(await told_of_refusals(courier, web)) == 15


async def told_of_refusals(courier: Any, web: Web) -> list[Any]:
    with capture_logs() as logged:
        for _ in range(15):
            await denied(courier, web.url())
    return [event for event in logged if event["event"] == "fetch refused"]


ALIKE = [
    "http://mail.example.other.example:{port}/",
    "http://other.example:{port}/",
    "http://mail.example@127.0.0.1:{port}/",
    "http://2130706433:{port}/",
]


async def test_a_place_that_looks_like_an_allowed_one_is_another(
    mounted: Mounted, web: Web, names: dict[str, list[list[str]]], unguarded: Unguarded
) -> None:
    names.update({"mail.example.other.example": [["127.0.0.1"]], "other.example": [["127.0.0.1"]]})
    async with mounted("net:mail.example") as courier:
        for url in ALIKE:
            with pytest.raises((PermissionDenied, ArgumentError)):
                await courier.action("get", url=url.format(port=web.port))
        assert web.connections == 0
        with unguarded():
            for url in ALIKE[:2]:
                assert (await courier.action("get", url=url.format(port=web.port)))["status"] == 200
    assert httpx.URL(ALIKE[2].format(port=1)).host == "127.0.0.1" and socket.inet_aton("2130706433") == socket.inet_aton("127.0.0.1")


async def test_another_port_of_an_allowed_host_is_another_place(mounted: Mounted, web: Web, unguarded: Unguarded) -> None:
    async with mounted(f"net:127.0.0.1:{web.port + 1}") as courier:
        await denied(courier, web.url())
        assert web.connections == 0
        with unguarded():
            assert (await courier.action("get", url=web.url()))["status"] == 200


async def test_a_start_without_the_permission_is_refused(mounted: Mounted) -> None:
    with pytest.raises(MountError, match=r'asks for "net:api.example", and that is not allowed'):
        async with mounted("net:api.example", allow=()):
            pass
    with pytest.raises(MountError, match=r'asks for "net:127.0.0.1"'):
        async with mounted("net:127.0.0.1", allow=("net:*",)):
            pass
    async with mounted("net:api.example", "net:127.0.0.1"):
        pass  # the canary: allowed, it starts


OUR_OWN = [
    "http://127.0.0.1:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "http://127。0。0。1:{port}/",
    "http://[::1]:{port}/",
    "http://0.0.0.0:{port}/",
    "http://10.0.0.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[fd00:ec2::254]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[2002:7f00:1::]/",
    "http://224.0.0.1/",
    "http://localhost:{port}/",
    "http://LocalHost.:{port}/",
    "http://sub.localhost:{port}/",
    "http://printer.local/",
    "http://metadata.google.internal/",
    "http://api.example:{port}/",
]


async def test_a_wildcard_reaches_nothing_of_our_own(
    mounted: Mounted, web: Web, names: dict[str, list[list[str]]], connected: list[str], unguarded: Unguarded
) -> None:
    names.update({name: [["127.0.0.1"]] for name in ("localhost", "sub.localhost", "api.example")})
    names.update({"printer.local": [["192.168.0.9"]], "metadata.google.internal": [["169.254.169.254"]]})
    async with mounted("net:*", "net:*.localhost", "net:*.internal") as courier:
        for url in OUR_OWN:
            refusal = await denied(courier, url.format(port=web.port))
            assert " is " in refusal.tried and refusal.remedy
        assert connected == [] and web.connections == 0
        with unguarded():
            await each_connects(courier, connected, [url.format(port=web.port) for url in OUR_OWN])
        assert web.connections > 0


async def each_connects(courier: Any, connected: list[str], urls: Sequence[str]) -> None:
    """Whoever is there, and whatever is said."""
    for url in urls:
        before = len(connected)
        with suppress(FetchFailed):
            await courier.action("get", url=url)
        assert len(connected) > before, url


LEAD_TO_US = [
    ("api.example", ["127.0.0.1"]),
    ("api.example", ["10.0.0.5"]),
    ("api.example", ["::ffff:127.0.0.1"]),
    ("api.example", ["::1"]),
    ("api.example", ["fe80::1%eth0"]),
    ("api.example", [PUBLIC, "127.0.0.1"]),
    ("api.example", ["127.0.0.1", PUBLIC]),
    ("api.example", [PUBLIC, "169.254.169.254"]),
    ("localhost", ["10.0.0.5"]),
    ("localhost", ["127.0.0.1", "169.254.169.254"]),
    ("db", ["169.254.169.254"]),
    ("db.internal", [PUBLIC, "0.0.0.0"]),
]


async def test_a_name_that_leads_to_us_is_not_followed(
    mounted: Mounted, names: dict[str, list[list[str]]], connected: list[str], unguarded: Unguarded
) -> None:
    async with mounted("net:api.example", "net:localhost", "net:db", "net:db.internal") as courier:
        for host, answers in LEAD_TO_US:
            names[host] = [answers]
            refusal = await denied(courier, f"http://{host}/")
            assert all(address not in str(refusal) for address in answers), "a component is not to map the network behind us"
        assert connected == []
        with unguarded():
            for host, answers in LEAD_TO_US:
                names[host] = [answers]
                await each_connects(courier, connected, [f"http://{host}:1/"])
        assert {"127.0.0.1", "169.254.169.254", "10.0.0.5"} <= set(connected)


async def test_the_address_that_was_looked_at_is_the_one_that_is_connected_to(
    mounted: Mounted, web: Web, names: dict[str, list[list[str]]], connected: list[str], unguarded: Unguarded
) -> None:
    url = web.url(host="api.example")
    names["api.example"] = [[PUBLIC], ["127.0.0.1"]]
    async with mounted("net:api.example") as courier:
        with pytest.raises(FetchFailed):
            await courier.action("get", url=url)
        assert connected == [PUBLIC]
        await denied(courier, url)
        assert connected == [PUBLIC], "looked up again, it is looked at again"
        with unguarded():  # who is content with the first look is led to us by the second
            assert (await courier.action("get", url=url))["status"] == 200


async def test_a_place_of_our_own_is_reached_by_its_name_or_number(
    mounted: Mounted, web: Web, names: dict[str, list[list[str]]], connected: list[str]
) -> None:
    """The canary of those before: what is meant is reached."""
    names.update({"localhost": [["127.0.0.1"]], "db": [["127.0.0.1"]], "search.corp.example": [["127.0.0.1"]]})
    hosts = ("net:localhost", "net:db", "net:search.corp.example", f"net:127.0.0.1:{web.port}")
    async with mounted(*hosts) as courier:
        for host in ("localhost", "LOCALHOST.", "db", "search.corp.example", "127.0.0.1", "[::ffff:127.0.0.1]"):
            assert (await courier.action("get", url=web.url(host=host)))["status"] == 200
    async with mounted("net:search.corp.example", allow=("net:search.corp.example", "net:127.0.0.1")) as courier:
        assert (await courier.action("get", url=web.url(host="search.corp.example")))["status"] == 200


AWAY = [
    "http://localhost:{port}/",
    "//localhost:{port}/",
    "http://[::1]:{port}/",
    "http://169.254.169.254/latest/meta-data/",
    "http://evil.example/",
    "http://127.0.0.2:{port}/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:{port}/_x",
    "data:text/plain,x",
    "http://127.0.0.1:1/",
]


async def test_a_redirect_is_looked_at_again(
    mounted: Mounted, web: Web, names: dict[str, list[list[str]]], connected: list[str], unguarded: Unguarded
) -> None:
    names.update({"localhost": [["127.0.0.1"]], "evil.example": [["127.0.0.1"]]})
    async with mounted(f"net:127.0.0.1:{web.port}") as courier:
        for location in AWAY:
            web.at["/away"] = redirect(location.format(port=web.port))
            refusal = await denied(courier, web.url("/away"))
            assert web.url("/away") in refusal.tried
        assert len(web.heard) == len(AWAY) == len(connected)
        with unguarded():  # of other schemes see below
            for location in AWAY:
                web.at["/away"] = redirect(location.format(port=web.port))
                if location.startswith(("http:", "//")):
                    before = len(connected)
                    with suppress(FetchFailed):
                        await courier.action("get", url=web.url("/away"))
                    assert len(connected) == before + 2, location


async def test_a_redirect_to_what_is_no_url_fails(mounted: Mounted, web: Web) -> None:
    async with mounted(*LOCAL) as courier:
        for location in ("http://127.0.0.1@localhost/", "http://0x7f000001/", "http://a\\b/", "http://[::1/", "http://localhost:99999/"):
            web.at["/away"] = redirect(location)
            with pytest.raises(FetchFailed, match="leads on to what is no URL"):
                await courier.action("get", url=web.url("/away"))
    assert {heard.target for heard in web.heard} == {"/away"}
    assert httpx.URL("http://127.0.0.1@localhost/").host == "localhost"  # the canaries: others read them so
    assert socket.inet_aton("0x7f000001") == socket.inet_aton("127.0.0.1")


async def test_another_scheme_is_refused(mounted: Mounted, tmp_path: Path) -> None:
    async with mounted("net:*", *LOCAL) as courier:
        for url in ("file:///etc/passwd", "gopher://127.0.0.1/_x", "ftp://127.0.0.1/", "unix:///run/docker.sock", "data:,x"):
            assert "http and https alone" in (await denied(courier, url)).remedy
    secret = tmp_path / "secret"
    secret.write_text("the secret")
    assert opened(secret.as_uri()) == b"the secret"


def opened(url: str) -> bytes:
    """The canary: a client that knows more of them."""
    with urllib.request.urlopen(url) as response:
        content: bytes = response.read()
    return content


async def test_headers_that_say_where_it_goes_are_not_the_components_to_set(mounted: Mounted, web: Web) -> None:
    async with mounted(*LOCAL) as courier:
        for name in ("Host", "host", "Content-Length", "Transfer-Encoding", "Connection"):
            assert name in (await denied(courier, web.url(), headers={name: "admin.internal"})).tried
        for method in ("CONNECT", "trace"):
            await denied(courier, web.url(), method=method)
    assert web.heard == []
    async with plain() as client:
        await client.request("TRACE", web.url(), headers={"Host": "admin.internal", "Connection": "upgrade"})
    [heard] = web.heard
    assert (heard.method, heard.headers["host"], heard.headers["connection"]) == ("TRACE", "admin.internal", "upgrade")


# Servers


async def test_a_body_that_is_too_large_is_not_read_to_its_end(mounted: Mounted, web: Web) -> None:
    web.at["/told"] = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n")
    sent = 0

    async def untold(heard: Heard, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(bytes(1 << 18))
            await writer.drain()
            sent += 1 << 18

    web.at["/untold"] = untold
    async with mounted(*LOCAL) as courier:
        for path in ("/told", "/untold"):
            with pytest.raises(LimitExceeded) as limit:
                await courier.action("size", url=web.url(path))
            assert limit.value.limit == "fetch_body"
    assert sent < 32 << 20
    read = 0
    async with plain() as client, client.stream("GET", web.url("/untold")) as response:
        async for piece in response.aiter_raw():
            read += len(piece)
            if read > 32 << 20:
                break
    assert read > 32 << 20


@pytest.mark.parametrize("packing", ["gzip", "deflate"])
async def test_a_bomb_does_not_unfold(mounted: Mounted, web: Web, packing: str) -> None:
    packer = zlib.compressobj(1, wbits=31 if packing == "gzip" else 15)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(40)) + packer.flush()
    assert len(bomb) < 300_000
    web.at["/bomb"] = answer(bomb, f"content-encoding: {packing}")
    web.at["/twice"] = answer(gzip.compress(bomb), f"content-encoding: {packing}, gzip")
    async with mounted(*LOCAL) as courier:
        with pytest.raises(LimitExceeded) as limit:
            await courier.action("size", url=web.url("/bomb"))
        assert limit.value.limit == "fetch_body" and limit.value.used < (17 << 20), "not a piece more than it takes to see it"
        assert await courier.action("size", url=web.url("/twice")) < 300_000, "passed on as it came"
    async with plain() as client:
        for path in ("/bomb", "/twice"):
            assert len((await client.get(web.url(path))).content) == 40 << 20


async def test_a_server_that_takes_for_ever_is_left(mounted: Mounted, web: Web) -> None:
    never = asyncio.Event()
    slow = {
        "before the head": [],
        "in the head": [b"HTTP/1.1 200 OK\r\nx: y\r\n"],
        "in the body": [b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n", b"x"],
        "before the end": [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n"],
    }
    async with mounted(*LOCAL) as courier:
        for n, parts in enumerate(slow.values()):
            web.at[f"/slow{n}"] = raw(*parts, then=never)
            with pytest.raises(FetchFailed, match=r"it took longer than 0.1 s"):
                await courier.action("get", url=web.url(f"/slow{n}"), timeout=0.1)
        assert await courier.action("get", url=web.url("/"))
    async with plain() as client:
        waiting = [asyncio.ensure_future(client.get(web.url(f"/slow{n}"))) for n in range(len(slow))]
        done, _ = await asyncio.wait(waiting, timeout=0.3)
        assert not done
        never.set()
        await asyncio.wait(waiting)


async def test_a_head_without_end_is_left(mounted: Mounted, web: Web) -> None:
    async def endless(heard: Heard, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"x: " + b"y" * 10_000 + b"\r\n")
            await writer.drain()

    web.at["/head"] = endless
    async with mounted(*LOCAL) as courier:
        with pytest.raises(FetchFailed):
            await courier.action("get", url=web.url("/head"), timeout=5)
    assert await more_than(1 << 20, web, "/head")


async def more_than(size: int, web: Web, path: str) -> bool:
    """The canary: whether a reader that looks for the end of a head is given as much, and has not come to it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
    writer.write(f"GET {path} HTTP/1.1\r\n\r\n".encode())
    read = 0
    while read <= size and (piece := await reader.read(1 << 16)):
        read += len(piece)
    writer.close()
    return read > size


async def test_heads_before_the_head_have_an_end(mounted: Mounted, web: Web) -> None:
    async def endless(heard: Heard, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000)
            await writer.drain()

    web.at["/early"] = endless
    async with mounted(*LOCAL) as courier:
        with pytest.raises(FetchFailed, match="head has more than"):
            await courier.action("get", url=web.url("/early"))
    assert await more_than(1 << 20, web, "/early")


async def test_a_body_in_crumbs_is_left(mounted: Mounted, web: Web) -> None:
    async def crumbs(heard: Heard, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"1\r\nx\r\n" * 1_000)
            await writer.drain()

    web.at["/crumbs"] = crumbs
    async with mounted(*LOCAL) as courier:
        with pytest.raises(FetchFailed, match="parts of few bytes each"):
            await courier.action("get", url=web.url("/crumbs"))
    assert await more_than(1 << 20, web, "/crumbs")


async def test_a_fetch_that_outlives_its_call_is_let_go_of(mounted: Mounted, web: Web) -> None:
    go_on = asyncio.Event()

    async def wait(heard: Heard, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        await answer(bytes(1 << 20))(heard, writer)

    web.at["/late"] = wait
    async with mounted(*LOCAL) as courier:
        assert await courier.action("not_awaited", url=web.url("/late")) == "done"
        go_on.set()
        async with asyncio.timeout(10):
            await web.all_closed.wait()
        assert (await courier.action("get", url=web.url()))["status"] == 200
    async with plain() as client:
        left = await client.send(client.build_request("GET", web.url("/late")), stream=True)
        assert web.open == 1  # the canary: of what nobody lets go of
        await left.aclose()


async def test_a_proxy_of_the_environment_is_not_asked(mounted: Mounted, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with mounted(*LOCAL) as courier:
        assert (await courier.action("get", url=web.url()))["status"] == 200
    async with plain() as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(web.url())
