from interlock import CommitTimestamp, Schema, Table

schema = Schema(marks=Table({"kind": str, "now": float, "at": CommitTimestamp()}).index("by_at", "at"))
