"""`python -m bench.peers.sqlalchemy_migration`: 336,776 flights by SQLAlchemy's ORM, load and set, 1,000 a transaction. Figures as JSON."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

from sqlalchemy import create_engine, event, insert, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from bench.flights import FLIGHTS, flights

BATCH = 1_000


class Base(DeclarativeBase):
    pass


class Flight(Base):
    __tablename__ = "flights"
    id: Mapped[int] = mapped_column(primary_key=True)
    month: Mapped[int]
    day: Mapped[int]
    carrier: Mapped[str]
    flight: Mapped[int]
    origin: Mapped[str]
    miles: Mapped[int]
    minutes: Mapped[int]
    delay: Mapped[int]
    mph: Mapped[float]


def main() -> None:
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as data:
        engine = create_engine(f"sqlite:///{Path(data) / 'flights.sqlite'}")

        @event.listens_for(engine, "connect")
        def on_connect(connection: object, _: object) -> None:
            for pragma in ("journal_mode=WAL", "synchronous=FULL"):
                connection.execute(f"PRAGMA {pragma}")  # type: ignore[attr-defined]

        Base.metadata.create_all(engine)
        with Session(engine) as session:
            session.execute(insert(Flight), list(flights(FLIGHTS)))
            session.commit()
        begun = time.perf_counter()
        last = done = 0
        with Session(engine) as session:
            while batch := session.scalars(select(Flight).where(Flight.id > last).order_by(Flight.id).limit(BATCH)).all():
                for row in batch:
                    row.mph = row.miles / row.minutes * 60
                last = batch[-1].id
                done += len(batch)
                session.commit()
        assert done == FLIGHTS
        print(json.dumps({"rows/s": done / (time.perf_counter() - begun)}))
        engine.dispose()


if __name__ == "__main__":
    main()
