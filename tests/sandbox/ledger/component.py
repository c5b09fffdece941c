"""Writes what it is told, and does everything that a function can do."""

import asyncio
import contextlib
import enum
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from interlock import (
    UNSET,
    ActionCtx,
    AppError,
    CallRefused,
    Change,
    CommitTimestamp,
    Component,
    MutationCtx,
    PaginationOptions,
    QueryCtx,
    Range,
    Schema,
    Table,
    components,
)

from .helpers import twice

seen: list[Any] = []
component = Component(
    "ledger",
    schema=Schema(
        entries=Table({"n": float, "text": str}).index("by_n", "n"),
        notes=Table({"of": str, "kind": str}),
        ticks=Table({"at": float}),
        things=Table({"any": Any}).index("by_any", "any"),
        counts=Table({"name": str, "value": float}).index("by_name", "name"),
        stamps=Table({"at": CommitTimestamp()}),
    ),
    env={"UNIT": str | None},
    permissions=[],
)


class Broke(AppError):
    pass


@component.trigger("entries")
async def note(ctx: MutationCtx, change: Change) -> None:
    if change.new is not None and change.new["text"] == "refused by a trigger":
        raise AppError("refused")
    await ctx.db.insert("notes", {"of": change.id, "kind": change.kind})


@component.mutation
async def write(ctx: MutationCtx, n: float, text: str = "by a handle") -> str:
    return await ctx.db.insert("entries", {"n": n, "text": text})


@component.mutation
async def write_and_fail(ctx: MutationCtx, n: float) -> None:
    await ctx.db.insert("entries", {"n": n, "text": "never"})
    await ctx.scheduler.run_after(0, write, n=n, text="never")
    raise Broke({"n": n})


@component.mutation
async def catch(ctx: MutationCtx, n: float) -> str:
    await ctx.db.insert("entries", {"n": n, "text": "kept"})
    try:
        await ctx.run_mutation(write_and_fail, n=n + 1)
    except Broke as error:
        return f"caught {error.data}"
    return "not caught"


@component.query
async def all_entries(ctx: QueryCtx) -> list[Any]:
    return [(entry["n"], entry["text"]) for entry in await ctx.db.query("entries").index("by_n").collect()]


@component.query
async def notes(ctx: QueryCtx) -> list[str]:
    return [row["kind"] async for row in ctx.db.query("notes")]


@component.query
async def between(ctx: QueryCtx, low: float, high: float) -> list[float]:
    found = await ctx.db.query("entries").index("by_n", n=Range(gt=low, lte=high)).order("desc").filter(lambda row: row["n"] != 3).collect()
    return [row["n"] for row in found]


@component.query
async def page(ctx: QueryCtx, options: PaginationOptions) -> Any:
    return (await ctx.db.query("entries").index("by_n").paginate(options)).map(lambda row: row["n"])


@component.query
async def gathered(ctx: QueryCtx, ids: list[str]) -> list[Any]:
    return [row and row["n"] for row in await asyncio.gather(*[ctx.db.get(id) for id in ids])]


@component.query
def facts(ctx: QueryCtx) -> Any:
    return {
        "now": ctx.now(),
        "unit": ctx.env["UNIT"],
        "path": ctx.function.component_path,
        "name": ctx.function.name,
        "used": ctx.metrics().used["documents_read"],
        "twice": twice(2),
    }


@component.query
async def echo(ctx: QueryCtx, value: Any) -> Any:
    return value


@component.query
async def odd(ctx: QueryCtx, what: str) -> Any:
    return _odd(ctx, what)


def _odd(ctx: QueryCtx, what: str) -> Any:
    import datetime
    import uuid

    return {
        "object": object(),
        "set": {1},
        "coroutine": ctx.db.get,
        "deep": _deep(),
        "key": {1: 2},
        "dollar": {"$x": 1},
        "big": 2**70,
        "uuid": {"a": [uuid.UUID(int=1)]},
        "member": (Colour.RED,),
        "member of str": [OfText.A],
        "date": datetime.date(2026, 1, 1),
        "moment": [datetime.datetime(2026, 1, 1)],
        "dataclass": {"a": Point(1)},
        "below": OrderedDict(a=uuid.UUID(int=1)),
        "bytes": [bytearray(b"x"), memoryview(b"y")],
        "surrogate": ["\ud800"],
        "surrogate key": [{"\ud800": 1}],
    }[what]


class Colour(enum.Enum):
    RED = "red"


class OfText(enum.StrEnum):
    A = "a"


@dataclass
class Point:
    x: float


@component.mutation
async def large(ctx: MutationCtx, mib: int, where: str) -> Any:
    value = "x" * (mib << 20)
    if where == "error":
        raise AppError({"value": value})
    if where == "cause":
        raise ValueError("short") from AppError([value])
    if where == "error below":
        return await ctx.run_mutation(large, mib=mib, where="error")
    if where == "result":
        return value
    if where == "argument":
        return await ctx.run_query(echo, value=value)
    return await ctx.db.insert("things", {"any": value})


@component.mutation
async def odd_elsewhere(ctx: MutationCtx, what: str, where: str) -> Any:
    value = _odd(ctx, what)
    if where == "error":
        raise AppError(value)
    if where == "argument":
        return await ctx.run_query(echo, value=value)
    if where == "job":
        return await ctx.scheduler.run_after(10, add_count, name="odd", value=value) and None
    if where == "document":
        await ctx.db.insert("things", {"any": value})
        return [row["any"] for row in await ctx.db.query("things").collect()]
    await ctx.db.query("things").index("by_any", any="00000000-0000-0000-0000-000000000001").collect()
    return [row["any"] for row in await ctx.db.query("things").index("by_any", any=value).collect()]


def _deep() -> Any:
    value: Any = 1
    for _ in range(300):
        value = [value]
    return value


@component.mutation
async def odd_write(ctx: MutationCtx, what: str) -> None:
    await ctx.db.insert("entries", {"n": {"object": object(), "set": {1}, "text": "x", "big": 2**70}[what], "text": "x"})


@component.query
async def fail(ctx: QueryCtx, how: str) -> None:
    if how == "app":
        raise AppError({"how": how})
    if how == "zero":
        print(1 / 0)
    if how == "own":
        raise OwnError("mine")
    if how == "exit":
        raise SystemExit(3)
    if how == "unique":
        await ctx.db.query("entries").unique()
    if how == "index":
        await ctx.db.query("entries").index("by_x", x=1).collect()


class OwnError(ValueError):
    pass


@component.mutation
async def hold(ctx: MutationCtx, handle: str, n: float) -> Any:
    from interlock import reference

    await ctx.db.insert("entries", {"n": n, "text": "before"})
    return await ctx.run_mutation(reference(handle), n=n)


@component.query
async def measure_beside_many(ctx: QueryCtx, count: int) -> float:
    async def measure() -> float:
        await asyncio.sleep(0)
        return ctx.metrics().used["documents_read"]

    measured, *_ = await asyncio.gather(measure(), *[ctx.run_query(drawn) for _ in range(count)])
    return measured


async def _attempt(code: str) -> str:
    """Runs what it is given, with `await` in it or not; `; ` ends a line too."""
    lines = "\n".join([f"    {line}" for line in code.replace("; ", "\n").split("\n")])
    made: dict[str, Any] = {}
    exec(f"async def attempted():\n{lines}\n", made)
    return str(await made["attempted"]())


@component.query
async def attempt(ctx: QueryCtx, code: str) -> str:
    return await _attempt(code)


@component.action
async def attempt_in_action(ctx: ActionCtx, code: str) -> str:
    return await _attempt(code)


@component.query
async def handle(ctx: QueryCtx) -> str:
    return await ctx.function_handle(write)


@component.mutation
async def later(ctx: MutationCtx, n: float) -> str:
    return await ctx.scheduler.run_after(10, write, n=n, text="later")


@component.query
async def job(ctx: QueryCtx, id: str) -> Any:
    found = await ctx.scheduler.get(id)
    return None if found is None else [found.state, found.name, found.args, len(await ctx.scheduler.list())]


@component.action
async def act(ctx: ActionCtx, n: float) -> list[Any]:
    await ctx.run_mutation(write, n=n, text="by an action")
    return await ctx.run_query(all_entries)


@component.mutation
async def say(ctx: MutationCtx, text: str) -> None:
    ctx.log.info("said %s", text)
    print("printed", text)


@component.mutation
async def remember(ctx: MutationCtx, value: Any) -> list[Any]:
    seen.append(value)
    return list(seen)


@component.mutation
async def update(ctx: MutationCtx, id: str, how: str) -> Any:
    if how == "patch":
        await ctx.db.patch(id, {"text": "patched"})
    if how == "unset":
        await ctx.db.patch(id, {"text": UNSET})
    if how == "replace":
        await ctx.db.replace(id, {"n": 9, "text": "replaced"})
    if how == "delete":
        await ctx.db.delete(id)
    return await ctx.db.get(id)


@component.query
async def spin(ctx: QueryCtx) -> None:
    while True:
        pass


@component.query
async def die(ctx: QueryCtx, code: int) -> None:
    import os

    os._exit(code)


@component.mutation
async def write_and_die(ctx: MutationCtx, n: float) -> None:
    import os

    await ctx.db.insert("entries", {"n": n, "text": "never"})
    await ctx.db.query("entries").collect()
    os._exit(1)


@component.mutation
async def write_through(ctx: MutationCtx, n: float, handle: str) -> str:
    from interlock import reference

    await ctx.db.insert("entries", {"n": n, "text": "through"})
    await ctx.run_mutation(reference(handle))
    return "done"


@component.action
async def wait(ctx: ActionCtx) -> str:
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        ctx.log.info("cancelled")
        raise
    return "slept"


@component.action
async def do_not_stop(ctx: ActionCtx) -> None:
    while True:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            continue


@component.query
async def flood(ctx: QueryCtx, lines: int) -> None:
    for line in range(lines):
        ctx.log.info("line %d", line)


@component.mutation
async def pid(ctx: MutationCtx) -> int:
    import os

    return os.getpid()


@component.query
async def drawn(ctx: QueryCtx) -> Any:
    return [ctx.random.random(), str(ctx.uuid4())]


@component.mutation
async def told_time_above(ctx: MutationCtx, name: str, most: float) -> float:
    value = await bump(ctx, name)
    return value if value <= most else ctx.now()


@component.mutation
async def draw_one(ctx: MutationCtx) -> float:
    return ctx.random.random()


child = Component("child", schema=Schema(marks=Table({"n": float})))


@child.mutation
async def mark(ctx: MutationCtx, n: float) -> int:
    await ctx.db.insert("marks", {"n": n})
    return await ctx.db.query("marks").count()


def _rusage() -> list[float]:
    try:
        import resource
    except ImportError:  # there is none
        return []
    return [*resource.getrusage(resource.RUSAGE_SELF)]


@component.mutation
async def clocks_and_draws(ctx: MutationCtx) -> dict[str, Any]:
    import datetime
    import gc
    import os
    import random
    import secrets
    import ssl
    import sys
    import time
    import tracemalloc
    import uuid

    natives = [sys.modules[os.name].urandom(4).hex(), ssl.RAND_bytes(4).hex()]
    return {
        "now": ctx.now(),
        "clocks": [time.time() * 1000, time.time_ns() / 1e6, time.monotonic() * 1000, datetime.datetime.now().timestamp() * 1000],
        "used": [
            list(os.times())[:4] if hasattr(os, "times") else [],
            _rusage()[:3],
            sys.getallocatedblocks(),
            [*gc.get_count(), *[number for row in gc.get_stats() for number in row.values()]],
            tracemalloc.get_traced_memory()[0],
        ],
        "told": time.asctime() == time.ctime(ctx.now() / 1000),
        "today": str(datetime.date.today()) == str(datetime.datetime.fromtimestamp(ctx.now() / 1000).date()),
        "draws": [
            random.random(),
            random.Random().random(),
            random.SystemRandom().random(),
            secrets.token_hex(4),
            os.urandom(4).hex(),
            *natives,
        ],
        "kernel": os.getrandom(4).hex() if hasattr(os, "getrandom") else "",
        "uuids": [str(uuid.uuid4()), str(uuid.uuid1()), str(uuid.uuid1())],
        "set": list({"one", "two", "three", "four"}),
    }


@component.mutation
async def run_once_more(ctx: MutationCtx) -> dict[str, Any]:
    """Reads, writes, draws, looks at the clock and says so: all that another attempt does anew."""
    import random
    import time

    drawn = random.random()
    ctx.log.info("drew %s", drawn)
    entries = len(await ctx.db.query("entries").collect())
    id = await ctx.db.insert("entries", {"n": entries, "text": "an attempt"})
    return {
        "drawn": [drawn, ctx.random.random(), str(ctx.uuid4())],
        "now": ctx.now(),
        "clock": time.time() * 1000,
        "entries": entries,
        "id": id,
    }


left_behind: list[Any] = []


@component.mutation
async def leave_a_task_behind(ctx: MutationCtx) -> None:
    async def burn() -> None:
        while True:  # noqa: ASYNC110 - it is to burn
            await asyncio.sleep(0)

    left_behind.append(asyncio.ensure_future(burn()))


@component.query
async def told_time(ctx: QueryCtx) -> float:
    import time

    return time.time()


@component.mutation
async def sleep(ctx: MutationCtx, how: str) -> None:
    import time

    await asyncio.sleep(0)
    if how == "time":
        time.sleep(1)  # noqa: ASYNC251 - that is what is refused
    await asyncio.sleep(1)


@component.action
async def real_time(ctx: ActionCtx) -> list[Any]:
    import time

    first, monotonic = time.time(), time.monotonic()
    await asyncio.sleep(0.01)
    return [time.time() > first, time.monotonic() > monotonic, first]


component.use(child)


@component.mutation
async def bump(ctx: MutationCtx, name: str) -> float:
    row = await ctx.db.query("counts").index("by_name", name=name).first()
    if row is None:
        await ctx.db.insert("counts", {"name": name, "value": 1})
        return 1
    await ctx.db.patch(row["_id"], {"value": row["value"] + 1})
    again = await ctx.db.query("counts").index("by_name", name=name).first()
    assert again is not None
    return float(again["value"])


@component.mutation
async def add_counts(ctx: MutationCtx, names: list[str]) -> list[str]:
    return [await ctx.db.insert("counts", {"name": name, "value": 1}) for name in names]


@component.mutation
async def add_and_write(ctx: MutationCtx, name: str, how: str) -> str:
    id = await ctx.db.insert("counts", {"name": name, "value": 1})
    if how == "patch":
        await ctx.db.patch(id, {"value": 7})
    elif how == "replace":
        await ctx.db.replace(id, {"name": name, "value": 7})
    return id


@component.query
async def id_of_a_count(ctx: QueryCtx, text: str) -> str | None:
    return await ctx.db.normalize_id("counts", text)


@component.mutation
async def stamp(ctx: MutationCtx) -> str:
    return await ctx.db.insert("stamps", {"at": CommitTimestamp()})


@component.mutation
async def stamped(ctx: MutationCtx, id: str) -> Any:
    row = await ctx.db.get(id)
    return None if row is None else row["at"]


@component.mutation
async def add_count(ctx: MutationCtx, name: str, value: Any = 1.0) -> str:
    """It reads nothing."""
    ctx.log.info(f"adding {name}")
    return await ctx.db.insert("counts", {"name": name, "value": value})


@component.mutation
async def bump_both(ctx: MutationCtx, first: str, second: str) -> float:
    return await bump_at(ctx, first) + await bump_at(ctx, second)


@component.mutation
async def bump_popped(ctx: MutationCtx, ids: list[str]) -> float:
    bumped = 0.0
    while ids:
        bumped += await bump_at(ctx, ids.pop(0))
    return bumped


runs: list[asyncio.Event] = []
left: list[asyncio.Task[None]] = []


@component.mutation
async def bump_and_leave(ctx: MutationCtx, id: str, first: str, second: str) -> float:
    """What its first run leaves behind goes on while the second waits."""
    row = await ctx.db.get(id)
    assert row is not None
    for before in runs:
        before.set()
    over = asyncio.Event()
    runs.append(over)

    async def late() -> None:
        await over.wait()
        await ctx.db.patch(first, {"value": 1_000})

    left.append(asyncio.create_task(late()))
    await ctx.db.get(first if len(runs) == 1 else second)
    await ctx.db.patch(id, {"value": row["value"] + 1})
    return float(len(runs))


@component.query
def errors_of_what_was_left(ctx: QueryCtx) -> list[str]:
    return [type(task.exception()).__name__ for task in left if task.done()]


@component.mutation
async def bump_and_say(ctx: MutationCtx, name: str) -> float:
    ctx.log.info(f"bumping {name}")
    return await bump(ctx, name)


@component.mutation
async def bump_and_ask(ctx: MutationCtx, name: str, how: str) -> float:
    """Every fourth time for more than it needs."""
    value = await bump(ctx, name)
    if value % 4 == 0:
        if how == "side by side":
            await asyncio.gather(*[ctx.db.normalize_id("elsewhere", name) for _ in range(20)])
        elif how == "standing still":
            ctx.metrics()
        else:
            for _ in range(20):
                ctx.log.info(f"bumping {name}")
    return value


@component.mutation
async def bump_at(ctx: MutationCtx, id: str) -> float:
    row = await ctx.db.get(id)
    assert row is not None
    await ctx.db.patch(id, {"value": row["value"] + 1})
    again = await ctx.db.get(id)
    assert again is not None
    return float(again["value"])


@component.mutation
async def put_value(ctx: MutationCtx, id: str, value: float) -> None:
    """It reads nothing."""
    await ctx.db.patch(id, {"value": value})


@component.mutation
async def rename(ctx: MutationCtx, id: str, name: str) -> None:
    """It reads nothing."""
    await ctx.db.patch(id, {"name": name})


@component.mutation
async def name_after_a_call_below(ctx: MutationCtx, id: str) -> str:
    """What it has read is changed by a call below it, and then by itself; what it finds then it does not look at again."""
    row = await ctx.db.get(id)
    assert row is not None
    await ctx.run_mutation(rename, id=id, name="by the call below")
    await ctx.db.patch(id, {"value": row["value"] + 1})
    again = await ctx.db.get(id)
    await write(ctx, 1.0)
    return str(again and again["name"])


@component.mutation
async def row_at(ctx: MutationCtx, id: str) -> list[Any]:
    row = await ctx.db.get(id)
    return [] if row is None else [row["name"], row["value"]]


@component.mutation
async def values_at(ctx: MutationCtx, ids: list[str]) -> list[float | None]:
    return [row and row["value"] for row in await ctx.db.get_many(ids)]


@component.query
async def value_at(ctx: QueryCtx, id: str) -> float | None:
    row = await ctx.db.get(id)
    return None if row is None else row["value"]


@component.mutation
async def bump_and_fail(ctx: MutationCtx, name: str) -> None:
    await bump(ctx, name)
    raise AppError("after the bump")


@component.mutation
async def bump_below_and_fail(ctx: MutationCtx, name: str) -> None:
    await ctx.run_mutation(bump, name=name)
    raise AppError("after the bump")


@component.mutation
async def bump_each(ctx: MutationCtx, names: list[str]) -> list[float]:
    return [await bump(ctx, name) for name in names]


@component.mutation
async def bump_each_and_fail(ctx: MutationCtx, names: list[str]) -> None:
    await bump_each(ctx, names)
    raise AppError("after the bumps")


@component.mutation
async def bump_and_echo(ctx: MutationCtx, name: str, length: int) -> None:
    """It goes on where what it asks for is refused."""
    await bump(ctx, name)
    with contextlib.suppress(CallRefused):
        await ctx.run_query(echo, value="x" * length)


@component.mutation
async def bump_and_echo_each(ctx: MutationCtx, names: list[str], length: int) -> None:
    await asyncio.gather(*[ctx.run_mutation(bump_and_echo, name=name, length=length) for name in names])


@component.mutation
async def tick_and_fill(ctx: MutationCtx, ids: list[str], count: int) -> None:
    """Many numbers, all after an insert."""
    await ctx.db.get_many(ids)
    await ctx.db.insert("ticks", {"at": 1})
    for id in ids:
        await ctx.db.patch(id, {"any": [number + 0.1234567890123 for number in range(count)]})


@component.action
async def bump_each_in_action(ctx: ActionCtx, names: list[str]) -> list[float]:
    return list(await ctx.run_mutation(bump_each, names=names))


@component.mutation
async def bump_and_tick_each(ctx: MutationCtx, names: list[str], asks: bool) -> list[float]:
    """With `asks`, how many ticks there are behind the values."""
    values = [await bump_and_tick(ctx, name) for name in names]
    return [*values, len(await ticked(ctx))] if asks else values


@component.mutation
async def bump_and_tick(ctx: MutationCtx, name: str) -> float:
    value = await bump(ctx, name)
    await ctx.db.insert("ticks", {"at": value})
    return value


@component.query
async def ticked(ctx: QueryCtx) -> list[float]:
    return [row["at"] async for row in ctx.db.query("ticks") if row["at"] < 1_000]  # none of the cron's


@component.mutation
async def rename_and_look(ctx: MutationCtx, id: str, name: str) -> int:
    for _ in range(100):
        await ctx.db.get(id)
    await ctx.db.patch(id, {"name": name})
    found = ctx.db.query("counts").index("by_name", name=name)
    return (await asyncio.gather(ctx.db.insert("ticks", {"at": 0}), found.count()))[1]


@component.mutation
async def refuse_if_above(ctx: MutationCtx, name: str, most: float) -> str:
    row = await ctx.db.query("counts").index("by_name", name=name).first()
    if row is not None and row["value"] > most:
        raise AppError(row["value"])
    return "fine"


@component.mutation
async def names(ctx: MutationCtx, above: str) -> list[str]:
    return [row["name"] for row in await ctx.db.query("counts").index("by_name", name=Range(gt=above)).collect()]


@component.query
async def value(ctx: QueryCtx, name: str) -> float | None:
    row = await ctx.db.query("counts").index("by_name", name=name).first()
    return None if row is None else row["value"]


@component.mutation
async def mark_below(ctx: MutationCtx, n: float) -> int:
    return await ctx.run_mutation(components.child.mark, n=n)


@component.query
async def ticks(ctx: QueryCtx) -> int:
    return await ctx.db.query("ticks").count()


@component.mutation(internal=True)
async def tick(ctx: MutationCtx) -> None:
    await ctx.db.insert("ticks", {"at": ctx.now()})


component.cron("ticking", every=60)(tick)
