"""What goes wrong in a simulation: each kind written once, to be combined with every workload."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Faults:
    """One kind of trouble, or several. Numbers between 0 and 1 are how likely something is, each time that it could happen.

    `disk_ms`: the longest that a disk takes for anything. `refused`: a batch is not written (there is no space), and for up to three
    seconds after it none is. `lost_syncs`: the sync of a batch fails, and nobody knows what is on the disk. `crash_every`: the server
    dies after so many steps of the loop, on average, wherever it is then; with `power_loss` what was not synced may be gone,
    and a batch that was on its way torn. `crash_at`: it dies once, after exactly so many steps. `torn`: it dies while it writes a batch
    of several commits, of which some are on the disk then and others are not. `network_ms`: the longest that a
    message takes; `cut`: the connection breaks instead; `slow_reader`: a client takes a second to read. `reorder`: of those that are
    ready to run, another than the first goes on. `cold`: no table lives in memory.
    """

    name: str
    disk_ms: float = 0.0
    refused: float = 0.0
    lost_syncs: float = 0.0
    crash_every: int = 0
    crash_at: int = 0
    torn: float = 0.0
    power_loss: bool = False
    network_ms: float = 0.0
    cut: float = 0.0
    slow_reader: float = 0.0
    reorder: float = 0.0
    cold: bool = False

    def __str__(self) -> str:
        return self.name


CALM = Faults("calm")
REORDERED = Faults("reordered", reorder=1.0, network_ms=5.0, disk_ms=3.0)
SLOW_DISK = Faults("slow disk", disk_ms=300.0, cold=True, reorder=0.1)
FULL_DISK = Faults("full disk", refused=0.1, disk_ms=10.0, network_ms=10.0, reorder=0.1)
LOST_SYNCS = Faults("lost syncs", lost_syncs=0.05, power_loss=True, disk_ms=10.0, network_ms=10.0, reorder=0.1)
KILLS = Faults("kills", crash_every=120, torn=0.5, disk_ms=10.0, network_ms=10.0, reorder=0.2)
POWER_LOSSES = Faults("power losses", crash_every=120, torn=0.5, power_loss=True, disk_ms=20.0, network_ms=5.0, reorder=0.2, cold=True)
BAD_NETWORK = Faults("bad network", network_ms=200.0, cut=0.03, slow_reader=0.05, disk_ms=20.0, reorder=0.1)
EVERYTHING = Faults(
    "everything",
    disk_ms=50.0,
    refused=0.03,
    lost_syncs=0.05,
    crash_every=200,
    torn=0.5,
    power_loss=True,
    network_ms=50.0,
    cut=0.01,
    slow_reader=0.02,
    reorder=0.5,
    cold=True,
)
FAULTS = (CALM, REORDERED, SLOW_DISK, FULL_DISK, LOST_SYNCS, KILLS, POWER_LOSSES, BAD_NETWORK, EVERYTHING)
"""All of them, for a matrix: `@pytest.mark.parametrize("faults", FAULTS, ids=str)`."""
