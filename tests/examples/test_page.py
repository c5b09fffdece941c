"""The page of examples/flights in a real Chromium: it shows the board, and rows change while somebody looks at them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import pytest

from interlock import Backend

from . import chromium
from .chromium import Chromium, Tab
from .serving import serving
from .source import APP, Flight, flights
from .test_flights import documents

COUNT = 2_000
DAY = "2013-01-01"


@pytest.fixture(autouse=True)
def program() -> str:
    """Without a browser, said before anything is started."""
    return chromium.program()


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    """The app with some flights."""
    async with Backend(APP, data=":memory:") as backend:
        await backend.mutation("flights:load", rows=list(islice(documents(), COUNT)))
        yield backend


@pytest.fixture
async def url(backend: Backend) -> AsyncIterator[str]:
    async with serving(backend) as url:
        yield url


@pytest.fixture
async def browser(tmp_path: Path, url: str) -> AsyncIterator[Chromium]:
    """Ends before what it shows."""
    async with Chromium.start(tmp_path / "profile") as browser:
        yield browser
        assert browser.said == []


async def call(url: str, kind: str, function: str, **args: Any) -> Any:
    """A client that knows nothing of the page: the HTTP API."""
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        answer = (await client.post(f"/api/{kind}", json={"path": function, "args": args, "format": "json"})).json()
    assert answer["status"] == "success", answer
    return answer["value"]


def board_of(origin: str, date: str = DAY) -> list[Flight]:
    day = [flight for flight in flights(COUNT) if flight.origin == origin and flight.date == date]
    return sorted(day, key=lambda flight: (flight.scheduled, flight.place))


ROWS = "[...document.querySelectorAll('#board tr')].map((row) => row.cells[1].textContent)"


def names(board: list[Flight]) -> list[str]:
    return [f"{flight.carrier} {flight.number}" for flight in board]


async def until_board(tab: Tab, expected: list[str]) -> None:
    await tab.until(f"JSON.stringify({ROWS}) === JSON.stringify({json.dumps(expected)})")


def status_of(flight_id: str) -> str:
    return f"document.querySelector('tr[data-id=\"{flight_id}\"] .status').textContent"


async def first_flight(url: str) -> dict[str, Any]:
    page = await call(url, "query", "flights:board", origin="EWR", date=DAY, paginationOpts={"numItems": 1, "cursor": None})
    row: dict[str, Any] = page["page"][0]
    return row


async def test_a_row_changes_on_the_open_page_when_another_client_reports_a_delay(browser: Chromium, url: str) -> None:
    tab = await browser.open(url)
    await until_board(tab, names(board_of("EWR"))[:25])
    await tab.until(f"document.getElementById('total').textContent === '{COUNT:,}'")
    row = await first_flight(url)
    assert await tab.evaluate(status_of(row["_id"])) == "+2 min"
    await tab.evaluate("window.sinceBefore = true")

    await call(url, "mutation", "flights:reportDelay", flight=row["_id"], minutes=1_500)

    await tab.until(f"{status_of(row['_id'])} === '+1500 min'")
    changed = f"document.querySelector('tr[data-id=\"{row['_id']}\"]')"
    assert await tab.evaluate(f"{changed}.classList.contains('changed') && {changed}.querySelector('.expected').textContent") == "06:15"
    await tab.until("document.querySelector('#worst li span:last-child')?.textContent === '+1500 min'")
    assert await tab.evaluate("window.sinceBefore"), "the page was loaded again"
    assert len(await tab.evaluate("[...document.querySelectorAll('tr.changed')]")) == 1


async def test_a_press_in_one_window_is_seen_in_the_other(browser: Chromium, url: str) -> None:
    row = await first_flight(url)
    one, other = await browser.open(url), await browser.open(url)
    for tab in (one, other):
        await tab.until(f"document.querySelector('#board tr') && {status_of(row['_id'])} === '+2 min'")
    await one.press("#board tr:first-child td:last-child button")
    for tab in (other, one):
        await tab.until(f"{status_of(row['_id'])} === '+17 min'")
    await other.press("#board tr:first-child td:last-child button")
    await one.until(f"{status_of(row['_id'])} === '+32 min'")
    assert (await first_flight(url))["dep_delay"] == 32


async def test_the_page_goes_through_a_day_and_to_other_airports_and_days(browser: Chromium, url: str) -> None:
    tab = await browser.open(f"{url}/?origin=LGA")
    lga = names(board_of("LGA"))
    await until_board(tab, lga[:25])
    await tab.press("#more")
    await until_board(tab, lga[:50])
    await tab.press("input[value=JFK] + span")
    await until_board(tab, names(board_of("JFK"))[:25])
    await tab.press("#after")
    await until_board(tab, names(board_of("JFK", "2013-01-02"))[:25])
    assert await tab.evaluate("location.search") == "?origin=JFK&date=2013-01-02&carrier=UA"
    await tab.press("#before")
    await until_board(tab, names(board_of("JFK"))[:25])


LEADERBOARD = "[...document.querySelectorAll('#leaderboard li')].map((row) => [...row.children].map((part) => part.textContent))"


def standings(delays: dict[str, list[int]]) -> list[list[str]]:
    """As the page shows them."""
    means = sorted((sum(minutes) / len(minutes), carrier) for carrier, minutes in delays.items())
    return [
        [f"{rank}. {carrier}", f"median {median(delays[carrier]):g}", f"{mean:.2f} min"] for rank, (mean, carrier) in enumerate(means, 1)
    ]


async def test_the_leaderboard_fills_on_the_open_page_and_follows_a_report(browser: Chromium, backend: Backend, url: str) -> None:
    delays: dict[str, list[int]] = {}
    for flight in flights(COUNT):
        if flight.delay is not None:
            delays.setdefault(flight.carrier, []).append(flight.delay)
    tab = await browser.open(url)
    await tab.until(f"document.getElementById('ranked').textContent === '0 of {COUNT:,} flights so far'")
    assert await tab.evaluate(LEADERBOARD) == []

    await backend.mutation("delays:rank_all")

    await tab.until(f"JSON.stringify({LEADERBOARD}) === JSON.stringify({json.dumps(standings(delays))})")
    await tab.until("document.getElementById('ranked').hidden")
    assert await tab.evaluate("document.querySelector('#leaderboard .chosen span').textContent.endsWith(' UA')")

    row = await first_flight(url)
    await call(url, "mutation", "flights:reportDelay", flight=row["_id"], minutes=1_500)
    delays[row["carrier"]].remove(row["dep_delay"])
    delays[row["carrier"]].append(1_500)
    await tab.until(f"JSON.stringify({LEADERBOARD}) === JSON.stringify({json.dumps(standings(delays))})")


async def test_a_day_without_flights_says_so(browser: Chromium, url: str) -> None:
    tab = await browser.open(f"{url}/?date=2013-12-31")
    await tab.until("!document.getElementById('empty').hidden")
    assert await tab.evaluate(ROWS) == []


async def test_an_aircraft_is_shown_where_it_went(browser: Chromium, url: str) -> None:
    first = board_of("EWR")[0]
    went = [flight for flight in flights(COUNT) if flight.tail == first.tail]
    went.sort(key=lambda flight: (flight.date, flight.scheduled, flight.place))
    tab = await browser.open(url)
    await tab.press("#board tr:first-child .aircraft")
    await tab.until(
        "JSON.stringify([...document.querySelectorAll('#hops li')].map((hop) => hop.lastChild.textContent))"
        f" === JSON.stringify({json.dumps([f'{flight.origin} → {flight.destination}' for flight in went[:8]])})"
    )
