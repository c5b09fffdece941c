"""The page of examples/guessing_game in a real Chromium: two play at once, and each sees what the other does. Components are sandboxed."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from interlock import Backend, MutationCtx
from interlock.functions.caller import Caller

from . import chromium
from .chromium import Chromium, Tab
from .guessing import APP
from .serving import serving


@pytest.fixture(autouse=True)
def program() -> str:
    """Without a browser, said before anything is started."""
    return chromium.program()


@dataclass
class Table:
    """The game, and a browser to play it in."""

    backend: Backend
    browser: Chromium
    url: str

    async def sit_down(self, name: str) -> Tab:
        """A window in which somebody has joined."""
        tab = await self.browser.open(self.url)
        await tab.until("!document.getElementById('join').hidden")
        await tab.evaluate("document.getElementById('name').value = ''")  # the name of whoever sat down before
        await tab.write("#name", name)
        await tab.press("#enter")
        await tab.until(f"!document.getElementById('guess').hidden && {text('who')} === {json.dumps(name)}")
        await tab.until("!document.getElementById('submit').disabled")  # the word is chosen
        return tab

    async def word(self) -> str:
        """The word to be guessed."""
        caller = Caller(admin=True, source="test", request_id="test")
        found = await self.backend.dispatcher.run(lambda ctx: ctx.db.query("rounds").order("desc").first(), kind="query", caller=caller)
        return str(found.value["word"])


@pytest.fixture
async def table(tmp_path: Path) -> AsyncIterator[Table]:
    async with (
        Backend(APP, data=":memory:") as backend,
        serving(backend) as url,
        Chromium.start(tmp_path / "profile") as browser,
    ):
        yield Table(backend, browser, url)
        assert browser.said == []


def text(id: str) -> str:
    return f"document.getElementById('{id}').textContent"


def lines(id: str) -> str:
    """The lines of a list, as one text."""
    return (
        f"[...document.querySelectorAll('#{id} li')].map((line) => [...line.children].map((part) => part.textContent).join('|')).join('/')"
    )


async def guess(tab: Tab, word: str) -> int:
    await tab.write("#word", word)
    await tab.press("#submit")
    await tab.until(f"{text('outcome-word')} === '{word}'")
    return int(await tab.evaluate(text("outcome-score")))


async def test_two_play_at_once_and_a_guess_in_one_window_moves_rank_and_totals_in_the_other(table: Table) -> None:
    ada, bob = await table.sit_down("Ada"), await table.sit_down("Bob")
    await ada.until(f"{text('players')} === '2' && {text('total')} === '0'")
    await ada.evaluate("window.sinceBefore = true")
    word = await table.word()

    far = await guess(ada, "politics" if word != "politics" else "water")
    for tab in (ada, bob):
        await tab.until(f"{text('total')} === '1' && {text('of-round')} === '1' && {lines('leaders')} === '1|Ada|{far}'")
    await ada.until(f"{text('place')} === '1' && {text('rank')} === '1'")
    await bob.until(f"{text('place')} === '–' && {text('rank')} === '2' && {lines('recent')}.startsWith('Ada guessed something|')")

    assert await guess(bob, word) == 1000
    await ada.until(f"{text('total')} === '2' && {text('place')} === '2' && {text('rank')} === '2'")
    for board in ("leaders", "best"):
        await ada.until(f"{lines(board)} === '1|Bob|1,000/2|Ada|{far}'")
    await ada.until(f"{text('clock')}.startsWith('found!')")
    assert word not in await ada.evaluate("document.body.innerText.replace(/.*English word.*/, '')")
    assert await ada.evaluate("window.sinceBefore"), "the page was loaded again"
    assert await ada.evaluate("document.querySelectorAll('#leaders .me').length") == 1


async def test_a_reload_keeps_the_player_and_another_window_is_another(table: Table) -> None:
    ada = await table.sit_down("Ada")
    score = await guess(ada, "winter")
    await ada.reload()
    await ada.until(f"{text('who')} === 'Ada' && {lines('guesses')} === 'winter|{score}'")
    other = await table.browser.open(table.url)
    await other.until(f"!document.getElementById('join').hidden && {lines('leaders')} === '1|Ada|{score}'")
    assert await other.evaluate("document.getElementById('name').value") == "Ada"


async def test_a_token_of_a_game_whose_data_are_gone_is_forgotten(table: Table) -> None:
    ada = await table.sit_down("Ada")
    caller = Caller(admin=True, source="test", request_id="test")

    async def forget(ctx: MutationCtx) -> None:
        for player in await ctx.db.query("players").collect():
            await ctx.db.delete(player["_id"])

    await table.backend.dispatcher.run(forget, kind="mutation", caller=caller)
    await ada.reload()
    await ada.until("!document.getElementById('join').hidden && document.getElementById('guess').hidden")
    assert await ada.evaluate("sessionStorage.getItem('token')") is None
    await ada.write("#name", " again")
    await ada.press("#enter")
    await ada.until(f"!document.getElementById('guess').hidden && {text('who')} === 'Ada again'")


async def test_who_guesses_too_quickly_sees_how_long_to_wait_and_then_may_again(table: Table) -> None:
    ada = await table.sit_down("Ada")
    player = await ada.evaluate("me.player")
    limits = sys.modules["guessing_game.limits"].limits

    async def use_up(ctx: MutationCtx) -> None:
        """All that there is and one more: four seconds until one is free."""
        await limits.limit(ctx, "guess", key=player, count=5, throws=True)
        assert (await limits.limit(ctx, "guess", key=player, reserve=True)).retry_after == pytest.approx(2, abs=0.1)

    await ada.write("#word", "bread")
    await table.backend.dispatcher.run(use_up, kind="mutation", caller=Caller(admin=True, source="test", request_id="test"))
    await ada.press("#submit")
    await ada.until("document.getElementById('submit').disabled && /^in [1-4] s$/.test(document.getElementById('submit').textContent)")
    await ada.until("!document.getElementById('submit').disabled && document.getElementById('submit').textContent === 'Guess'")
    await ada.press("#submit")
    await ada.until(f"{text('outcome-word')} === 'bread' && {text('total')} === '1'")
    assert len(table.browser.said) == 1 and "RateLimited" in table.browser.said.pop()  # the official client logs it too


async def test_the_page_says_which_word_vectors_are_in_use_and_what_is_wrong_with_a_guess(table: Table) -> None:
    ada = await table.sit_down("Ada")
    facts: dict[str, Any] = await table.backend.query("embeddings:model")
    await ada.until(f"{text('model')}.includes('{facts['words']:,} words')")
    await ada.write("#word", "qzxqzx")
    await ada.press("#submit")
    await ada.until(f"{text('notice')} === 'Nobody here knows the word \\'qzxqzx\\'.'")
    assert len(table.browser.said) == 1 and "UnknownWord" in table.browser.said.pop()
