"""Runs the benchmarks that are named, or all of them, one after the other."""

from __future__ import annotations

import argparse
import asyncio
import importlib
from pathlib import Path

from bench.measure import Result

HERE = Path(__file__).parent
NAMES = sorted(path.stem for path in HERE.glob("*.py") if path.stem not in {"__init__", "__main__", "measure"})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; without any, all of them")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each is measured")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(NAMES))
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}")
    print(Result.head())
    for name in options.names or NAMES:
        module = importlib.import_module(f"bench.{name}")
        for result in asyncio.run(module.measure(options.seconds)):
            print(result)


main()
