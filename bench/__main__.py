"""`python -m bench`: the table. Each row is measured in rounds, Interlock and peer in turn, and shows the median ratio."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from bench.load import Report
from bench.servers import Server, interlock, starlette_sqlite

HOT = ["hot"]
SPREAD = [f"c{n}" for n in range(1_000)]


@dataclass(frozen=True)
class Row:
    """One kind of work. `ours` and `theirs` run a round of it; the ratio of answers per second has to be at least `goal`."""

    name: str
    goal: float
    ours: Callable[[float], Report]
    theirs: Callable[[float], Report]
    peer: str


def mutation(function: str, name: str) -> str:
    return f'{{"path":"counters:{function}","args":{{"name":"{name}"}}}}'


def rows(ours: Server, peer: Server) -> list[Row]:
    """The rows of issue order: counters first, then reads."""

    def calls(function: str, names: list[str], callers: int) -> Callable[[float], Report]:
        bodies = [mutation(function, name) for name in names]
        kind = "query" if function == "get" else "mutation"
        return lambda seconds: ours.load(f"/api/{kind}", bodies, callers, seconds, expected='"success"')

    def theirs(path: str, names: list[str], callers: int) -> Callable[[float], Report]:
        bodies = [f'{{"name":"{name}"}}' for name in names]
        return lambda seconds: peer.load(path, bodies, callers, seconds, expected='"value"')

    made = []
    for label, names in (("one document", HOT), ("1,000 documents", SPREAD)):
        for callers, goal in ((1, 0.87), (16, 3.0), (64, 5.0)):
            name = f"naive counter, {label}, {callers} callers"
            made.append(Row(name, goal, calls("add", names, callers), theirs("/add", names, callers), peer.name))
    made.append(Row("one document : 1,000 documents", 0.9, calls("add", HOT, 64), calls("add", SPREAD, 64), ours.name))
    made.append(Row("sharded_counter : naive counter", 0.8, calls("add_sharded", HOT, 64), calls("add", HOT, 64), ours.name))
    made.append(Row("cached query, 64 callers", 2.0, calls("get", HOT, 64), theirs("/get", HOT, 64), peer.name))
    empty: Callable[[float], Report] = lambda seconds: ours.load("/version", [""], 64, seconds, method="GET")  # noqa: E731
    made.append(Row("cached query : empty endpoint", 0.7, calls("get", HOT, 64), empty, ours.name))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--only", default="", help="rows whose name contains this")
    options = parser.parse_args()
    table = Table("work", "ratio", "goal", "ours /s", "p50 ms", "p99 ms", "CPU µs", "against", "/s", "p50 ms", "CPU µs")
    missed = 0
    with ExitStack() as stack:
        ours, peer = stack.enter_context(interlock("counters")), stack.enter_context(starlette_sqlite())
        for row in rows(ours, peer):
            if options.only not in row.name:
                continue
            row.ours(0.3), row.theirs(0.3)
            reports = [(row.ours(options.seconds), row.theirs(options.seconds)) for _ in range(options.rounds)]
            ratio = statistics.median(mine.per_second / other.per_second for mine, other in reports)
            mine, other = sorted(reports, key=lambda pair: pair[0].per_second / pair[1].per_second)[len(reports) // 2]
            missed += ratio < row.goal
            table.add_row(
                row.name,
                f"{ratio:.2f}" if ratio >= row.goal else f"[red]{ratio:.2f}[/]",
                f"≥ {row.goal:g}",
                f"{mine.per_second:,.0f}",
                f"{mine.p50_ms:.2f}",
                f"{mine.p99_ms:.2f}",
                f"{mine.cpu_us:.0f}",
                row.peer,
                f"{other.per_second:,.0f}",
                f"{other.p50_ms:.2f}",
                f"{other.cpu_us:.0f}",
            )
            Console(stderr=True).print(f"{row.name}: {ratio:.2f}")
        report = ours.load("/api/mutation", [mutation("add", "cpu")], 64, options.seconds, expected='"success"')
        counted = ours.call("/api/query", {"path": "counters:get", "args": {"name": "cpu"}})
        if counted != {"status": "success", "value": float(report.answers)}:
            sys.exit(f"updates were lost: {report.answers} answered, {counted} stored")
    Console(width=160).print(table)
    print(f"server CPU per mutation over HTTP, 64 callers: {report.cpu_us:.0f} µs (goal: at most 50)")
    if missed:
        print(f"{missed} goals not reached")


if __name__ == "__main__":
    main()
