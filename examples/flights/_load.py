"""Loads flights into the app's data: `python examples/flights/_load.py [20000|all] [--data DIR]`. Goes on where it stopped."""

from __future__ import annotations

import argparse
import asyncio
import json
import shlex
import sys
from itertools import islice
from pathlib import Path

from _source import FLIGHTS, read_flights
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from interlock import Backend, InterlockError, PaginationOptions

APP = Path(__file__).parent
BATCH = 2_000  # rows a transaction: a multiple of what one commit costs, and far below what one may take


async def load(wanted: int, data: str | None) -> str:
    """Bring the table up to `wanted` flights. Returns the id of the first one on the board."""
    async with Backend(APP, data=data) as backend:
        # Counted in the transaction that inserts: so the count says exactly how much of the source is there.
        there = await backend.query("flights:total")
        if there < wanted:
            columns = (TextColumn("Loading flights"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            with Progress(*columns) as progress:
                task = progress.add_task("", total=wanted, completed=there)
                rows = islice(read_flights(), there, wanted)
                while batch := list(islice(rows, BATCH)):
                    progress.advance(task, await backend.mutation("flights:load", rows=batch))
        else:
            print(f"{there:,} flights are loaded.")
        if there < wanted or not (await backend.query("delays:ranked"))["is_done"]:
            await backend.mutation("delays:rank_all")  # by jobs, which go on when the app is served
        first = PaginationOptions(num_items=1)
        board = await backend.query("flights:board", origin="EWR", date="2013-01-01", pagination_opts=first)
        return str(board["page"][0]["_id"])


def what_to_try(flight: str, data: str | None) -> str:
    """Commands to paste, for the shell that this was started from."""
    program = shown(Path(sys.executable).with_name("interlock"))
    where = f"--app {shown(APP)}" + (f" --data {shlex.quote(data)}" if data is not None else "")

    def command(function: str, **arguments: object) -> str:
        return f"  {program} run {function} {shlex.quote(json.dumps(arguments))} {where}"

    return f"""
Open http://127.0.0.1:3210 in two windows, press +15 in one, and watch the other. The leaderboard of the carriers fills while the
app is served. Or from another terminal:

{command("flights:report_delay", flight=flight, minutes=95)}
{command("flights:worst", carrier="UA", count=3)}
{command("flights:total", carrier="UA")}
{command("delays:leaderboard")}
"""


def shown(path: Path) -> str:
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))


def how_many(text: str) -> int:
    if text == "all":
        return FLIGHTS
    if not text.isdecimal() or not 0 < int(text) <= FLIGHTS:
        raise argparse.ArgumentTypeError(f"{text!r} is neither all nor a number from 1 to {FLIGHTS}")
    return int(text)


def main() -> None:
    parser = argparse.ArgumentParser(description="Load flights into the app's data. Goes on where it stopped.")
    parser.add_argument("flights", nargs="?", type=how_many, default="20000", help="how many, or all (default: 20000)")
    parser.add_argument("--data", default=None, help="data directory (default: .interlock beside the app)")
    options = parser.parse_args()
    try:
        flight = asyncio.run(load(options.flights, options.data))
    except InterlockError as error:
        sys.exit(f"error: {error}")
    print(what_to_try(flight, options.data))


if __name__ == "__main__":
    main()
