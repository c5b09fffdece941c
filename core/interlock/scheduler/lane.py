"""One instance's jobs, as far as the scheduler has to think of them before they run."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping

from interlock.scheduler.rows import Row


class Lane:
    """The due jobs of one instance, in order, and when the next ones are due.

    `next_due_ms` is a time before which none but the jobs in `taken` is due; it is learned from commits and from reading
    ahead, so that nothing has to look through what is planned. `taken` are the jobs that were read and have not ended.
    """

    def __init__(self, path: str, since_ms: float) -> None:
        self.path, self.since_ms = path, since_ms
        self.next_due_ms = -math.inf
        self.next_cleaning_ms = -math.inf
        self.ready: deque[Row] = deque()
        self.taken: set[str] = set()
        self.running = 0
        self.is_reading = self.is_cleaning = False

    def learn(self, due_ms: float) -> None:
        """A job that is due at this time was planned."""
        self.next_due_ms = min(self.next_due_ms, due_ms)

    def add(self, jobs: Iterable[Row]) -> None:
        """Take in due jobs, in their order."""
        for job in jobs:
            if job["_id"] not in self.taken:
                self.taken.add(job["_id"])
                self.ready.append(job)


class Rounds:
    """Whose job runs next: the instances take turns.

    For every other instance that runs none a slot is kept free, up to half of all. So jobs that take long, of however few
    instances, never keep the others from running at all.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.running = 0
        self._order: deque[Lane] = deque()

    def set_lanes(self, lanes: Mapping[str, Lane]) -> None:
        """Another set of instances; those that stay keep their place."""
        known = [lane for lane in self._order if lanes.get(lane.path) is lane]
        self._order = deque([*known, *(lane for lane in lanes.values() if lane not in known)])

    def take(self) -> tuple[Lane, Row] | None:
        """The next job, and a slot for it; None if there is none, or no room."""
        free = self.slots - self.running
        if free <= 0:
            return None
        waiting = sum(not lane.running for lane in self._order)
        for _ in range(len(self._order)):
            lane = self._order[0]
            self._order.rotate(-1)
            if lane.ready and (not lane.running or free > min(waiting, self.slots // 2)):
                lane.running += 1
                self.running += 1
                return lane, lane.ready.popleft()
        return None

    def give_back(self, lane: Lane) -> None:
        """A job ended."""
        lane.running -= 1
        self.running -= 1
