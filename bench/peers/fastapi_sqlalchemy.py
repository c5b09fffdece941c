"""FastAPI with SQLAlchemy's ORM over aiosqlite, as its documentation shows it: a session a request, synchronous=FULL.

Transactions begin IMMEDIATE, as SQLAlchemy's page on SQLite tells those to do who want them serializable.
"""

import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI
from pydantic import BaseModel
from sqlalchemy import Engine, event, func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class Counter(Base):
    __tablename__ = "counters"
    name: Mapped[str] = mapped_column(primary_key=True)
    n: Mapped[int]


class Message(Base):
    __tablename__ = "messages"
    id: Mapped[int] = mapped_column(primary_key=True)
    created: Mapped[float] = mapped_column(default=time.time)
    author: Mapped[str]
    body: Mapped[str]


class Named(BaseModel):
    name: str


class NewMessage(BaseModel):
    author: str
    body: str


class Count(BaseModel):
    count: int


class StoredMessage(BaseModel, from_attributes=True):
    id: int
    created: float
    author: str
    body: str


class Value(BaseModel):
    value: int


class Messages(BaseModel):
    value: list[StoredMessage]


def make_app(database: Path) -> FastAPI:
    engine = create_async_engine(f"sqlite+aiosqlite:///{database}")
    session_maker = async_sessionmaker(engine, expire_on_commit=False)
    _listen(engine.sync_engine)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        yield
        await engine.dispose()

    async def get_session() -> AsyncIterator[AsyncSession]:
        async with session_maker() as session:
            yield session

    Session = Annotated[AsyncSession, Depends(get_session)]
    app = FastAPI(lifespan=lifespan)

    @app.post("/add")
    async def add(asked: Named, session: Session) -> Value:
        counter = await session.get(Counter, asked.name)
        if counter is None:
            counter = Counter(name=asked.name, n=0)
            session.add(counter)
        counter.n += 1
        await session.commit()
        return Value(value=counter.n)

    @app.post("/total")
    async def total(session: Session) -> Value:
        return Value(value=await session.scalar(select(func.coalesce(func.sum(Counter.n), 0))) or 0)

    @app.post("/send")
    async def send(message: NewMessage, session: Session) -> Messages:
        session.add(Message(author=message.author, body=message.body))
        await session.flush()
        rows = (await session.scalars(select(Message).order_by(Message.id.desc()).limit(50))).all()
        answer = Messages(value=[StoredMessage.model_validate(row) for row in rows])
        await session.commit()
        return answer

    @app.post("/fill")
    async def fill(asked: Count, session: Session) -> None:
        for start in range(0, asked.count, 10_000):
            numbers = range(start, min(start + 10_000, asked.count))
            body = "message {}: the quick brown fox jumps over the lazy dog"
            await session.execute(insert(Message), [{"author": f"author {n % 100}", "body": body.format(n)} for n in numbers])
        await session.commit()

    @app.get("/empty")
    async def empty() -> Value:
        return Value(value=0)

    return app


def _listen(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _: object) -> None:
        connection.isolation_level = None  # the driver shall not begin transactions by itself
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def on_begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


if __name__ == "__main__":
    app = make_app(Path(sys.argv[1]) / "data.sqlite3")
    uvicorn.run(app, port=int(sys.argv[2]), log_level="warning", access_log=False, http="httptools", loop="uvloop")
