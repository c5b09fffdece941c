"""What the transactions of runs may use. Both halves of the package go by this."""

from __future__ import annotations

from interlock import Limits

MIB = 1 << 20
STEPS_AT_ONCE = 100  # in the transaction of one turn
JOURNAL_MOST = 8 * MIB
TURN = Limits(
    deadline=10.0,
    cpu=0.8,
    documents_read=28_000,
    bytes_read=14 * MIB,
    documents_written=12_000,
    bytes_written=12 * MIB,
    functions_scheduled=900,
)
FIRST_STEPS = 25  # in a transaction that others wait for
FIRST = Limits(
    deadline=2.0,
    cpu=0.1,
    documents_read=4_000,
    bytes_read=4 * MIB,
    documents_written=1_000,
    bytes_written=2 * MIB,
    functions_scheduled=100,
)
CALLBACK = Limits(deadline=3.0, cpu=0.5)
