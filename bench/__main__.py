"""`python -m bench`: the table. `--only "naive counter"` measures a part, `--write` makes docs/performance.md from the whole."""

from __future__ import annotations

import argparse
import importlib
import sys

from rich.console import Console

from bench import report
from bench.rows import Result, Work, measure
from bench.servers import HERE, Servers

KINDS = [
    "counters",
    "sandbox",
    "messages",
    "reads",
    "durability",
    "transfers",
    "subscribers",
    "ranges",
    "client",
    "jobs",
    "aggregate",
    "rate_limiter",
    "action_cache",
    "workflow",
    "flights",
    "big_table",
    "start",
]
PAGE = HERE.parent / "docs" / "performance.md"


def works_of(kind: str) -> list[Work]:
    works: list[Work] = importlib.import_module(f"bench.work.{kind}").WORKS
    return works


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each contestant has its turn; rows are medians")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long a turn takes")
    parser.add_argument("--only", default="", help="works whose kind or name contains this")
    parser.add_argument("--write", action="store_true", help=f"make {PAGE.name} from what comes out")
    options = parser.parse_args()
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    results: list[Result] = []
    for kind in KINDS:
        works = [work for work in works_of(kind) if options.only in work.name or options.only in kind]
        servers = Servers()
        try:
            for work in works:
                console.print(f"{work.name} …")
                result = measure(work, servers, options.rounds, options.seconds)
                report.say(result, console)
                results.append(result)
        finally:
            servers.close()
    report.table(results, Console(width=160, highlight=False))
    if options.write:
        PAGE.write_text(report.page(results, options.rounds, options.seconds), encoding="utf-8")
    broken = [result for result in results if not result.is_whole]
    for result in broken:
        for name, why in {**result.missing, **result.failed}.items():
            console.print(f"{result.work.name}: {name}: {why}", markup=False)
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
