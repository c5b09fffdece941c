from interlock import Schema, Table

schema = Schema(bare=Table({"points": int}), scored=Table({"points": int}))
