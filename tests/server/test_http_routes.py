"""HTTP routes of an app and its components, over the ASGI application; the components run inline and sandboxed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from tests.placed import placed

from interlock import ActionCtx, App, AppError, Backend, Component, ContextError, MutationCtx, QueryCtx, Request, Response, Schema, Table
from interlock.errors import MountError
from interlock.sdk.auth import OIDC
from interlock.testing.isolation import default

from .tokens import ISSUER, Issuer, token

MIB = 1024 * 1024


@asynccontextmanager
async def served(app: App | Component, *, dev: bool = False) -> AsyncIterator[httpx.AsyncClient]:
    async with Backend(app, data=":memory:", dev=dev, isolation=default.isolation) as backend:
        transport = httpx.ASGITransport(backend.asgi())
        async with httpx.AsyncClient(transport=transport, base_url="http://shop.example") as client:
            yield client


def hooks(name: str) -> Component:
    component = Component(name, schema=Schema(seen=Table({"text": str})), permissions=["http"])

    @component.mutation(internal=True)
    async def put(ctx: MutationCtx, text: str) -> None:
        await ctx.db.insert("seen", {"text": text})

    @component.query
    async def seen(ctx: QueryCtx) -> list[str]:
        return [row["text"] async for row in ctx.db.query("seen")]

    @component.http("POST", "/hook")
    async def hook(ctx: ActionCtx, request: Request) -> Response:
        await ctx.run_mutation(put, text=request.text)
        headers = {"X-Kept": "yes", "Connection": "close", "Content-Length": "1", "Content-Type": "application/octet-stream"}
        return Response(b"\x00\xff" + request.body, 201, headers)

    @component.http("POST", "/echo")
    async def echo(ctx: ActionCtx, request: Request) -> Response:
        return Response(request.body)

    @component.http("GET", "/hello")
    def hello(ctx: ActionCtx, request: Request) -> Response:
        return Response(f"hello from {request.query.get('from', 'nobody')}")

    @component.http("PUT", "/who")
    async def who(ctx: ActionCtx, asked: Request) -> Response:
        import json

        names = ["authorization", "cookie", "x-mine"]
        try:
            has_auth = ctx.auth is not None
        except ContextError:
            has_auth = False
        told = {"user": has_auth, "url": asked.url, "at": asked.path, "method": asked.method}
        return Response(json.dumps({**told, **{key: asked.headers.get(key) for key in names}}))

    @component.http("PATCH", "/bad")
    async def bad(ctx: ActionCtx, request: Request) -> Response:
        choices: dict[str, Any] = {
            "none": None,
            "dict": {"a": 1},
            "status": Response("x", 99),
            "body": Response(5),  # type: ignore[arg-type]
            "header": Response("x", 200, {"x": "a\r\nset-cookie: b"}),
            "name": Response("x", 200, {"a b": "c"}),
            "headers": Response("x", 200, [("a", "b")]),  # type: ignore[arg-type]
            "long": Response(b"x" * (20 * 1024 * 1024 + 1)),
        }
        chosen: Response = choices[request.text]
        return chosen

    @component.http("DELETE", "/raise")
    async def fail(ctx: ActionCtx, request: Request) -> Response:
        if request.body:
            raise AppError({"reason": request.text})
        raise ZeroDivisionError("my own secret")

    return component


@pytest.mark.usefixtures("both_isolations")
class TestOfComponents:
    @staticmethod
    def app() -> Component:
        app = Component("app")
        app.use(placed(hooks, "hooks"), http_prefix="/h/")
        return app

    async def test_a_request_reaches_the_handler_with_its_bytes_and_comes_back(self) -> None:
        async with served(self.app()) as client:
            answer = await client.post("/http/h/hook", content="né".encode())
            assert (answer.status_code, answer.content) == (201, b"\x00\xff" + "né".encode())
            assert answer.headers["x-kept"] == "yes"
            assert "connection" not in answer.headers, "the connection is the server's"
            assert answer.headers["content-length"] == str(len(answer.content))
            hello = await client.get("/http/h/hello?from=me")
            assert (hello.text, hello.headers["content-type"]) == ("hello from me", "text/plain; charset=utf-8")
            head = await client.head("/http/h/hello?from=me")
            assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "13")
            most = (20 if default.isolation == "inline" else 8) * MIB  # a worker has 256 MiB
            big = b"x" * most
            echoed = await client.post("/http/h/echo", content=big)
            assert echoed.status_code == 200, echoed.text
            assert echoed.content == big
            refused = await client.post("/http/h/hook", content=big + b"x")
            assert (refused.status_code, refused.text) == (413, f"The body of a request may have {most:,} bytes.\n")

            async def endless() -> AsyncIterator[bytes]:
                while True:
                    yield b"x" * MIB

            assert (await client.post("/http/h/hook", content=endless())).status_code == 413

    async def test_a_component_learns_of_nobody(self) -> None:
        async with served(self.app()) as client:
            headers = {"authorization": "Bearer shared", "cookie": "session=1", "x-mine": "a"}
            told = (await client.put("/http/h/who?a=%20b", headers=headers)).json()
            assert told == {
                "user": False,
                "url": "http://shop.example/http/h/who?a=%20b",
                "at": "/http/h/who",
                "method": "PUT",
                "authorization": "Bearer shared",
                "cookie": None,
                "x-mine": "a",
            }
            told = (await client.put("/http/h/who", headers={"authorization": "Convex app|key"})).json()
            assert told["authorization"] is None, "an admin key is no component's business"

    async def test_what_is_no_response_is_said(self) -> None:
        async with served(self.app(), dev=True) as client:
            said = {
                "none": "result must be a Response, like Response",
                "dict": "a dict: {'a': 1}",
                "status": "result status must be a whole number from 200 to 599",
                "body": "result body must be bytes or text",
                "header": "result headers['x'] must be one line",
                "name": "result headers must be names that HTTP knows",
                "headers": "result headers must be a mapping",
                "long": "20,971,521",
            }
            for chosen, words in said.items():
                answer = await client.patch("/http/h/bad", content=chosen)
                assert answer.status_code == 500, chosen
                assert answer.json()["code"] == ("LimitExceeded" if chosen == "long" else "ReturnError")
                assert words in answer.json()["trace"], chosen

    async def test_an_error_is_a_500_that_holds_back_what_is_the_components(self) -> None:
        async with served(self.app()) as client:
            answer = await client.request("DELETE", "/http/h/raise")
            assert answer.status_code == 500
            assert answer.json()["code"] == "HandlerFailed"
            assert answer.json()["trace"].endswith("Server Error")
            answer = await client.request("DELETE", "/http/h/raise", content=b"late")
            assert (answer.status_code, answer.json()["data"]) == (500, {"reason": "late"})
        async with served(self.app(), dev=True) as client:
            assert "ZeroDivisionError: my own secret" in (await client.request("DELETE", "/http/h/raise")).json()["trace"]


def app_with_routes() -> App:
    app = App(auth=[OIDC(ISSUER, audience="myapp")])

    @app.http("GET", "/me")
    async def me(ctx: ActionCtx, request: Request) -> Response:
        identity = await ctx.auth.identity()
        return Response("nobody" if identity is None else str(identity.subject), headers={"seen": request.headers.get("authorization", "")})

    @app.http("OPTIONS", "/me")
    async def preflight(ctx: ActionCtx, request: Request) -> Response:
        return Response(status=204, headers={"access-control-allow-origin": "*"})

    return app


@pytest.mark.one_isolation("inline", "the app's own routes")
async def test_the_app_knows_who_signed_in_and_reads_other_headers_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(Component("app")) as client:
        assert (await client.get("/http")).status_code == 404
    app = app_with_routes()
    async with Backend(app, data=":memory:") as backend:
        server = backend.asgi()
        monkeypatch.setattr(server, "_key_transport", Issuer().transport)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(server), base_url="http://a") as client:
            assert (await client.get("/http/me")).text == "nobody"
            signed = await client.get("/http/me", headers={"authorization": f"Bearer {token(iat=None, exp=4_000_000_000)}"})
            assert signed.text == "ada"
            for other in ("Basic YTpi", "Bearer secret", "x"):
                answer = await client.get("/http/me", headers={"authorization": other})
                assert (answer.text, answer.headers["seen"]) == ("nobody", other)
            answer = await client.options("/http/me")
            assert (answer.status_code, answer.content, answer.headers["access-control-allow-origin"]) == (204, b"", "*")
            assert "content-length" not in answer.headers
            missing = await client.post("/http/me")
            assert (missing.status_code, missing.text) == (404, "There is no HTTP route for POST /me.\n")
            assert (await client.get("/httpme")).status_code == 404


def test_a_handler_takes_a_context_and_a_request() -> None:
    app = Component("app")
    with pytest.raises(MountError, match="does not take a context and a request"):

        @app.http("GET", "/x")  # type: ignore[arg-type]
        async def handler(ctx: ActionCtx) -> Response:
            return Response()
