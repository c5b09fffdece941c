from interlock import Schema, Table

schema = Schema(notes=Table({"name": str, "value": int}).index("by_name", "name"))
