"""Counters by name."""

from interlock import Schema, Table

schema = Schema(counters=Table({"name": str, "value": int}).index("by_name", "name"))
