"""Testing an app or a component: the engine itself, in memory, on a clock that the test moves. `__all__` is promised.

Start at `TestBackend`. Knows everything below it, and nothing in Interlock knows it. Loaded when first used: pytest loads
the plugin of every installed distribution, and must not pay for a backend in projects that have none.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interlock.testing.backend import TestBackend, TestClient
    from interlock.testing.virtual_clock import VirtualClock

__all__ = ["TestBackend", "TestClient", "VirtualClock"]


def __getattr__(name: str) -> Any:
    if name in ("TestBackend", "TestClient"):
        from interlock.testing import backend

        return getattr(backend, name)
    if name == "VirtualClock":
        from interlock.testing.virtual_clock import VirtualClock

        return VirtualClock
    raise AttributeError(f"module 'interlock.testing' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
