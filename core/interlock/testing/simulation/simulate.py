"""Simulations, one a seed: what a test calls.

`pytest --interlock-seed=N` begins with other seeds, `--interlock-simulations=N` runs so many of each instead of what the test says.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping

from interlock.testing.seeds import seeds as session
from interlock.testing.simulation.faults import EVERYTHING, Faults
from interlock.testing.simulation.run import History, Run
from interlock.testing.simulation.server import Source
from interlock.testing.simulation.workload import Workload


class SimulationFailed(AssertionError):
    """Something is wrong, and here is how to see it again. `history` is what happened until then; the reason is its cause."""

    def __init__(self, reason: BaseException, history: History, name: str) -> None:
        super().__init__(reason, history, name)
        self.reason, self.history, self._name = reason, history, name

    def __str__(self) -> str:
        history = self.history
        lines = "\n".join(f"    {line}" for line in history.lines)
        return (
            f"{type(self.reason).__name__}: {self.reason}\n"
            f"{self._name} under the faults “{history.faults}”, seed {history.seed}, after {history.steps} steps and "
            f"{history.crashes} crashes. The same again: simulate(…, seeds=[{history.seed}]).\nWhat happened last:\n{lines}"
        )


def simulate(
    app: Source,
    workload: Callable[[random.Random], Workload],
    *,
    faults: Faults = EVERYTHING,
    seeds: int | Iterable[int] = 20,
    env: Mapping[str, str] | None = None,
) -> list[History]:
    """Run a workload against an app while everything goes wrong, once for each seed.

    `app` is a component on its own, an `App`, or an app's directory. `workload` is a subclass of `Workload`: it makes one for each
    run. `seeds` are seeds, or how many of them to take. `env` are the app's variables.

    Beside the workload's own assertions it is checked that nothing answered is lost, that time never runs backwards for a client,
    that what clients see are true states and at rest the newest one, that a request has one answer, that no job runs twice or is
    forgotten, and that no error is raised that nobody expected.

    Raises SimulationFailed at the first seed that fails. Call it from a plain `def` test: it has an event loop of its own.
    """
    histories = []
    for seed in _seeds(seeds):
        run = Run(app, workload, faults, seed, env or {})
        try:
            histories.append(run.run())
        except Exception as reason:
            raise SimulationFailed(reason, run.history, getattr(workload, "__name__", "the workload")) from reason
    return histories


def _seeds(wanted: int | Iterable[int]) -> Iterable[int]:
    if not isinstance(wanted, int):
        return wanted
    start = session.session * 1_000_000
    return range(start, start + (session.simulations or wanted))
