"""Contestants that are programs of their own, each with all cores to itself. They print their figures as JSON in their last line."""

from __future__ import annotations

import importlib.util
import json
import sys

from bench.rows import Figures, Run
from bench.servers import HERE, Missing, Servers, printed

SANDBOXED = "Interlock, sandboxed"
ORIGINALS = HERE / "peers" / "originals"


def program(module: str, *arguments: str, needs: str = "") -> Run:
    """`python -m bench.<module>`; a peer that needs a package is missing without it."""

    def run(servers: Servers, seconds: float) -> Figures:
        if needs and importlib.util.find_spec(needs) is None:
            raise Missing(f"{needs} is not installed: make bench installs it")
        return figures_of([sys.executable, "-m", f"bench.{module}", *arguments])

    return run


def original(kind: str) -> Run:
    """A component as it was, in its own test library under Node."""

    def run(servers: Servers, seconds: float) -> Figures:
        if not (ORIGINALS / "node_modules" / "convex-test").is_dir():
            raise Missing("convex-test is not installed: make bench installs it")
        return figures_of(["node", str(ORIGINALS / "run.mjs"), kind])

    return run


def figures_of(command: list[str]) -> Figures:
    """What it prints."""
    figures: Figures = json.loads(printed(command).splitlines()[-1])
    return figures
