"""What one worker process may have: decided by the host, obeyed before any code of a component is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

NO_MEMORY = 71
"""The exit code of a worker that finds no memory for what it is sent."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How one worker is confined.

    `isolation`: "sandbox" is confined by the kernel, "process" is a process of its own and nothing more.
    `name`: the component path, for messages.
    `memory`: bytes of address space beyond what a new worker has; None sets no limit.
    `cpu`: seconds of CPU in the whole life of the process; None sets no limit.
    `files`: directories and files that may be read, and whose native code may be mapped ("fsread"). Empty is the sealed profile:
    no call that takes a path is left at all.
    `nice`: how far behind the host the worker stands where both want the processor, 0 to 19.
    """

    isolation: Literal["sandbox", "process"] = "sandbox"
    name: str = ""
    memory: int | None = 256 << 20
    cpu: float | None = None
    files: tuple[str, ...] = ()
    nice: int = 5

    @property
    def is_sealed(self) -> bool:
        """Nothing but the channel is left: no path can be named."""
        return not self.files

    def to_json(self) -> dict[str, Any]:
        """A plain object for the way to the nursery."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        """What `to_json` wrote. Raises KeyError or TypeError for anything else."""
        return cls(**{**data, "files": tuple(data["files"])})
