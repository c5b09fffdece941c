"""One table. Times are hours and minutes as in the source (517 is 5:17 in the morning); delays are minutes."""

from typing import Annotated

from interlock import Id, Schema, Table

FlightId = Annotated[str, Id("flights")]

schema = Schema(
    flights=Table(
        {
            "date": str,  # 2013-01-31
            "sched_dep_time": int,
            "dep_time": int | None,  # None: cancelled
            "dep_delay": int | None,
            "arr_time": int | None,
            "arr_delay": int | None,
            "carrier": str,
            "flight": int,
            "tail_number": str | None,
            "origin": str,
            "destination": str,
            "distance": int,
        }
    )
    .index("by_origin_date", "origin", "date", "sched_dep_time")
    .index("by_carrier_date", "carrier", "date")
    .index("by_tail_number", "tail_number", "date", "sched_dep_time")
    .index("by_carrier_delay", "carrier", "dep_delay"),
)
