"""One instance's jobs, as far as the scheduler has to think of them before they run."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from interlock.scheduler.rows import Row

_AT_A_TIME, _AT_A_TIME_BUSY = 16, 2
"""Jobs of one mount that keep this process busy at the same time: with fewer, what a worker says no longer comes in bundles."""
_REST, _REST_SECONDS_MAX = 9, 0.1


class Lane:
    """The due jobs of one instance, in order, and when the next ones are due.

    `next_due_ms` is a time before which none but the jobs in `taken` is due; it is learned from commits and from reading
    ahead, so that nothing has to look through what is planned. `taken` are the jobs that were read and have not ended.
    `mount` is the mount of the app that the instance is, or is in; empty for the app itself. It `floods` while more is due
    than is read ahead.
    """

    def __init__(self, path: str, since_ms: float) -> None:
        self.path, self.since_ms = path, since_ms
        self.next_due_ms = -math.inf
        self.next_cleaning_ms = -math.inf
        self.ready: deque[Row] = deque()
        self.taken: set[str] = set()
        self.mount = path.partition("/")[0]
        self.running = 0
        self.is_reading = self.is_cleaning = self.floods = False

    def learn(self, due_ms: float) -> None:
        """A job that is due at this time was planned."""
        self.next_due_ms = min(self.next_due_ms, due_ms)

    def add(self, jobs: Iterable[Row]) -> None:
        """Take in due jobs, in their order."""
        for job in jobs:
            if job["_id"] not in self.taken:
                self.taken.add(job["_id"])
                self.ready.append(job)


@dataclass(slots=True)
class _Share:
    """What the jobs of one mount have: how many keep this process busy now, and until when no other one is begun."""

    beginning: int = 0
    rests_until: float = 0.0


class Rounds:
    """Whose job runs next: the instances take turns.

    For every other instance that runs none a slot is kept free, up to half of all. So jobs that take long, of however few
    instances, never keep the others from running at all.

    Of the jobs of one mount, and of all instances in it, only a few are begun at a time: what the app is called for waits
    behind those, and not behind every slot. While the app `is_busy` with calls of its own they are fewer; and of a mount that
    floods then one, after which the mount rests nine times as long as it took. The app's own jobs have no such bounds.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.running = 0
        self._order: deque[Lane] = deque()
        self._shares: defaultdict[str, _Share] = defaultdict(_Share)

    def set_lanes(self, lanes: Mapping[str, Lane]) -> None:
        """Another set of instances; those that stay keep their place."""
        known = [lane for lane in self._order if lanes.get(lane.path) is lane]
        self._order = deque([*known, *(lane for lane in lanes.values() if lane not in known)])

    def take(self, is_busy: bool = False, now: float = 0.0) -> tuple[Lane, Row] | None:
        """The next job, and a slot for it; None if there is none, or no room. `now` is in seconds, of any clock."""
        free = self.slots - self.running
        if free <= 0:
            return None
        waiting = sum(not lane.running for lane in self._order)
        for _ in range(len(self._order)):
            lane = self._order[0]
            self._order.rotate(-1)
            if lane.ready and (not lane.running or free > min(waiting, self.slots // 2)) and self._may_begin(lane, is_busy, now):
                lane.running += 1
                self.running += 1
                self._shares[lane.mount].beginning += 1
                return lane, lane.ready.popleft()
        return None

    def _may_begin(self, lane: Lane, is_busy: bool, now: float) -> bool:
        if not lane.mount:
            return True
        share = self._shares[lane.mount]
        if not is_busy:
            return share.beginning < _AT_A_TIME
        if lane.floods:
            return not share.beginning and now >= share.rests_until
        return share.beginning < _AT_A_TIME_BUSY

    def has_begun(self, lane: Lane) -> None:
        """What is left of a job is to wait."""
        self._shares[lane.mount].beginning -= 1

    def give_back(self, lane: Lane, now: float = 0.0, took: float = 0.0) -> None:
        """A job ended, after so many seconds."""
        lane.running -= 1
        self.running -= 1
        self._shares[lane.mount].rests_until = now + min(took * _REST, _REST_SECONDS_MAX)
