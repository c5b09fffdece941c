"""What runs in a worker's process, after it has been confined: the loop, the contexts' host, the component itself.

Imported in the zygote, once for all workers. Start at `main`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

from interlock.sandbox.confinement.seccomp import CHANNEL
from interlock.sandbox.plan import NO_MEMORY
from interlock.sandbox.worker import determinism, waiting
from interlock.sandbox.worker.rehearsal import load_for_nothing, rehearse
from interlock.sandbox.worker.running import Worker

_made: list[Worker] = []
"""The one object of every worker, made before the fork: so it lies on pages that are shared."""


def prepare() -> None:
    """What is done once in the zygote, for every worker that is forked from it."""
    determinism.install()
    waiting.install()
    _leave_out_backend()
    rehearse()
    worker = Worker(CHANNEL)
    worker.interruption.listen()
    _made.append(worker)


def _leave_out_backend() -> None:
    """`from interlock import *` gives what there is: a worker has no backend."""
    face: Any = sys.modules["interlock"]  # patched, as the standard library is, and not used
    face.__all__ = [name for name in face.__all__ if name != "Backend"]


def warm() -> None:
    """What is done in a worker that stands ready before anybody needs it."""
    load_for_nothing()


def main(fd: int, layers: Mapping[str, Any]) -> NoReturn:
    """Serve the host at the other end of `fd` until it goes away."""
    try:
        assert fd == CHANNEL
        _made.pop().run(layers)
    except MemoryError:
        os._exit(NO_MEMORY)
    finally:
        os._exit(70)
