"""What a benchmark is made of: a work, those who do it, and the rows of the table that follow from what they did.

A `Work` is data. Its contestants do it in rounds, one after the other in each, so that whatever else the machine does meets all
of them; a row is the median over the rounds of one figure, or of the ratio of two.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from bench.servers import INTERLOCK, REDIS, Missing, Servers

Figures = Mapping[str, float]
Run = Callable[[Servers, float], Figures]
"""One run of a contestant, about so many seconds long, and its figures by name."""

UNITS = {
    "per_second": ("/s", 0),
    "p50_ms": ("p50 ms", 2),
    "p99_ms": ("p99 ms", 2),
    "pause_ms": ("longest pause ms", 1),
    "cpu_us": ("server CPU µs", 0),
    "lost": ("lost", 0),
}
"""How the figures that most works have are headed, and their decimals. Others are headed by their names."""


@dataclass(frozen=True)
class Row:
    """One goal: a figure of a contestant is at least or at most so much; or its ratio to `over_figure` of `over`, by default the same;
    or by how much it is more than that of `minus`."""

    says: str
    figure: str
    of: str = INTERLOCK
    over: str | None = None
    over_figure: str | None = None
    minus: str | None = None
    at_least: float | None = None
    at_most: float | None = None
    decimals: int = 2

    def value(self, rounds: Sequence[Mapping[str, Figures]]) -> float:
        """The median over the rounds. Raises KeyError where a contestant is missing."""
        if self.minus is not None:
            return statistics.median(done[self.of][self.figure] - done[self.minus][self.figure] for done in rounds)
        if self.over is None and self.over_figure is None:
            return statistics.median(done[self.of][self.figure] for done in rounds)
        over, over_figure = self.over or self.of, self.over_figure or self.figure
        return statistics.median(done[self.of][self.figure] / done[over][over_figure] for done in rounds)

    def is_reached(self, value: float) -> bool:
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    @property
    def goal(self) -> str:
        number = self.at_least if self.at_least is not None else self.at_most
        return f"{'≥' if self.at_least is not None else '≤'} {number:,g}"


@dataclass(frozen=True)
class Work:
    """What is done, by whom, and what has to come out. `rounds` is how many it has at most, where it takes long; `times` how many it
    has for each of the others', where one says little: of small differences, and of the slowest of few answers.
    """

    name: str
    contestants: Mapping[str, Run]
    rows: Sequence[Row]
    rounds: int | None = None
    times: int = 1
    warm_up: bool = True


@dataclass
class Result:
    """What came out of a work: the figures of each round, and why contestants are not among them."""

    work: Work
    rounds: list[dict[str, Figures]] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def medians(self, contestant: str) -> Figures:
        """The median of each of its figures."""
        names = self.rounds[0].get(contestant, {}) if self.rounds else {}
        return {name: statistics.median(done[contestant][name] for done in self.rounds) for name in names}

    def verdict(self, row: Row) -> tuple[str, bool]:
        """What the table says of a row, and whether it is reached."""
        for name in (row.of, row.over or row.of, row.minus or row.of):
            if name in self.missing:
                return "MISSING", False
            if name in self.failed:
                return "FAILED", False
        value = row.value(self.rounds)
        return f"{value:,.{row.decimals}f}", row.is_reached(value)

    @property
    def is_whole(self) -> bool:
        """Whether everybody was there who has to be: Redis need not."""
        return not self.failed and not set(self.missing) - {REDIS}


def measure(work: Work, servers: Servers, rounds: int, seconds: float) -> Result:
    """Let the contestants do the work in turn."""
    result = Result(work)
    if work.warm_up:
        for name, run in work.contestants.items():
            _try(result, name, run, servers, min(0.3, seconds))
    for _ in range(min(rounds, work.rounds or rounds) * work.times):
        done: dict[str, Figures] = {}
        for name, run in work.contestants.items():
            figures = _try(result, name, run, servers, seconds)
            if figures is not None:
                done[name] = figures
        result.rounds.append(done)
    for name in {**result.failed, **result.missing}:
        for done in result.rounds:
            done.pop(name, None)
    return result


def _try(result: Result, name: str, run: Run, servers: Servers, seconds: float) -> Figures | None:
    if name in result.missing or name in result.failed:
        return None
    try:
        return run(servers, seconds)
    except Missing as missing:
        result.missing[name] = str(missing)
    except (RuntimeError, OSError, AssertionError) as error:
        result.failed[name] = str(error) or repr(error)
    return None
