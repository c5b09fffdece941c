from typing import NotRequired

from interlock import Schema, Table

schema = Schema(notes=Table({"name": str, "value": int, "text": NotRequired[str]}).index("by_name", "name"))
