"""The table: on the terminal, and as a page of the documentation."""

from __future__ import annotations

import os
import platform
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.reasons import reason_of
from bench.rows import UNITS, Result
from interlock.engine import transaction

_HEAD = """<!-- Made by `make bench`. -->
# Performance

Interlock against what people would build without it: the same work, measured in the same run, one after the other. Servers share one
core, and are loaded from another. Libraries, ours and others, have all cores to themselves, and so have the servers whose components are
compared inline and sandboxed, for a sandbox is a process, and the load of those.
Every answer that is counted was checked, and was given after its data was on disk. PocketBase alone does not sync before it answers.

`make bench` measures all of it anew and makes this page; `bench/` holds every line of the work and of the peers. **Trust the ratios.**
They are medians of {rounds} rounds in which everybody has a turn of {seconds:g} s, and of three times as many where a sandbox is compared
with none, and a hostile component with nobody. The single numbers change with the machine, and with what else it does.

Measured on {date}: {cpu}, {cores} cores, CPython {python}, SQLite {sqlite}, {system}.
Interlock's core is {core}.
When it ended, {load:.1f} programs wanted to run at once: above {cores}, others were in the way, and times and rates say little.
{reached} of {rows} goals are reached.

## The goals

| work | measured | | goal | |
|---|---|---|---|---|
"""
_FIGURES = """
## The figures

Medians. p50 and p99 are milliseconds from a request until its answer was there, under this load; *longest pause* is the longest time
in which nobody was answered; *server CPU* is what all threads and processes of a server used for each answer.
"""


def say(result: Result, console: Console) -> None:
    """What came out of one work, as soon as it is there."""
    for name in result.work.contestants:
        if name in result.missing or name in result.failed:
            console.print(f"    {name}: {'MISSING' if name in result.missing else 'FAILED'}")
        else:
            console.print(f"    {name}: " + ", ".join(f"{heading} {value}" for heading, value in _figures(result, name).items() if value))
    for row in result.work.rows:
        value, is_reached = result.verdict(row)
        console.print(f"    {'[green]✓[/]' if is_reached else '[red]✗[/]'} {row.says}: {value} (goal {row.goal})")


def table(results: Sequence[Result], console: Console) -> None:
    """All rows."""
    shown = Table("work", "measured", "", "goal", "")
    for result in results:
        for number, row in enumerate(result.work.rows):
            value, is_reached = result.verdict(row)
            shown.add_row(
                "" if number else result.work.name,
                row.says,
                f"[{'green' if is_reached else 'red'}]{value}[/]",
                row.goal,
                "✓" if is_reached else "✗",
            )
    console.print(shown)
    reached, rows = _counted(results)
    console.print(f"{reached} of {rows} goals are reached")


def page(results: Sequence[Result], rounds: int, seconds: float) -> str:
    """docs/performance.md."""
    reached, rows = _counted(results)
    lines = [
        _HEAD.format(
            rounds=rounds,
            seconds=seconds,
            date=time.strftime("%Y-%m-%d"),
            cpu=_cpu(),
            cores=os.cpu_count(),
            python=platform.python_version(),
            core=_core(),
            sqlite=sqlite3.sqlite_version,
            system=platform.system(),
            load=os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0,
            reached=reached,
            rows=rows,
        ).rstrip("\n")
    ]
    for result in results:
        for number, row in enumerate(result.work.rows):
            value, is_reached = result.verdict(row)
            lines.append(f"| {'' if number else result.work.name} | {row.says} | **{value}** | {row.goal} | {'✓' if is_reached else '✗'} |")
    lines += _reasons(results)
    lines.append(_FIGURES.rstrip("\n"))
    for result in results:
        names = [name for name in result.work.contestants if result.rounds and name in result.rounds[0]]
        if not names:
            continue
        headings = list(_figures(result, names[0]))
        lines += ["", f"### {result.work.name[:1].upper()}{result.work.name[1:]}", ""]
        lines += [f"| | {' | '.join(headings)} |", "|---" * (len(headings) + 1) + "|"]
        for name in names:
            figures = _figures(result, name)
            lines.append(f"| {name} | {' | '.join(figures.get(heading, '') for heading in headings)} |")
    return "\n".join(lines) + "\n"


def _reasons(results: Sequence[Result]) -> list[str]:
    """Of each goal that is not reached: why, and what would reach it."""
    missed: dict[str, list[str]] = {}
    for result in results:
        for row in result.work.rows:
            value, is_reached = result.verdict(row)
            if not is_reached:
                missed.setdefault(reason_of(result.work.name, row.says), []).append(f"{result.work.name}: {row.says} {value} ({row.goal})")
    if not missed:
        return []
    lines = ["", "## What is not reached, and why"]
    for why, rows in missed.items():
        lines += ["", why, "", *(f"- {row}" for row in rows)]
    return lines


def _core() -> str:
    file = transaction.__file__ or ""
    return "pure Python" if file.endswith(".py") else "compiled, as in its wheel for this platform"


def _counted(results: Sequence[Result]) -> tuple[int, int]:
    verdicts = [result.verdict(row)[1] for result in results for row in result.work.rows]
    return sum(verdicts), len(verdicts)


def _figures(result: Result, name: str) -> dict[str, str]:
    shown = {}
    for figure, value in result.medians(name).items():
        if figure == "lost" and value == 0:
            continue
        heading, decimals = UNITS.get(figure, (figure, 2 if value < 100 else 0))
        shown[heading] = "" if value != value else f"{value:,.{decimals}f}"
    return shown


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    return text.partition("model name")[2].partition(":")[2].partition("\n")[0].strip() or platform.machine()
