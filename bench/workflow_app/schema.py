from interlock import Schema, Table

schema = Schema(done=Table({"n": int}))
