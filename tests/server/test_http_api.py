from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from interlock.sdk.auth import OIDC
from interlock.server import ServerApp, make_admin_key
from interlock.server.messages import decode_ts, encode_ts
from interlock.server.service import Failure, Service
from interlock.testing.virtual_clock import VirtualClock

from .tiny import SECRET, TinyService, ts_of
from .tokens import ISSUER, NOW_S, Issuer, token

KEY = make_admin_key("tiny", SECRET)
ADMIN = {"authorization": f"Convex {KEY}"}
ENCODED = "convex_encoded_json"


def app_of(service: Service, issuer: Issuer | None = None, **options: Any) -> ServerApp:
    async def open_service() -> Service:
        return service

    async def close_service() -> None:
        pass

    transport = None if issuer is None else issuer.transport
    return ServerApp(open_service, close_service, clock=VirtualClock(NOW_S * 1000.0), key_transport=transport, **options)


@asynccontextmanager
async def served(service: TinyService | None = None, issuer: Issuer | None = None) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app_of(service or TinyService(), issuer))
    async with httpx.AsyncClient(transport=transport, base_url="http://tiny") as client:
        yield client


async def call(client: httpx.AsyncClient, route: str, path: str, args: Any, format: str | None = ENCODED, **headers: str) -> Any:
    body: dict[str, Any] = {"path": path, "args": args}
    if format is not None:
        body["format"] = format
    answer = await client.post(f"/api/{route}", json=body, headers=headers)
    return answer.json() if answer.status_code == 200 else (answer.status_code, answer.json()["code"])


async def test_each_kind_of_call_with_arguments_as_an_object_or_in_a_list() -> None:
    async with served() as client:
        assert await call(client, "mutation", "t:add", {"n": 2}) == {"status": "success", "value": 2.0, "logLines": ["[LOG] wrote"]}
        assert (await call(client, "query", "t.js:get", [{}]))["value"] == 2.0
        assert (await call(client, "query", "t:get", []))["value"] == 2.0
        assert (await call(client, "action", "t:act", [{"a": None}]))["value"] == {"a": None}
        raw = await client.post("/api/query", json={"path": "t:get", "args": {}, "format": ENCODED})
        assert b'"value":2.0' in raw.content, "a number has a point: the old Python client reads an int as none of its values"


async def test_a_function_that_fails_is_told_in_an_answer_of_200() -> None:
    async with served() as client:
        failed = await call(client, "query", "t:fail", {})
        assert failed["status"] == "error" and "boom" in failed["errorMessage"] and "errorData" not in failed
        assert (await call(client, "query", "t:fail", {"data": None}))["errorData"] is None
        assert (await call(client, "mutation", "t:failMutation", {"data": {"a": 1}}))["errorData"] == {"a": 1.0}
        assert "Could not find" in (await call(client, "query", "t:nothing", {}))["errorMessage"]
        assert "mutation" in (await call(client, "query", "t:add", {}))["errorMessage"]


async def test_values_in_each_format() -> None:
    args = {"i": {"$integer": "AQAAAAAAAAA="}, "b": {"$bytes": "AQI="}, "n": {"$float": "AAAAAAAA+H8="}, "f": 5}
    clean = {"i": "1", "b": "AQI=", "n": "NaN", "f": 5.0}
    async with served() as client:
        for format in ("convex_encoded_json", "convex_json"):
            assert (await call(client, "action", "t:act", args, format))["value"] == {**args, "f": 5.0}
        for clean_format in ("json", "convex_clean_json", None):
            assert (await call(client, "action", "t:act", args, clean_format))["value"] == clean
        exported = (await call(client, "action", "t:act", args, "export_json"))["value"]
        assert exported["i"] == 1 and exported["b"] == {"$bytes": "AQI="}
        assert await call(client, "action", "t:act", args, "xml") == (400, "BadFormat")
        for old in ("npm-1.4.1", "python-0.4.0"):
            assert (await call(client, "action", "t:act", args, None, **{"Convex-Client": old}))["value"]["i"] == args["i"]


async def test_consistent_queries_read_the_snapshot_that_was_given_out() -> None:
    async with served() as client:
        ts = (await client.post("/api/query_ts")).json()["ts"]
        assert decode_ts(ts) == ts_of(0)
        await call(client, "mutation", "t:add", {})
        body = {"path": "t:get", "args": [{}], "format": ENCODED}
        assert (await client.post("/api/query_at_ts", json={**body, "ts": ts})).json()["value"] is None
        newest = (await client.post("/api/query_ts")).json()["ts"]
        assert (await client.post("/api/query_at_ts", json={**body, "ts": newest})).json()["value"] == 1.0
        refused: list[tuple[Any, str]] = [
            (encode_ts(5).decode(), "SnapshotTooOld"),
            ("x", "BadJsonBody"),
            (None, "BadJsonBody"),
            (7, "BadJsonBody"),
        ]
        for bad, code in refused:
            answer = await client.post("/api/query_at_ts", json={**body, "ts": bad})
            assert (answer.status_code, answer.json()["code"]) == (400, code)


async def test_a_batch_of_queries_reads_one_snapshot() -> None:
    async with served() as client:
        await call(client, "mutation", "t:add", {})
        queries = [
            {"path": "t:get", "args": {}, "format": ENCODED},
            {"path": "t:fail", "args": {}},
            {"path": "t:get", "args": [{"key": "x"}]},
        ]
        results = (await client.post("/api/query_batch", json={"queries": queries})).json()["results"]
        assert [each["status"] for each in results] == ["success", "error", "success"]
        for bad in ("{}", '{"queries":{}}', '{"queries":[7]}', json.dumps({"queries": [{}] * 1001})):
            answer = await client.post("/api/query_batch", content=bad, headers={"content-type": "application/json"})
            assert answer.status_code == 400


async def test_a_call_by_url() -> None:
    async with served() as client:
        await call(client, "mutation", "t:add", {"key": "k"})
        answer = await client.get("/api/query", params={"path": "t:get", "args": '{"key":"k"}', "format": "json"})
        assert answer.json()["value"] == 1.0
        assert (await client.get("/api/query", params={"path": "t:get"})).json()["value"] is None
        assert (await client.get("/api/query", params={"path": "t:get", "args": "{"})).json()["code"] == "BadQueryArgs"
        for path in ("t/add", "t:add"):
            assert (await client.post(f"/api/run/{path}", json={"args": {"key": "k"}})).json()["status"] == "success"
        assert (await client.post("/api/run/t/get", json={})).json()["value"] is None
        assert (await client.post("/api/run/a//b", json={})).json()["code"] == "BadConvexFunctionIdentifier"


@pytest.mark.parametrize(
    ("body", "content_type", "code"),
    [
        (b"{}", "application/json", "BadJsonBody"),
        (b"{", "application/json", "BadJsonBody"),
        (b"[]", "application/json", "BadJsonBody"),
        (b"\xff\xfe", "application/json", "BadJsonBody"),
        (b"[" * 100_000, "application/json", "BadJsonBody"),
        (b'{"path":"t:get","args":{}}', "text/plain", "BadJsonBody"),
        (b'{"path":"t:get"}', "application/json", "BadJsonBody"),
        (b'{"args":{}}', "application/json", "BadJsonBody"),
        (b'{"path":7,"args":{}}', "application/json", "BadJsonBody"),
        (b'{"path":"a b","args":{}}', "application/json", "BadConvexFunctionIdentifier"),
        (b'{"path":"t:get","args":7}', "application/json", "BadQueryArgs"),
        (b'{"path":"t:get","args":[{},{}]}', "application/json", "BadQueryArgs"),
        (b'{"path":"t:get","args":{"a":{"$set":[]}}}', "application/json", "BadQueryArgs"),
        (b'{"path":"t:get","args":{"a":"\\ud800"}}', "application/json", "BadQueryArgs"),
        (b'{"path":"t:get","args":{"a":NaN}}', "application/json", "BadJsonBody"),
        (b'{"path":"t:get","args":{"a":"\\ud800","b":NaN}}', "application/json", "BadJsonBody"),
        (b'{"path":"t:get","args":' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}", "application/json", "BadQueryArgs"),
        (b'{"path":"t:get","args":{},"format":7}', "application/json", "BadFormat"),
        (b'{"path":"t:get","args":{},"componentPath":"a b"}', "application/json", "InvalidComponentPath"),
        (b'{"path":"t:get","args":{},"componentPath":7}', "application/json", "InvalidComponentPath"),
    ],
)
async def test_a_request_that_is_none_is_refused_with_a_code_and_a_message(body: bytes, content_type: str, code: str) -> None:
    async with served() as client:
        for route in ("query", "mutation", "action"):
            answer = await client.post(f"/api/{route}", content=body, headers={"content-type": content_type})
            assert (answer.status_code, answer.json()["code"]) == (400, code)
            assert answer.json()["message"]


async def test_a_body_that_is_too_long_is_refused_before_it_is_read_whole() -> None:
    async with served() as client:
        sent = 0

        async def parts() -> AsyncIterator[bytes]:
            nonlocal sent
            for _ in range(64):
                sent += 1
                yield b" " * 1024 * 1024

        answer = await client.post("/api/query", content=parts(), headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (413, "BodyTooLarge")


async def test_who_may_do_what() -> None:
    issuer = Issuer()
    async with served(TinyService((OIDC(ISSUER, "myapp"),)), issuer) as client:
        who = {"path": "t:whoami", "args": {}, "format": ENCODED}

        async def identity(**headers: str) -> Any:
            answer = await client.post("/api/query", json=who, headers=headers)
            return answer.json()["value"] if answer.status_code == 200 else (answer.status_code, answer.json()["code"])

        assert await identity() is None
        assert (await identity(authorization=f"Bearer {token()}"))["subject"] == "ada"
        assert await identity(authorization="Bearer nonsense") == (401, "InvalidAuthHeader")
        assert await identity(authorization=f"Bearer {token(aud='x')}") == (401, "NoAuthProvider")
        assert await identity(authorization=f"Bearer {token(exp=NOW_S - 60)}") == (401, "Unauthenticated")
        assert await identity(authorization="short") == (400, "InvalidHeaderFailure")
        assert await identity(authorization="Convex tiny|00") == (401, "BadAdminKey")
        assert await identity(**ADMIN) is None
        attributes = base64.b64encode(json.dumps({"issuer": "i", "subject": "s"}).encode()).decode()
        assert (await identity(authorization=f"Convex {KEY}:{attributes}"))["tokenIdentifier"] == "i|s"
        issuer.is_down = True
        issuer.keys = []
    async with served(TinyService((OIDC(ISSUER, "myapp"),)), issuer) as client:
        answer = await client.post("/api/query", json=who, headers={"authorization": f"Bearer {token()}"})
        assert (answer.status_code, answer.json()["code"]) == (503, "AuthProviderUnreachable")


async def test_what_is_for_admins_only() -> None:
    async with served() as client:
        assert await call(client, "function", "t:add", {}) == (403, "BadDeployKey")
        assert (await call(client, "function", "t:add", {}, **ADMIN))["value"] == 1.0
        assert (await call(client, "function", "t:get", {}, **ADMIN))["value"] == 1.0
        body = {"path": "t:add", "args": {}, "componentPath": "a/b", "format": ENCODED}
        assert (await client.post("/api/mutation", json=body)).json()["code"] == "BadDeployKey"
        assert (await client.post("/api/mutation", json=body, headers=ADMIN)).json()["status"] == "success"
        check = await client.get("/api/check_admin_key", headers=ADMIN)
        assert check.json()["success"] is True and check.json()["isReadOnly"] is False
        assert (await client.get("/api/check_admin_key", params={"adminKey": KEY})).status_code == 200
        assert (await client.get("/api/check_admin_key")).status_code == 403


async def test_what_tools_ask() -> None:
    async with served() as client:
        assert (await client.get("/version")).text == "1.2.3"
        assert (await client.get("/instance_name")).text == "tiny"
        assert "running" in (await client.get("/")).text
        assert (await client.head("/")).content == b""
        assert (await client.post("/echo", content=b"hello")).text == "hello"
        assert (await client.get("/api/nothing")).json()["code"] == "NotFound"
        assert (await client.get("/nothing")).status_code == 404
        assert (await client.get("/api/mutation")).status_code == 405
        assert (await client.post("http://tiny//api/query", json={"path": "t:get", "args": {}})).status_code == 200


async def test_pages_of_other_origins_may_call_and_read_errors() -> None:
    origin = {"origin": "https://app.example"}
    async with served() as client:
        preflight = await client.options(
            "/api/query",
            headers={**origin, "access-control-request-method": "POST", "access-control-request-headers": "content-type,convex-client"},
        )
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-headers"] == "content-type,convex-client"
        assert "POST" in preflight.headers["access-control-allow-methods"] and preflight.headers["access-control-max-age"] == "86400"
        good = await client.post("/api/query", json={"path": "t:get", "args": {}}, headers=origin)
        bad = await client.post("/api/query", json={}, headers=origin)
        lost = await client.get("/api/nothing", headers=origin)
        unauthorized = await client.post(
            "/api/query", json={"path": "t:get", "args": {}}, headers={**origin, "authorization": "Bearer nonsense"}
        )
        for answer in (
            preflight,
            good,
            bad,
            lost,
            unauthorized,
            await client.get("/version", headers=origin),
            await client.get("/", headers=origin),
        ):
            assert answer.headers["access-control-allow-origin"] == "https://app.example"
            assert answer.headers["access-control-allow-credentials"] == "true"
        assert "access-control-allow-origin" not in (await client.get("/version")).headers


async def test_a_backend_that_cannot_write_or_breaks_is_a_status_of_its_own() -> None:
    class Broken(TinyService):
        async def call(self, kind: Any, path: str, *args: Any, **options: Any) -> Any:
            if path == "t:crash":
                raise RuntimeError("broken")
            return Failure("the disk is full", code="StorageUnavailable")

    async with served(Broken()) as client:
        assert await call(client, "mutation", "t:add", {}) == (503, "StorageUnavailable")
        answer = await client.post("/api/query", json={"path": "t:crash", "args": {}}, headers={"convex-request-id": "abc123"})
        assert (answer.status_code, answer.json()["code"]) == (500, "InternalServerError")
        assert "abc123" in answer.json()["message"] and "broken" not in answer.text


async def test_an_app_under_a_prefix_of_another_one() -> None:
    from starlette.applications import Starlette
    from starlette.routing import Mount

    service = TinyService()
    outer = Starlette(routes=[Mount("/backend", app=app_of(service))])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(outer), base_url="http://tiny") as client:
        assert (await client.post("/backend/api/mutation", json={"path": "t:add", "args": {}})).json()["value"] == 1.0
        assert (await client.get("/backend/version")).text == "1.2.3"
        assert (await client.get("/version")).status_code == 404


async def test_a_folder_of_files_is_served_beside_the_api(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<p>hello</p>")
    (tmp_path / "app.js").write_text("1")
    for name in (".env", ".git/config", ".well-known/security.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    async with served(TinyService(static=str(tmp_path))) as client:
        statuses = [(await client.get(path)).status_code for path in ("/.env", "/.git/config", "/.well-known/security.txt")]
        assert statuses == [404, 404, 200]
        assert (await client.get("/")).text == "<p>hello</p>"
        assert (await client.get("/app.js")).text == "1"
        assert (await client.get("/nothing.js")).status_code == 404
        assert (await client.get("/../../etc/passwd")).status_code == 404
        assert (await client.get("/version")).text == "1.2.3"
        assert (await client.post("/api/query", json={"path": "t:get", "args": {}})).status_code == 200


async def test_the_backend_is_opened_once_at_start_or_at_the_first_request() -> None:
    events: list[str] = []

    async def open_service() -> Service:
        events.append("open")
        await asyncio.sleep(0)
        return TinyService()

    async def close_service() -> None:
        events.append("close")

    app = ServerApp(open_service, close_service)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://tiny") as client:
        await asyncio.gather(*(client.get("/version") for _ in range(5)))
    assert events == ["open"]
    await app.shutdown()
    assert events == ["open", "close"]

    told: list[str] = []
    incoming = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> Any:
        return {"type": next(incoming)}

    async def send(message: Any) -> None:
        told.append(message["type"])

    await ServerApp(open_service, close_service)({"type": "lifespan"}, receive, send)
    assert told == ["lifespan.startup.complete", "lifespan.shutdown.complete"] and events == ["open", "close"] * 2
    async with ServerApp(open_service, close_service).lifespan():
        assert events[-1] == "open"
    assert events[-1] == "close"


async def test_a_backend_that_does_not_open_says_why() -> None:
    async def open_service() -> Service:
        raise RuntimeError("app.py:3: no such component")

    async def close_service() -> None:
        raise AssertionError

    told: list[Any] = []

    async def receive() -> Any:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        told.append(message)

    await ServerApp(open_service, close_service)({"type": "lifespan"}, receive, send)
    assert told == [{"type": "lifespan.startup.failed", "message": "app.py:3: no such component"}]


async def test_changed_settings_are_taken_over_while_it_runs(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<p>hello</p>")
    issuer = Issuer()
    app = app_of(TinyService(), issuer)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://tiny") as client:
        who = {"path": "t:whoami", "args": {}}
        headers = {"authorization": f"Bearer {token()}"}
        assert (await client.post("/api/query", json=who, headers=headers)).status_code == 401
        app.reconfigure(TinyService((OIDC(ISSUER, "myapp"),), static=str(tmp_path)).settings)
        assert (await client.post("/api/query", json=who, headers=headers)).json()["value"]["subject"] == "ada"
        assert (await client.get("/")).text == "<p>hello</p>"
