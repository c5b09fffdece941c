"""The examples of the contract, run: an app, a component on its own, the embedded backend, the ASGI application."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from tests.placed import replaced

from interlock import AppError, ArgumentError, Backend, FunctionNotFound, PaginationOptions
from interlock.testing import TestBackend
from interlock.testing.isolation import default

from .tally import component as tally

pytestmark = pytest.mark.usefixtures("both_isolations")
component = replaced(tally)
HERE = Path(__file__).parent
ENV = {"EMBED_KEY": "k"}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in ENV.items():
        monkeypatch.setenv(name, value)
    yield


async def make_game(t: Any) -> str:
    return str(await t.mutation("guesses:new_game", name="sea"))


async def test_an_app_of_sections_1_and_2() -> None:
    async with TestBackend(HERE / "myapp") as t:
        game = await make_game(t)
        for score, word in ((3, "sea"), (12, "sand"), (15, "x"), (19.5, "salt")):
            await t.mutation("guesses:submit", game=game, player="ada", word=word, score=score)
        top = await t.query("guesses:top", game=game, count=2)
        assert [(row["word"], row["score"], type(row["score"])) for row in top] == [("salt", 19.5, float), ("x", 15, int)]  # as Any
        page = await t.query("guesses:reading", game=game, pagination_opts=PaginationOptions(num_items=10))
        assert (page["page"], page["isDone"]) == (["salt", "sand"], True)
        assert await t.query("guesses:counted", player="ada") == [4, 4]
        with pytest.raises(ArgumentError, match="score"):
            await t.mutation("guesses:submit", game=game, player="ada", word="sea", score="high")
        await t.mutation("guesses:wipe_later", game=game)
        await t.advance(4.9)
        assert len(await t.query("guesses:top", game=game)) == 4
        await t.advance(0.2)
        assert await t.query("guesses:top", game=game) == []


async def test_a_component_of_section_3_alone_as_in_section_5() -> None:
    async with TestBackend(component) as t:
        await t.mutation("add", name="beans", count=10)
        assert await t.query("count", name="beans") == 10
        await t.advance(3600)
        assert await t.finish_scheduled() == []
        as_ada = t.with_identity(subject="ada", name="Ada")
        assert await as_ada.query("count", name="beans") == 10


async def test_the_embedded_backend_of_section_4(tmp_path: Path) -> None:
    async with Backend(HERE / "myapp", data=tmp_path, isolation=default.isolation) as backend:
        g = await backend.mutation("guesses:new_game", name="g")
        await backend.mutation("guesses:submit", game=g, player="ada", word="sea", score=3)
        rows = await backend.query("guesses:top", game=g)
        assert [row["word"] for row in rows] == ["sea"]
        seen = []
        async for rows in backend.subscribe("guesses:top", game=g):
            seen.append(len(rows))
            if len(seen) == 2:
                break
            await backend.mutation("guesses:submit", game=g, player="bob", word="sky", score=4)
        assert seen == [1, 2]
    async with Backend(HERE / "myapp", data=tmp_path, isolation=default.isolation) as again:
        assert len(await again.query("guesses:top", game=g)) == 2


async def test_the_asgi_application_of_section_4_mounted_in_another() -> None:
    backend = Backend(HERE / "myapp", data=":memory:", isolation=default.isolation)
    outer = Starlette(routes=[Mount("/backend", app=backend.asgi())], lifespan=backend.lifespan)
    async with outer.router.lifespan_context(outer):
        transport = httpx.ASGITransport(app=outer)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            answer = await client.post("/backend/api/mutation", json={"path": "guesses:newGame", "args": {"name": "g"}})
            assert answer.json()["status"] == "success"
            answer = await client.post("/backend/api/mutation", json={"path": "guesses:wipe", "args": {"game": answer.json()["value"]}})
            assert "Could not find public function" in answer.json()["errorMessage"]


async def test_an_asgi_application_without_lifespan_opens_at_the_first_request() -> None:
    backend = Backend(HERE / "myapp", data=":memory:", isolation=default.isolation)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=backend.asgi()), base_url="http://test") as client:
        assert (await client.get("/version")).status_code == 200
    await backend.close()


@pytest.mark.one_isolation("inline", "no component runs: names alone")
async def test_the_names_of_errors_are_importable_and_their_roots_are_one() -> None:
    assert issubclass(AppError, Exception) and FunctionNotFound.__mro__[1].__name__ == "InterlockError"
