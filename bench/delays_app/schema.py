from interlock import Schema, Table

schema = Schema(
    flights=Table(
        {"month": int, "day": int, "carrier": str, "flight": int, "origin": str, "miles": int, "minutes": int, "delay": int, "mph": float}
    )
)
