from interlock import Schema, Table

schema = Schema(
    counters=Table({"name": str, "n": int}).index("by_name", "name"),
    messages=Table({"author": str, "body": str}),
    accounts=Table({"number": int, "balance": int}).index("by_number", "number"),
    points=Table({"at": int, "value": int, "text": str}).index("by_at", "at"),
    done=Table({"by": str}),
)
