"""Confinement: what the kernel takes away from a worker before any code of a component is in it.

The call filter (`seccomp`) is the boundary and holds alone. Behind it, each able to stop something by itself: `landlock`,
`rlimits`, `credentials`, `process`. `Lockdown.apply` is the order; start there. `available` says what this machine can do.
Knows nothing of components, calls or frames; imports nothing that a worker does not need.
"""

from interlock.sandbox.confinement.support import Support, available

__all__ = ["Support", "available"]
