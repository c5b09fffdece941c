"""What examples/flights answers, held against the CSV itself: all 336,776 flights, or the first so many that FLIGHTS says."""

from __future__ import annotations

import asyncio
import gc
import os
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from itertools import islice
from random import Random
from statistics import median
from typing import Any

import httpx
import pytest

from interlock import AppError, ArgumentError, Backend, MutationCtx, PaginationOptions
from interlock.testing import TestBackend

from .source import APP, FLIGHTS, Flight, flights

WANTED = os.environ.get("FLIGHTS", "all")
COUNT = FLIGHTS if WANTED == "all" else int(WANTED)
BATCH = 2_000
NOBODY = "XX"


def documents() -> Iterator[dict[str, Any]]:
    """The flights as the app's loader reads them."""
    spec = spec_from_file_location("flights_source", APP / "_source.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Iterator[dict[str, Any]] = module.read_flights()
    return found


async def fill(backend: TestBackend, count: int) -> None:
    rows = islice(documents(), count)
    while batch := list(islice(rows, BATCH)):
        await backend.mutation("flights:load", rows=batch)
        await backend.advance(1)  # a batch of another moment: documents are in the order of the source


class Loaded:
    """The app with its flights, and the flights as the source has them. One loop for all tests that share it."""

    def __init__(self, runner: asyncio.Runner, count: int) -> None:
        self.source = list(flights(count))  # what is reported is changed here as well
        self._runner = runner
        self._backend = TestBackend(APP)
        runner.run(fill(self._backend, count))

    def query(self, function: str, **args: Any) -> Any:
        return self._runner.run(self._backend.query(function, **args))

    def board(self, origin: str, date: str, page_size: int) -> tuple[list[dict[str, Any]], list[int]]:
        """A day's board, page after page, and how long the pages were."""
        rows: list[dict[str, Any]] = []
        sizes: list[int] = []
        cursor, is_done = None, False
        while not is_done:
            page = self.query("flights:board", origin=origin, date=date, pagination_opts=PaginationOptions(page_size, cursor))
            rows += page["page"]
            sizes.append(len(page["page"]))
            cursor, is_done = page["continueCursor"], page["isDone"]
        return rows, sizes

    def run(self, test: Callable[[TestBackend], Awaitable[None]]) -> None:
        self._runner.run(_run(test, self._backend))

    def close(self) -> None:
        self._runner.run(self._backend.close())


async def _run(test: Callable[[TestBackend], Awaitable[None]], backend: TestBackend) -> None:
    await test(backend)


@pytest.fixture(scope="module")
def loaded() -> Iterator[Loaded]:
    with asyncio.Runner() as runner:
        loaded = Loaded(runner, COUNT)
        gc.freeze()  # to go through all that is the source's takes a second, which whoever runs then would pay for
        yield loaded
        gc.unfreeze()
        loaded.close()
    flights.cache_clear()  # a third of a million objects, which no other file needs


@pytest.fixture(scope="module")
def ranked(loaded: Loaded) -> Loaded:
    """With the leaderboard, which was attached to the full table while delays were reported."""
    loaded.run(partial(rank_while_reporting, loaded=loaded))
    return loaded


async def rank_while_reporting(backend: TestBackend, loaded: Loaded) -> None:
    random = Random(2013)
    dates = sorted({flight.date for flight in loaded.source})
    some = dates[:: len(dates) // 15 or 1]
    boards: dict[tuple[str, str], list[Flight]] = {(random.choice(["EWR", "JFK", "LGA"]), date): [] for date in some}
    for flight in loaded.source:
        if (flight.origin, flight.date) in boards:
            boards[flight.origin, flight.date].append(flight)
    chosen: list[tuple[str, Flight]] = []
    for (origin, date), day in boards.items():
        board = await backend.query("flights:board", origin=origin, date=date, pagination_opts=PaginationOptions(num_items=1_000))
        rows = zip(board["page"], sorted(day, key=in_order), strict=True)
        chosen += random.sample([(row["_id"], flight) for row, flight in rows], k=min(12, len(day)))
    await backend.mutation("delays:rank_all")
    meanwhile = 0
    for id, flight in random.sample(chosen, k=len(chosen)):
        minutes = random.randint(-30, 300)
        await backend.mutation("flights:report_delay", flight=id, minutes=minutes)
        meanwhile += not (await backend.query("delays:ranked"))["is_done"]
        departure = (await backend.run(partial(get, id=id)))["dep_time"]
        loaded.source[flight.place] = replace(flight, delay=minutes, departure=departure)
    assert meanwhile > 10 or len(loaded.source) < 50_000
    while not (ranked := await backend.query("delays:ranked"))["is_done"]:
        assert ranked["error"] is None
        await backend.finish_in_progress()


async def get(ctx: MutationCtx, id: str) -> dict[str, Any] | None:
    return await ctx.db.get(id)


def as_shown(flight: Flight) -> tuple[object, ...]:
    return (
        flight.date,
        flight.scheduled,
        flight.departure,
        flight.delay,
        flight.carrier,
        flight.number,
        flight.tail,
        flight.origin,
        flight.destination,
    )


def shown(row: dict[str, Any]) -> tuple[object, ...]:
    fields = ("date", "sched_dep_time", "dep_time", "dep_delay", "carrier", "flight", "tail_number", "origin", "destination")
    return tuple(row[field] for field in fields)


def in_order(flight: Flight) -> tuple[int, int]:
    """Of the day's departures."""
    return flight.scheduled, flight.place


# against the source


def test_the_source_is_the_one_that_everybody_knows() -> None:
    source = flights()
    assert len(source) == FLIGHTS
    assert sum(flight.delay is None for flight in source) == 8_255
    assert sum(flight.tail is None for flight in source) == 2_512
    assert Counter(flight.carrier for flight in source).most_common(3) == [("UA", 58_665), ("B6", 54_635), ("EV", 54_173)]


def test_totals_are_those_of_the_source(loaded: Loaded) -> None:
    by_carrier = Counter(flight.carrier for flight in loaded.source)
    assert loaded.query("flights:total") == len(loaded.source) == by_carrier.total()
    assert {carrier: loaded.query("flights:total", carrier=carrier) for carrier in by_carrier} == by_carrier
    assert loaded.query("flights:total", carrier=NOBODY) == 0


def test_worst_delays_are_those_of_the_source_and_of_equal_ones_the_newest_is_first(loaded: Loaded) -> None:
    for carrier in {flight.carrier for flight in loaded.source}:
        late = [flight for flight in loaded.source if flight.carrier == carrier and flight.delay is not None and flight.delay > 0]
        late.sort(key=lambda flight: (flight.delay or 0, flight.place), reverse=True)
        ranking = loaded.query("flights:worst", carrier=carrier, count=500)
        assert [shown(row) for row in ranking] == [as_shown(flight) for flight in late[:500]]
        assert loaded.query("flights:worst", carrier=carrier) == ranking[:5]
    assert loaded.query("flights:worst", carrier=NOBODY) == []


def test_every_page_of_a_board_together_is_the_day_in_the_order_of_its_schedule(loaded: Loaded) -> None:
    days = sorted({flight.date for flight in loaded.source})
    chosen = {*days[:: max(1, len(days) // 8)], days[-1]}
    boards: dict[tuple[str, str], list[Flight]] = {}
    for flight in loaded.source:
        if flight.date in chosen:
            boards.setdefault((flight.origin, flight.date), []).append(flight)
    assert len(boards) == 3 * len(chosen)
    for (origin, date), expected in boards.items():
        expected.sort(key=in_order)
        rows, sizes = loaded.board(origin, date, 50)
        assert [shown(row) for row in rows] == [as_shown(flight) for flight in expected]
        assert set(sizes[:-1]) <= {50} and sizes[-1] <= 50
        assert loaded.board(origin, date, 1_000) == (rows, [len(rows)])
    assert loaded.board("JFK", "2012-12-31", 50) == ([], [0])


def test_an_aircraft_went_where_the_source_says_in_the_order_of_time(loaded: Loaded) -> None:
    aircraft = Counter(flight.tail for flight in loaded.source if flight.tail is not None)
    for tail, _ in aircraft.most_common()[:: len(aircraft) // 20]:
        went = sorted((flight for flight in loaded.source if flight.tail == tail), key=lambda flight: (flight.date, *in_order(flight)))
        assert [shown(row) for row in loaded.query("flights:of_aircraft", tail_number=tail, count=1_000)] == [as_shown(f) for f in went]
        since = went[len(went) // 2].date
        rest = loaded.query("flights:of_aircraft", tail_number=tail, since=since, count=1_000)
        assert [shown(row) for row in rest] == [as_shown(flight) for flight in went if flight.date >= since]


def test_a_carriers_day_is_what_the_source_adds_up_to(loaded: Loaded) -> None:
    days = sorted({flight.date for flight in loaded.source})
    for date in days[:: max(1, len(days) // 8)]:
        of_day = [flight for flight in loaded.source if flight.date == date]
        for carrier in {flight.carrier for flight in of_day}:
            its = [flight.delay for flight in of_day if flight.carrier == carrier]
            left = [delay for delay in its if delay is not None]
            assert loaded.query("flights:carrier_day", carrier=carrier, date=date) == {
                "flights": len(its),
                "cancelled": its.count(None),
                "late": len([delay for delay in left if delay >= 15]),
                "mean_delay": pytest.approx(sum(left) / len(left)) if left else None,
            }


def delays_by_carrier(loaded: Loaded) -> dict[str, list[int]]:
    """Of the flights that left."""
    delays: dict[str, list[int]] = {}
    for flight in loaded.source:
        if flight.delay is not None:
            delays.setdefault(flight.carrier, []).append(flight.delay)
    return delays


def test_the_leaderboard_is_what_the_source_adds_up_to(ranked: Loaded) -> None:
    delays = delays_by_carrier(ranked)
    cancelled = Counter(flight.carrier for flight in ranked.source if flight.delay is None)
    order = sorted(delays, key=lambda carrier: (sum(delays[carrier]) / len(delays[carrier]), carrier))
    assert ranked.query("delays:leaderboard") == [
        {
            "rank": rank,
            "carrier": carrier,
            "flights": len(delays[carrier]),
            "cancelled": cancelled[carrier],
            "total_delay": sum(delays[carrier]),
            "mean_delay": sum(delays[carrier]) / len(delays[carrier]),
            "median_delay": median(delays[carrier]),
        }
        for rank, carrier in enumerate(order, 1)
    ]
    size = len(ranked.source)
    assert ranked.query("delays:ranked") == {"flights": size, "of": size, "is_done": True, "error": None}


def test_a_flight_has_its_place_among_those_of_its_carrier(ranked: Loaded) -> None:
    for carrier, delays in delays_by_carrier(ranked).items():
        delays.sort()
        for row in ranked.query("flights:worst", carrier=carrier, count=400)[::8]:
            after, before = len(delays) - bisect_right(delays, row["dep_delay"]), len(delays) - bisect_left(delays, row["dep_delay"])
            place = ranked.query("delays:place", flight=row["_id"])
            assert place["flights"] == len(delays)
            assert after < place["rank"] <= before


# the leaderboard while flights are reported


async def test_a_report_moves_its_carrier_on_the_leaderboard(interlock: TestBackend) -> None:
    await fill(interlock, 1_500)
    await interlock.mutation("delays:rank_all")
    await interlock.finish_in_progress()
    before = await interlock.query("delays:leaderboard")
    row = await first_on_board(interlock, 0)
    at = next(at for at, standing in enumerate(before) if standing["carrier"] == row["carrier"])
    await interlock.mutation("flights:report_delay", flight=row["_id"], minutes=10_000)
    after = await interlock.query("delays:leaderboard")
    moved = next(standing for standing in after if standing["carrier"] == row["carrier"])
    assert moved["total_delay"] == before[at]["total_delay"] - row["dep_delay"] + 10_000
    assert moved["rank"] > before[at]["rank"]
    assert await interlock.query("delays:place", flight=row["_id"]) == {"rank": 1, "flights": moved["flights"]}


async def test_a_cancelled_flight_has_no_place_until_it_leaves_after_all(interlock: TestBackend) -> None:
    await fill(interlock, 1_000)
    await interlock.mutation("delays:rank_all")
    await interlock.finish_in_progress()
    board = await interlock.query("flights:board", origin="LGA", date="2013-01-01", pagination_opts=PaginationOptions(num_items=500))
    row = next(row for row in board["page"] if row["dep_delay"] is None)
    before = {standing["carrier"]: standing for standing in await interlock.query("delays:leaderboard")}[row["carrier"]]
    assert await interlock.query("delays:place", flight=row["_id"]) is None
    await interlock.mutation("flights:report_delay", flight=row["_id"], minutes=30)
    after = {standing["carrier"]: standing for standing in await interlock.query("delays:leaderboard")}[row["carrier"]]
    assert (after["cancelled"], after["flights"]) == (before["cancelled"] - 1, before["flights"] + 1)
    assert (await interlock.query("delays:place", flight=row["_id"]))["flights"] == after["flights"]


async def test_table_and_leaderboard_agree_whatever_is_written_before_while_and_after_it_is_made(interlock: TestBackend) -> None:
    await fill(interlock, 2_500)
    rows = await interlock.query("flights:worst", carrier="UA", count=60)

    async def report(rows: list[dict[str, Any]], minutes: int) -> None:
        for row in rows:
            await interlock.mutation("flights:report_delay", flight=row["_id"], minutes=minutes)

    await report(rows[:20], 5)
    await interlock.mutation("delays:rank_all")
    await report(rows[20:40], -5)
    await interlock.run(lambda ctx: ctx.db.delete(rows[0]["_id"]))
    await interlock.finish_in_progress()
    await report(rows[40:], 50)
    await fill(interlock, 500)  # more are loaded, and ranked
    await interlock.mutation("delays:rank_all")
    await interlock.mutation("delays:verify")
    await interlock.finish_in_progress()
    assert await interlock.query("delays:differences") == 0


# reporting a delay


async def first_on_board(interlock: TestBackend, number: int) -> dict[str, Any]:
    """A flight of the first day at JFK, by its place on the board."""
    options = PaginationOptions(num_items=number + 1)
    board = await interlock.query("flights:board", origin="JFK", date="2013-01-01", pagination_opts=options)
    row: dict[str, Any] = board["page"][number]
    return row


async def test_a_reported_delay_is_on_the_board_in_the_ranking_and_in_the_day_and_counts_no_flight(interlock: TestBackend) -> None:
    await fill(interlock, 500)
    row = await first_on_board(interlock, 0)
    day = await interlock.query("flights:carrier_day", carrier=row["carrier"], date=row["date"])
    assert row["dep_delay"] < 15 and row["sched_dep_time"] == 540

    await interlock.mutation("flights:report_delay", flight=row["_id"], minutes=1_302)

    delayed = row | {"dep_delay": 1_302, "dep_time": 322}  # 5:40 and 21 hours and 42 minutes
    assert await first_on_board(interlock, 0) == delayed
    assert await interlock.query("flights:worst", carrier=row["carrier"], count=1) == [delayed]
    after = await interlock.query("flights:carrier_day", carrier=row["carrier"], date=row["date"])
    assert after["late"] == day["late"] + 1
    assert after["mean_delay"] > day["mean_delay"]
    assert await interlock.query("flights:total") == 500


LAST_MINUTE = 18 * 60 + 19  # of the day, for a flight at 5:40


@pytest.mark.parametrize(
    ("minutes", "departure"),
    [(0, 540), (95, 715), (-25, 515), (LAST_MINUTE, 2_359), (LAST_MINUTE + 1, 2_400), (LAST_MINUTE + 2, 1), (1_440, 540)],
)
async def test_the_departure_follows_the_delay_in_the_form_of_the_source(interlock: TestBackend, minutes: int, departure: int) -> None:
    await fill(interlock, 100)
    row = await first_on_board(interlock, 0)
    await interlock.mutation("flights:report_delay", flight=row["_id"], minutes=minutes)
    assert (await first_on_board(interlock, 0))["dep_time"] == departure


async def test_a_cancelled_flight_that_is_given_a_delay_leaves_after_all(interlock: TestBackend) -> None:
    await fill(interlock, 1_000)
    board = await interlock.query("flights:board", origin="LGA", date="2013-01-01", pagination_opts=PaginationOptions(num_items=500))
    row = next(row for row in board["page"] if row["dep_delay"] is None)
    day = await interlock.query("flights:carrier_day", carrier=row["carrier"], date=row["date"])
    await interlock.mutation("flights:report_delay", flight=row["_id"], minutes=30)
    after = await interlock.query("flights:carrier_day", carrier=row["carrier"], date=row["date"])
    assert after["cancelled"] == day["cancelled"] - 1


@pytest.mark.parametrize("minutes", [-121, 7 * 24 * 60 + 1])
async def test_a_delay_that_nobody_can_mean_is_refused(interlock: TestBackend, minutes: int) -> None:
    await fill(interlock, 100)
    row = await first_on_board(interlock, 0)
    with pytest.raises(AppError) as refused:
        await interlock.mutation("flights:report_delay", flight=row["_id"], minutes=minutes)
    assert refused.value.data == {"code": "ImplausibleDelay", "minutes": minutes, "from": -120, "to": 10_080}
    assert await first_on_board(interlock, 0) == row


async def test_a_flight_that_is_not_there_is_refused(interlock: TestBackend) -> None:
    await fill(interlock, 100)
    row = await first_on_board(interlock, 0)
    await interlock.run(lambda ctx: ctx.db.delete(row["_id"]))
    with pytest.raises(AppError) as refused:
        await interlock.mutation("flights:report_delay", flight=row["_id"], minutes=5)
    assert refused.value.data == {"code": "NoSuchFlight", "flight": row["_id"]}


WRONG: list[dict[str, Any]] = [
    *({"flight": wrong} for wrong in ("UA 1545", 1545, None)),
    *({"minutes": wrong} for wrong in ("5", 1.5, None, True)),
    {"at": 5},
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
async def test_arguments_of_other_types_are_refused(interlock: TestBackend, wrong: dict[str, Any]) -> None:
    await fill(interlock, 100)
    row = await first_on_board(interlock, 0)
    with pytest.raises(ArgumentError):
        await interlock.mutation("flights:report_delay", **{"flight": row["_id"], "minutes": 5} | wrong)
    assert await first_on_board(interlock, 0) == row


async def test_the_id_of_another_table_is_no_flight(interlock: TestBackend) -> None:
    await fill(interlock, 10)
    counters = await interlock.run(lambda ctx: ctx.db.query("counters").collect(), component="sharded_counter")
    with pytest.raises(ArgumentError):
        await interlock.mutation("flights:report_delay", flight=counters[0]["_id"], minutes=5)


async def test_a_client_cannot_load_flights() -> None:
    async with Backend(APP, data=":memory:") as backend:
        transport = httpx.ASGITransport(app=backend.asgi())
        async with httpx.AsyncClient(transport=transport, base_url="http://flights", trust_env=False) as client:
            answer = await client.post("/api/mutation", json={"path": "flights:load", "args": {"rows": []}, "format": "json"})
        assert answer.json()["status"] == "error"
        assert await backend.query("flights:total") == 0
