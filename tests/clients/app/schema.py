from interlock import Schema, Table

schema = Schema(
    counters=Table({"name": str, "value": float}).index("by_name", "name"),
    items=Table({"list": str, "rank": float}).index("by_list_rank", "list", "rank"),
)
