from interlock import Schema, Table

schema = Schema(
    counters=Table({"name": str, "value": int}).index("by_name", "name"),
    items=Table({"text": str, "number": int}).index("by_number", "number"),
)
