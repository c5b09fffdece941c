"""Ids of requests, for logs and errors."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator


def request_ids() -> Callable[[], str]:
    """Ids that tell requests apart; nothing depends on nobody guessing them. Most of each is made once for many."""
    process = f"{random.Random().getrandbits(40):010x}"

    def ids() -> Iterator[str]:
        tails = [f"{number:03x}" for number in range(4096)]  # a backend that is asked for nothing has none
        for number in itertools.count():
            head = f"{process}{number:03x}"
            for tail in tails:
                yield head + tail

    return ids().__next__
