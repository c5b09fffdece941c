"""The CPU time of one worker, and which of its calls have used it. Counted from outside: the sum is right whatever the worker says.

Seconds all. Start at `Account.look`.
"""

from __future__ import annotations

from typing import Any

from interlock.sandbox.frames import FrameError
from interlock.sandbox.opened import Opened
from interlock.sandbox.zygote import Spawned


class Account:
    """What a process has used, looked at once for each reading of its socket."""

    def __init__(self, spawned: Spawned) -> None:
        self._spawned = spawned
        # At the last look; what no call has been charged for; of that what is older than these frames; what these frames have claimed.
        self._seen = self._unclaimed = self._carried = self._claimed = 0.0
        self._share = 0.0  # what each open call has borne of the rest since the beginning

    def look(self) -> None:
        """Frames have come. Whose time it was, they may say."""
        seen, self._seen = self._seen, self._spawned.cpu_seconds()
        self._carried, self._claimed = self._unclaimed, 0.0
        self._unclaimed += max(0.0, self._seen - seen)

    @property
    def silent(self) -> float:
        """What it has used since it last said anything."""
        return self._spawned.cpu_seconds() - self._seen

    def begin(self, opened: Opened) -> None:
        """A call is charged from here on."""
        opened.share_at = self._share

    def end(self, opened: Opened) -> None:
        """And up to here."""
        opened.cpu += self._share - opened.share_at

    def charged(self, opened: Opened) -> float:
        """What an open call has used as far as it is known whose it was, and its part of the rest."""
        return opened.cpu + self._share - opened.share_at

    def so_far(self, opened: Opened) -> float:
        """The same if all that nobody has claimed is its own."""
        return self.charged(opened) + self._unclaimed

    def claim(self, opened: Opened, told: Any) -> None:
        """A worker says how long a call has run. It cannot say more than it has used, nor leave anything out: the rest is everybody's."""
        if (type(told) is not float and type(told) is not int) or not told >= 0:
            raise FrameError("a time that is none")
        seconds = min(float(told), self._unclaimed)
        self._unclaimed -= seconds
        self._claimed += seconds
        opened.cpu += seconds

    def divide(self, count: int) -> None:
        """Share out among so many calls what nobody has claimed: at once where it can only have been one call's, otherwise after another
        reading, since one may come late, and count what its frames could not know of.
        """
        rest = self._unclaimed if count <= 1 else max(0.0, self._carried - self._claimed)
        self._unclaimed = max(0.0, self._unclaimed - rest)
        self._share += rest / max(1, count)

    def forget(self) -> None:
        """What it has used so far was no call's."""
        self._unclaimed = 0.0
