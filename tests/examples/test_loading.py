"""`make run` before it serves: examples/flights/_load.py as the process that it is."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from interlock import Backend
from interlock.functions.caller import Caller

from .source import APP, flights

PATIENCE_S = 60


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("INTERLOCK")} | {"COLUMNS": "200"}
    return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=PATIENCE_S, env=env)


def load(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, APP / "_load.py", *arguments)


async def loaded(data: Path) -> tuple[int, list[tuple[str, int]]]:
    """What the counter says, and what the table has: carrier and flight number, in the order in which they were inserted."""
    async with Backend(APP, data=data) as backend:
        caller = Caller(admin=True, source="test", request_id="test")
        rows = await backend.dispatcher.run(lambda ctx: ctx.db.query("flights").collect(), kind="query", caller=caller)
        return await backend.query("flights:total"), [(row["carrier"], row["flight"]) for row in rows.value]


async def test_loading_goes_on_where_it_stopped_and_what_is_loaded_is_not_loaded_again(tmp_path: Path) -> None:
    source = [(flight.carrier, flight.number) for flight in flights(4_500)]

    first = load("1500", "--data", tmp_path)
    assert first.returncode == 0, first.stderr
    assert "1500/1500" in first.stdout
    assert await loaded(tmp_path) == (1_500, source[:1_500])

    second = load("4500", "--data", tmp_path)
    assert second.returncode == 0, second.stderr
    assert await loaded(tmp_path) == (4_500, source)

    third = load("4500", "--data", tmp_path)
    assert "4,500 flights are loaded." in third.stdout
    assert await loaded(tmp_path) == (4_500, source)

    # It is ranked when the app runs.
    async with Backend(APP, data=tmp_path) as backend:
        async for ranked in backend.subscribe("delays:ranked"):
            if ranked["is_done"]:
                break
        assert ranked["flights"] == ranked["of"] == 4_500
        left = Counter(flight.carrier for flight in flights(4_500) if flight.delay is not None)
        assert {standing["carrier"]: standing["flights"] for standing in await backend.query("delays:leaderboard")} == left


async def test_a_batch_that_fails_leaves_neither_flights_nor_counts(tmp_path: Path) -> None:
    async with Backend(APP, data=tmp_path) as backend:
        rows = [{"carrier": "UA", "flight": 1}]
        with pytest.raises(Exception, match="flights"):
            await backend.mutation("flights:load", rows=rows)
    assert await loaded(tmp_path) == (0, [])


def test_what_it_says_to_try_works_as_it_is_pasted(tmp_path: Path) -> None:
    told = load("100", "--data", tmp_path).stdout
    assert "http://127.0.0.1:3210" in told
    commands = [shlex.split(line) for line in told.splitlines() if " run flights:" in line]
    assert [command[2] for command in commands] == ["flights:report_delay", "flights:worst", "flights:total"]
    assert any(" run delays:leaderboard " in line for line in told.splitlines())
    delayed, worst, total = (run(sys.executable, "-m", "interlock.cli", *command[1:]) for command in commands)
    assert delayed.returncode == 0, delayed.stderr
    assert re.search(r'"dep_delay": 95\b', worst.stdout), worst.stdout + worst.stderr
    assert total.stdout.strip() == str(sum(flight.carrier == "UA" for flight in flights(100)))


@pytest.mark.parametrize("wanted", ["many", "0", "-5", "336777", "1.5"])
def test_a_number_of_flights_that_there_is_not_is_refused(tmp_path: Path, wanted: str) -> None:
    refused = load(f"--data={tmp_path}", "--", wanted)
    assert refused.returncode == 2
    assert "neither all nor a number from 1 to 336776" in refused.stderr
    assert list(tmp_path.iterdir()) == []


async def test_data_that_somebody_else_has_open_is_told_in_one_line(tmp_path: Path) -> None:
    async with Backend(APP, data=tmp_path):
        refused = load("100", "--data", tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: ") and "Traceback" not in refused.stderr
