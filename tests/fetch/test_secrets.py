"""A secret is used by who may not see it: in headers of its own fetches, at the host that they were meant for, and nowhere else."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.fetch.conftest import KEY, LOCAL, Mounted
from tests.fetch.web import Web, redirect

from interlock import (
    App,
    ArgumentError,
    Component,
    LimitExceeded,
    MutationCtx,
    PermissionDenied,
    QueryCtx,
    Request,
    Response,
    secret,
)
from interlock.testing import TestBackend


async def test_a_component_holds_a_name_and_the_host_sends_the_value(mounted: Mounted, web: Web) -> None:
    async with mounted(*LOCAL) as courier:
        held = await courier.query("key")
        assert KEY not in held and held.startswith("{{secret:API_KEY:")
        assert (await courier.action("with_key", url=web.url()))["headers"]["authorization"] == f"Bearer {KEY}"
        told = await courier.action("basic", url=web.url())
        assert base64.b64decode(told["headers"]["authorization"].removeprefix("Basic ")).decode() == f"me:{KEY}"


async def test_a_secret_that_is_empty_is_filled_in_too(mounted: Mounted, web: Web) -> None:
    async with mounted(*LOCAL, key=secret("")) as courier:
        assert (await courier.action("with_key", url=web.url()))["headers"]["authorization"] == "Bearer"


async def test_a_secret_stands_in_headers_alone(mounted: Mounted, web: Web) -> None:
    async with mounted(*LOCAL) as courier:
        held = await courier.query("key")
        got = await courier.action("get", url=web.url("/x?key=" + held.replace("{", "%7B").replace("}", "%7D")), method="POST", body=held)
        assert KEY.encode() not in got["body"] and held.encode() in got["body"]
        with pytest.raises(ArgumentError):
            await courier.action("get", url=web.url(), headers={held: "x"})


async def test_a_placeholder_works_for_who_holds_it_alone(mounted: Mounted, web: Web) -> None:
    async with mounted(*LOCAL, both=True) as app:
        courier, other = app.component("courier"), app.component("other")
        mine, others = await courier.query("key"), await other.query("key")
        assert mine != others
        for header in (others, "{{secret:API_KEY}}", mine.replace(mine[-3], "x" if mine[-3] != "x" else "y")):
            got = await courier.action("get", url=web.url(), headers={"x": header})
            assert KEY.encode() not in got["body"] and b"the secret of another" not in got["body"]
        assert KEY in str((await courier.action("get", url=web.url(), headers={"x": mine}))["body"])


async def test_a_redirect_to_another_origin_takes_no_secret_along(mounted: Mounted, web: Web) -> None:
    web.at["/away"] = redirect(f"http://localhost:{web.port}/there", "307 Temporary Redirect")
    web.at["/back"] = redirect(f"http://localhost:{web.port}/and", "307 Temporary Redirect")
    web.at["/and"] = redirect(f"http://127.0.0.1:{web.port}/again", "307 Temporary Redirect")
    web.at["/near"] = redirect("/there")
    async with mounted(*LOCAL) as courier:
        for header in ("authorization", "x-api-key", "cookie"):
            assert header not in (await courier.action("with_key", url=web.url("/away"), header=header))["headers"]
            assert header not in (await courier.action("with_key", url=web.url("/back"), header=header))["headers"]
            assert KEY in (await courier.action("with_key", url=web.url("/near"), header=header))["headers"][header]
        await courier.action("get", url=web.url("/away"), headers={"Authorization": "of its own", "Cookie": "a=b", "x-kept": "c"})
    there = web.heard[-1].headers
    assert there["x-kept"] == "c" and "authorization" not in there and "cookie" not in there
    assert [heard.target for heard in web.heard if KEY in str(heard.headers)] == ["/away", "/back", "/near", "/there"] * 3


async def test_a_secret_is_not_sent_unencrypted_to_strangers(mounted: Mounted) -> None:
    asked: list[Request] = []

    def respond(request: Request) -> Response:
        asked.append(request)
        return Response("{}")

    async with mounted("net:api.example", fetch=respond) as courier:
        with pytest.raises(PermissionDenied, match="unencrypted"):
            await courier.action("with_key", url="http://api.example/")
        assert asked == []
        await courier.action("with_key", url="https://api.example/")
    assert asked[0].headers["authorization"] == f"Bearer {KEY}"


async def test_a_secret_that_is_no_line_is_told_by_its_name(mounted: Mounted, web: Web) -> None:
    async with mounted(*LOCAL, key=secret("sk-1\n")) as courier:
        with pytest.raises(ArgumentError, match="the secret API_KEY, which has line breaks") as refusal:
            await courier.action("with_key", url=web.url())
    assert "sk-1" not in str(refusal.value) and web.heard == []


async def test_a_secret_does_not_appear_in_what_is_logged_or_raised(mounted: Mounted, web: Web, caplog: Any, capsys: Any) -> None:
    """Not even at a server that sends back what it hears: what the component then does with it is said in the docs."""
    caplog.set_level("DEBUG")
    async with mounted(*LOCAL) as courier:
        await courier.action("with_key", url=web.url())
        with pytest.raises(Exception) as failed:
            await courier.action("with_key", url="http://127.0.0.1:1/")
    printed = capsys.readouterr()
    assert KEY not in caplog.text + printed.out + printed.err + str(failed.value)


@pytest.mark.one_isolation("inline", "what the host writes down")
async def test_a_secret_does_not_appear_in_what_is_kept_and_logged_of_a_job() -> None:
    component = Component("holder", env={"K": str})

    async def fail(ctx: MutationCtx, text: str) -> None:
        raise LimitExceeded(text, 2, 1)

    async def plan(ctx: MutationCtx) -> str:
        return await ctx.scheduler.run_after(0, component.functions["fail"], text=f"with {KEY}")

    async def error(ctx: QueryCtx, id: str) -> str | None:
        job = await ctx.scheduler.get(id)
        return None if job is None else job.error

    component.mutation(name="fail")(fail)
    component.mutation(name="plan")(plan)
    component.query(name="error")(error)
    app = App()
    app.use(component, isolation="inline", env={"K": secret(KEY)})
    async with TestBackend(app) as backend:
        at = backend.component("holder")
        with capture_logs() as logged:
            id = await at.mutation("plan")
            await backend.finish_scheduled()
        told = await at.query("error", id=id)
        assert "with …" in told and "a job failed" in str(logged)
        assert KEY not in f"{told} {logged}"


@pytest.mark.one_isolation("inline", "two lives of one backend: what the host writes down")
async def test_a_placeholder_stays_the_same_on_the_same_data(tmp_path: Any) -> None:
    from interlock import Backend

    component = Component("holder", env={"K": str})

    async def look(ctx: QueryCtx) -> str:
        return str(ctx.env["K"])

    component.query(name="look")(look)
    app = App()
    app.use(component, isolation="inline", env={"K": secret("value")})
    seen = []
    for _ in range(2):
        async with Backend(app, data=tmp_path) as backend:
            seen.append((await backend.call_any("look", {}, "holder", admin=True)).value)
    assert seen[0] == seen[1]
    async with Backend(app, data=":memory:") as backend:
        assert (await backend.call_any("look", {}, "holder", admin=True)).value != seen[0]


async def test_a_responder_answers_what_the_mount_allows(mounted: Mounted) -> None:
    def respond(request: Request) -> Response:
        if request.path == "/moved":
            return Response(status=302, headers={"Location": "https://evil.example/"})
        return Response(f"{request.method} {request.url} {request.text}", 201, {"X-Kind": "made up"})

    async def slowly(request: Request) -> Response:
        await asyncio.sleep(0)
        return respond(request)

    for answering in (respond, slowly):
        async with mounted("net:api.example", fetch=answering) as courier:
            got = await courier.action("get", url="https://API.example/x?y=1", method="PUT", body="z")
            assert (got["status"], got["body"], got["headers"]) == (201, b"PUT https://api.example/x?y=1 z", {"x-kind": "made up"})
            for url in ("https://other.example/", "https://api.example/moved"):
                with pytest.raises(PermissionDenied):
                    await courier.action("get", url=url)


@pytest.mark.one_isolation("inline", "a component made in the test; those mounted are above, both ways")
async def test_a_component_on_its_own_needs_its_permissions_too(web: Web) -> None:
    from interlock import ActionCtx

    lonely = Component("lonely", permissions=["net:localhost"])

    @lonely.action
    async def look(ctx: ActionCtx, url: str) -> int:
        return (await ctx.fetch(url)).status

    async with TestBackend(lonely) as backend:
        assert await backend.action("look", url=web.url(host="localhost")) == 200
        with pytest.raises(PermissionDenied):
            await backend.action("look", url=web.url())
