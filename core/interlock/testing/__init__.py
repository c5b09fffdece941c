"""Testing an app or a component: the engine itself, in memory, on a clock that the test moves. `__all__` is promised.

Start at `TestBackend`; `simulate` is for what must hold while everything goes wrong. Knows everything below it, and nothing in
Interlock knows it. Loaded when first used: pytest loads the plugin of every installed distribution, and must not pay for a
backend in projects that have none.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interlock.testing.backend import TestBackend, TestClient
    from interlock.testing.simulation.client import CallFailed, SimulatedClient
    from interlock.testing.simulation.faults import FAULTS, Faults
    from interlock.testing.simulation.run import History
    from interlock.testing.simulation.simulate import SimulationFailed, simulate
    from interlock.testing.simulation.workload import Workload
    from interlock.testing.virtual_clock import VirtualClock

__all__ = [
    "FAULTS",
    "CallFailed",
    "Faults",
    "History",
    "SimulatedClient",
    "SimulationFailed",
    "TestBackend",
    "TestClient",
    "VirtualClock",
    "Workload",
    "simulate",
]

_HOME = {
    "TestBackend": "backend",
    "TestClient": "backend",
    "VirtualClock": "virtual_clock",
    "FAULTS": "simulation.faults",
    "Faults": "simulation.faults",
    "CallFailed": "simulation.client",
    "SimulatedClient": "simulation.client",
    "History": "simulation.run",
    "SimulationFailed": "simulation.simulate",
    "simulate": "simulation.simulate",
    "Workload": "simulation.workload",
}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'interlock.testing' has no attribute {name!r}")
    # By its whole name: a package of ours may have a module of that name too, and would then be given for it.
    value = getattr(import_module("interlock.testing." + home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
