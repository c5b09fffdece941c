"""Where a worker stands among all processes that want the processor: in turn, and behind them where it runs for long.

Seconds of CPU time, but where it says otherwise. Start at `Standing.look`.
"""

from __future__ import annotations

from interlock.sandbox.zygote import BEHIND, IN_TURN, LAST, Spawned

_SILENT = {BEHIND: 0.01, LAST: 0.1}
"""After so much without a word a worker goes there."""
_LONG = {BEHIND: 0.1, LAST: 1.0}
"""And after so much for one call, whatever it says meanwhile."""
_LOADING_SECONDS = 1.0
"""To load a component may take so much in turn. It is never last: on a full machine it would not end before its deadline."""
_REMEMBERED_SECONDS, _REMEMBERED_LOADING_SECONDS = 10.0, 60.0
"""How long, by the clock, the next calls stand one place further back: after one that stood last, after a load that did not end."""


class Conduct:
    """What is remembered of the workers of a mount."""

    def __init__(self) -> None:
        self._remembered_until = 0.0

    def remember(self, now: float, *, loading: bool = False) -> None:
        """One of them has run for long enough to stand last, or has not ended its import. `now` is the time of the loop."""
        until = now + (_REMEMBERED_LOADING_SECONDS if loading else _REMEMBERED_SECONDS)
        self._remembered_until = max(self._remembered_until, until)

    def first(self, now: float) -> int:
        """Where a call begins."""
        return BEHIND if now < self._remembered_until else IN_TURN


class Standing:
    """The place of one worker."""

    def __init__(self, spawned: Spawned, conduct: Conduct, now: float) -> None:
        self._spawned, self._conduct = spawned, conduct
        self.place = IN_TURN
        self.is_stuck = False
        """Whether it cannot be brought back to its turn: only a privileged process may do that."""
        self._move(conduct.first(now))

    def look(self, silent: float, longest: float, now: float) -> None:
        """Put it where it belongs. `silent` is what it has run since it last said anything, `longest` what the longest of its calls has."""
        first = self._conduct.first(now)
        further = max((place for place in (BEHIND, LAST) if silent > _SILENT[place] or longest > _LONG[place]), default=IN_TURN)
        self._move(min(first + further, LAST))
        if self.place == LAST:
            self._conduct.remember(now)

    def look_at_loading(self, spent: float, now: float) -> None:
        """The same while its component is imported."""
        self._move(max(self._conduct.first(now), BEHIND if spent > _LOADING_SECONDS else IN_TURN))

    def rest(self, now: float) -> None:
        """No call is open on it any more."""
        if self.place != IN_TURN:
            self._move(self._conduct.first(now))

    def _move(self, place: int) -> None:
        if place == self.place or (place < self.place and self.is_stuck):
            return
        if self._spawned.stand(place):
            self.place = place
        elif place < self.place:
            self.is_stuck = True
