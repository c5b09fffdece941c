from interlock import Schema, Table

schema = Schema(counters=Table({"name": str, "n": int}).index("by_name", "name"))
