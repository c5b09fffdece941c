"""What queries of a sandboxed component have answered: the next call alike is answered by it, and nothing crosses.

An answer is kept with what its function was shown. Before it counts again, all of that is read in the transaction of the new call,
and has to be the same (`replay`); so reads, conflicts and subscriptions are those of a call that ran. A query that looked at the time, its
seed or its environment, said something, or asked the host for more than its worker remembered, is not kept.

Start at `KeptAnswers.find`.
"""

from __future__ import annotations

from typing import Any

from interlock.functions.call import IDLE
from interlock.functions.replay import replays, settled
from interlock.functions.served import Served
from interlock.functions.transaction_host import TransactionHost
from interlock.values import pack_for_now

_ANSWERS_MAX, _BYTES_MAX = 4_096, 1 << 20
"""How many of one instance are kept, and how many bytes of memory they may take, about. Then it begins anew."""
_STEPS_MAX, _LENGTH_MAX, _ARGS_MAX = 64, 32_768, 500
"""The most that one of them may have been shown, its frame take of memory, and its arguments be long."""
_SIZE = 200


def key_of(call: TransactionHost) -> bytes | None:
    """What calls of one instance have in common that are alike; None for one of which nothing is to be kept."""
    callee, args = call.callee, call.args
    if call.execution.journal or call.begun is not None or call.state != IDLE or callee.is_trigger:
        return None
    packed = b"" if not args else pack_for_now(args)
    return None if len(packed) > _ARGS_MAX else b"%b %b" % (callee.name.encode(), packed)


Answer = tuple[Any, list[Any], int]
"""A value as the worker sent it, the steps that led there, and how many bytes that takes, about."""


class KeptAnswers:
    """Those of one instance, for as long as its code is the same."""

    def __init__(self) -> None:
        self._answers: dict[bytes, Answer] = {}
        self._bytes = 0

    def find(self, call: TransactionHost, key: bytes) -> Answer | None:
        """The answer to this call, which depends on all that it has been shown from now on; None where there is none that holds."""
        answer = self._answers.get(key)
        if answer is None:
            return None
        used = call.tx.budget.reads()
        if replays(call, answer[1]):
            return answer
        call.tx.budget.give_back(used)
        self._forget(key)
        return None

    def keep(self, key: bytes, served: Served, value: Any) -> None:
        """A call has ended with this value."""
        length = served.length
        if served.looked_at or served.operations or served.notes or length > _LENGTH_MAX or len(served.steps) > _STEPS_MAX:
            return
        self._forget(key)
        steps = settled(served.steps, served.versions)
        if steps is None:
            return
        if len(self._answers) >= _ANSWERS_MAX or self._bytes > _BYTES_MAX:
            self._answers.clear()
            self._bytes = 0
        size = length + len(key) + _SIZE
        self._answers[key] = (value, steps, size)
        self._bytes += size

    def _forget(self, key: bytes) -> None:
        answer = self._answers.pop(key, None)
        if answer is not None:
            self._bytes -= answer[2]
