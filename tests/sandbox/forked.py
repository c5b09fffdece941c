"""Run a function in a forked child and learn what came of it, so that a lock-down never holds the tests themselves."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

SECONDS_MAX = 100
ANSWER = 2  # a descriptor that every filter lets a worker write to


@dataclass(frozen=True)
class Outcome:
    """What the child did: it returned `value`, raised `error` (an OSError's errno is in `errno`), or was ended by `signal`."""

    value: Any = None
    error: str = ""
    errno: int = 0
    signal: int = 0

    @property
    def worked(self) -> bool:
        return not self.error and not self.signal


def forked(function: Callable[[], Any]) -> Outcome:
    """The outcome of `function` in a child of this process."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(SECONDS_MAX)
        os.dup2(write, ANSWER)
        try:
            outcome = Outcome(value=function())
        except BaseException as error:
            outcome = Outcome(error=f"{type(error).__name__}: {error}", errno=getattr(error, "errno", 0) or 0)
        os.write(ANSWER, pickle.dumps(outcome))
        os._exit(0)
    os.close(write)
    data = b""
    with os.fdopen(read, "rb") as end:
        data = end.read()
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return pickle.loads(data) if data else Outcome(signal=max(0, -code))
