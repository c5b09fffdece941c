"""What a fetch gives to who may have it: the same inline and sandboxed."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib

import pytest
from tests.fetch.conftest import LOCAL, Mounted
from tests.fetch.web import Heard, Web, answer, raw, redirect

from interlock import ActionCtx, App, ArgumentError, FetchFailed, LimitExceeded, PermissionDenied
from interlock.functions.fetch import fetcher
from interlock.limits import LIMITS
from interlock.testing import TestBackend


async def test_a_response_has_a_status_headers_and_a_body(mounted: Mounted, web: Web) -> None:
    web.at["/teapot"] = answer(b"short and stout", "X-Kind: a", "x-kind: b", "Content-Type: text/plain", status="418 I'm a teapot")
    async with mounted(*LOCAL) as courier:
        got = await courier.action("get", url=web.url("/teapot?full=1"))
        assert got["status"] == 418 and got["body"] == b"short and stout"
        assert got["headers"] == {"x-kind": "a, b", "content-type": "text/plain", "content-length": "15"}
        posted = await courier.action("get", url=web.url("/here"), method="post", headers={"X-Own": "y"}, body="grüße", timeout=5)
    told = json.loads(posted["body"])
    assert (told["method"], told["target"], told["body"]) == ("POST", "/here", "grüße")
    assert told["headers"]["x-own"] == "y" and told["headers"]["content-type"] == "text/plain; charset=utf-8"
    assert told["headers"]["host"] == f"127.0.0.1:{web.port}"
    assert web.heard[0].target == "/teapot?full=1"


async def test_a_body_is_read_whole_or_in_pieces(mounted: Mounted, web: Web) -> None:
    body = bytes(range(256)) * 12_000
    web.at["/body"] = answer(body)
    web.at["/lines"] = raw(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"4\r\none\n\r\n", b"7\r\n\ntwo\r\nt\r\n", b"4\r\nhree\r\n0\r\n\r\n"
    )
    async with mounted(*LOCAL) as courier:
        assert (await courier.action("get", url=web.url("/body")))["body"] == body
        found = await courier.action("pieces", url=web.url("/body"))
        assert sum(found) == len(body) and max(found) <= 256 * 1024
        assert await courier.action("lines", url=web.url("/lines")) == ["one", "", "two", "three"]


async def test_nothing_more_is_read_than_is_asked_for(mounted: Mounted, web: Web) -> None:
    sent = 0

    async def endless(heard: Heard, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(bytes(65_536))
            await writer.drain()
            sent += 65_536

    web.at["/endless"] = endless
    async with mounted(*LOCAL) as courier:
        assert len(await courier.action("pieces", url=web.url("/endless"), stop_after=3)) == 3
        async with asyncio.timeout(10):
            await web.all_closed.wait()
        assert sent < 40_000_000, "what the kernel holds, and a few pieces"
        assert await courier.action("left_open", url=web.url("/endless")) == 200
        async with asyncio.timeout(10):
            await web.all_closed.wait()


async def test_fetches_run_side_by_side_and_each_has_a_connection_of_its_own(mounted: Mounted, web: Web) -> None:
    arrived, together = 0, asyncio.Event()

    async def wait(heard: Heard, writer: asyncio.StreamWriter) -> None:
        nonlocal arrived
        arrived += 1
        if arrived == 5:
            together.set()
        await together.wait()
        await answer(b"x")(heard, writer)

    web.at["/wait"] = wait
    async with mounted(*LOCAL) as courier:
        assert await courier.action("together", urls=[web.url("/wait")] * 5) == [200] * 5
    assert web.connections == 5


async def test_no_more_run_at_once_than_may(mounted: Mounted, web: Web) -> None:
    maximum, most = int(LIMITS["fetches_running"].value), 0

    async def wait(heard: Heard, writer: asyncio.StreamWriter) -> None:
        nonlocal most
        most = max(most, web.open)
        await asyncio.sleep(0)
        await answer(b"x")(heard, writer)

    web.at["/wait"] = wait
    async with mounted(*LOCAL) as courier:
        assert await courier.action("together", urls=[web.url("/wait")] * (maximum + 8)) == [200] * (maximum + 8)
    assert most <= maximum


async def test_a_redirect_is_followed_as_browsers_do(mounted: Mounted, web: Web) -> None:
    web.at["/old"] = redirect("/new?x=1", "303 See Other")
    web.at["/kept"] = redirect(f"http://localhost:{web.port}/new", "308 Permanent Redirect")
    async with mounted(*LOCAL) as courier:
        got = json.loads((await courier.action("get", url=web.url("/old"), method="POST", body="data"))["body"])
        assert (got["method"], got["target"], got["body"]) == ("GET", "/new?x=1", "") and "content-type" not in got["headers"]
        got = json.loads((await courier.action("get", url=web.url("/kept"), method="PUT", body="data"))["body"])
        assert (got["method"], got["body"], got["headers"]["host"]) == ("PUT", "data", f"localhost:{web.port}")


async def test_a_packed_body_is_unpacked(mounted: Mounted, web: Web) -> None:
    body = b"the same again and " * 20_000
    bare = zlib.compressobj(wbits=-15)
    packed = {
        "gzip": gzip.compress(body),
        "deflate": zlib.compress(body),
        "deflate, bare": bare.compress(body) + bare.flush(),
        "gzip, twice": gzip.compress(body[:1_000]) + gzip.compress(body[1_000:]),
    }
    async with mounted(*LOCAL) as courier:
        for packing, content in packed.items():
            web.at["/packed"] = answer(content, f"content-encoding: {packing.partition(',')[0]}")
            got = await courier.action("get", url=web.url("/packed"))
            assert got["body"] == body and "content-encoding" not in got["headers"] and "content-length" not in got["headers"]


async def test_a_fetch_that_its_function_gives_up_makes_room_for_the_next(
    mounted: Mounted, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetcher, "_AT_ONCE", 1)
    never = asyncio.Event()
    web.at["/never"] = raw(b"HTTP/1.1 200 OK\r\n", then=never)
    async with mounted(*LOCAL) as courier:
        assert await courier.action("given_up", url=web.url("/never"), then=web.url()) == 200
    never.set()


async def test_what_cannot_be_had_is_a_fetch_that_failed(mounted: Mounted, web: Web) -> None:
    web.at["/short"] = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n", b"only this")
    web.at["/torn"] = answer(gzip.compress(b"x" * 1_000)[:-9], "content-encoding: gzip")
    web.at["/noise"] = raw(b"SSH-2.0-OpenSSH\r\n\r\n")
    web.at["/round"] = redirect("/round")
    async with mounted(*LOCAL) as courier:
        for path in ("/short", "/torn", "/noise"):
            with pytest.raises(FetchFailed, match=rf"^GET http://127.0.0.1:{web.port}{path}: "):
                await courier.action("get", url=web.url(path))
        with pytest.raises(LimitExceeded) as limit:
            await courier.action("get", url=web.url("/round"))
        assert limit.value.limit == "fetch_redirects"
        assert await courier.action("caught", url=web.url("/short")) == "FetchFailed"
        with pytest.raises(FetchFailed):
            await courier.action("get", url="http://127.0.0.1:1/")
        assert (await courier.action("get", url=web.url()))["status"] == 200


NO_REQUESTS: list[tuple[dict[str, object], str]] = [
    ({"method": "GET /admin HTTP/1.1\r\nX:"}, ".method"),
    ({"method": ""}, ".method"),
    ({"headers": {"x": "a\r\nx-injected: 1"}}, ".headers['x']"),
    ({"headers": {"x": "a\nb"}}, ".headers['x']"),
    ({"headers": {"a b": "a"}}, ".headers"),
    ({"headers": {"x": "☃"}}, ".headers['x']"),
    ({"headers": {"x": 5}}, ".headers['x']"),
    ({"headers": {"x": "y" * 70_000}}, ".headers"),
    ({"headers": [["x", "y"]]}, ".headers"),
    ({"body": {"a": 1}}, ".body"),
    ({"timeout": 0}, ".timeout"),
    ({"timeout": "1"}, ".timeout"),
    ({"url": "no url"}, ".url"),
]


async def test_what_is_no_request_is_refused_by_name(mounted: Mounted, web: Web) -> None:
    async with mounted(*LOCAL) as courier:
        for options, path in NO_REQUESTS:
            with pytest.raises(ArgumentError) as refusal:
                await courier.action("get", **{"url": web.url(), **options})
            assert "must be" in str(refusal.value)
            assert refusal.value.function == "ctx.fetch" and refusal.value.path == path
    assert web.heard == []


@pytest.mark.one_isolation("inline", "the app's own action, which may fetch what its process may")
async def test_the_app_itself_may_fetch_what_its_process_may(web: Web) -> None:
    async def look(ctx: ActionCtx) -> str:
        response = await ctx.fetch(web.url("/x"), headers={"accept": "text/html"})
        assert response.json()["headers"]["accept"] == "text/html"
        with pytest.raises(PermissionDenied, match="speaks http and https"):
            await ctx.fetch("file:///etc/passwd")
        return response.text

    async with TestBackend(App()) as backend:
        assert '"/x"' in await backend.action(look)
