from interlock import CommitTimestamp, Schema, Table

schema = Schema(
    accounts=Table({"number": int, "balance": int}).index("by_number", "number"),
    transfers=Table({"tag": str, "source": int, "target": int, "amount": int}),
    counters=Table({"name": str, "value": int}).index("by_name", "name"),
    additions=Table({"tag": str, "value": int, "at": CommitTimestamp()}).index("by_at", "at"),
    plans=Table({"tag": str, "kind": str}),
    runs=Table({"tag": str, "step": str}),
)
