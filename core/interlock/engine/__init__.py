"""The engine: documents, indexes, transactions, one order of commits, and who has to be told.

It decides which finished transactions stand and in which order, what a snapshot sees, and which query results a commit
makes stale. It alone appends to storage.

Start at `Engine.mutate`, then `Transaction` (a view, a read set, a write set), `WriteLog.find_conflict`, `Committer.commit`,
`Joint.end`. Knows no component but as a name beside a table, no function, no HTTP.
"""

from interlock.engine.catalog import Catalog, Index, Table, TableSpec
from interlock.engine.cursor import TransactionCursor
from interlock.engine.engine import Engine, EngineSettings, Outcome
from interlock.engine.live import Entry, LiveQueries, Watch
from interlock.engine.read_set import ReadSet
from interlock.engine.transaction import LayerMark, Transaction
from interlock.storage.protocol import Interval

__all__ = [
    "Catalog",
    "Engine",
    "EngineSettings",
    "Entry",
    "Index",
    "Interval",
    "LayerMark",
    "LiveQueries",
    "Outcome",
    "ReadSet",
    "Table",
    "TableSpec",
    "Transaction",
    "TransactionCursor",
    "Watch",
]
