"""Loads flights into the app's data: `python examples/flights/_load.py [20000|all] [--data DIR]`. Goes on where it stopped."""

from __future__ import annotations

import argparse
import asyncio
from itertools import islice
from pathlib import Path

from _source import FLIGHTS, read_flights
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from interlock import Backend

BATCH = 1_000


async def load(wanted: int, data: str | None) -> None:
    """Bring the table up to `wanted` flights."""
    app = Path(__file__).parent
    async with Backend(app, data=data) if data else Backend(app) as backend:
        there = int(await backend.query("flights:total"))
        if there >= wanted:
            print(f"{there:,} flights are loaded.")
            return
        columns = (TextColumn("Loading flights"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns) as progress:
            task = progress.add_task("", total=wanted, completed=there)
            rows = islice(read_flights(), there, wanted)
            while batch := list(islice(rows, BATCH)):
                progress.advance(task, await backend.mutation("flights:load", rows=batch))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("flights", nargs="?", default="20000", help="how many, or all")
    parser.add_argument("--data", default=None, help="data directory (default: .interlock beside the app)")
    options = parser.parse_args()
    wanted = FLIGHTS if options.flights == "all" else min(FLIGHTS, int(options.flights))
    asyncio.run(load(wanted, options.data))
    print(
        "\nOpen http://127.0.0.1:3210 and watch the board. Then, in another terminal, delay a flight on it:\n"
        '  interlock run flights:board \'{"origin": "JFK", "date": "2013-01-01", "paginationOpts": {"numItems": 1, "cursor": null}}\' --app examples/flights\n'
        '  interlock run flights:report_delay \'{"flight": "<its _id>", "minutes": 95}\' --app examples/flights\n'
    )


if __name__ == "__main__":
    main()
