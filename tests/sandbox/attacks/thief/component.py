"""Tries everything that a component could, on the host that runs it and on the component beside it."""

import asyncio
import json
import os
import select
import signal
import struct
import sys
import time
from contextlib import suppress
from typing import Any

from interlock import ActionCtx, Component, MutationCtx, PaginationOptions, QueryCtx, Schema, Table, reference
from interlock.sandbox.frames import encode

component = Component(
    "thief",
    schema=Schema(loot=Table({"text": str}), secrets=Table({"text": str}), large=Table({"data": str})),
    permissions=["net:mail.example"],
)
CHANNEL = 3
MIB = 1 << 20
VERSION = "one"


def unpatched(method: Any) -> Any:
    """What a method was before it was refused: nothing is out of reach in Python."""
    cells = getattr(method, "__closure__", None) or ()
    return next((cell.cell_contents for cell in cells if callable(cell.cell_contents)), method)


real_poll = unpatched(type(select.poll()).poll)


def write(data: bytes) -> None:
    """Past everything of the SDK, onto the channel."""
    while data:
        try:
            data = data[os.write(CHANNEL, data) :]
        except BlockingIOError:
            real_poll(select.poll(), 1)


async def stay(seconds: float) -> None:
    """Waits, where functions are told that nothing waits."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.get_running_loop().create_future()


def frame(*parts: Any) -> None:
    write(encode(list(parts)))


def raw(body: bytes) -> None:
    write(struct.pack(">I", len(body)) + body)


def op(call: int | str, operation: int, method: str, args: list[Any], steps: Any = ()) -> None:
    frame("op", call, operation, method, 0, args, list(steps))


def ret(call: int, value: Any, steps: Any = ()) -> None:
    frame("ret", call, 0, value, list(steps))


def exc(call: int, told: list[Any]) -> None:
    frame("exc", call, 0, told, [])


def own_number() -> int:
    return int(sys.modules["interlock.sandbox.worker.running"].Worker.running().number)


async def ask(ctx: Any, method: str, *args: Any) -> Any:
    """An operation that the SDK would not let through, asked as the SDK asks."""
    return await ctx._host.ask(method, *args)


@component.mutation
async def look_for_nothing(ctx: MutationCtx, ids: int, times: int) -> int:
    """Look for documents that are not there, so many in one breath."""
    id = await ctx.db.insert("loot", {"text": "gone"})
    await ctx.db.delete(id)
    return sum([len(await ask(ctx, "show", [id] * ids, 1)) for _ in range(times)])


# What belongs to others


@component.query
async def read_by_id(ctx: QueryCtx, id: str) -> Any:
    return await ctx.db.get(id)


@component.mutation
async def change_by_id(ctx: MutationCtx, id: str) -> None:
    await ctx.db.patch(id, {"text": "stolen"})


@component.mutation
async def replace_by_id(ctx: MutationCtx, id: str) -> None:
    await ctx.db.replace(id, {"text": "stolen"})


@component.mutation
async def delete_by_id(ctx: MutationCtx, id: str) -> None:
    await ctx.db.delete(id)


@component.query
async def scan_a_table_of_the_same_name(ctx: QueryCtx) -> Any:
    return [row["text"] async for row in ctx.db.query("secrets")]


@component.mutation
async def keep_a_secret(ctx: MutationCtx) -> str:
    return await ctx.db.insert("secrets", {"text": "kept"})


@component.query
async def page_of_secrets(ctx: QueryCtx) -> str:
    return (await ctx.db.query("secrets").paginate(PaginationOptions(num_items=1))).continue_cursor


@component.query
async def version(ctx: QueryCtx) -> str:
    return VERSION


@component.query
async def scan_by_any_name(ctx: QueryCtx, table: str) -> Any:
    return await ask(ctx, "scan", [table, "by_creation_time", [], None, False], None)


@component.query
async def go_on_with_a_cursor(ctx: QueryCtx, cursor: str) -> Any:
    return (await ctx.db.query("secrets").paginate(PaginationOptions(num_items=1, cursor=cursor))).page


@component.query
async def call_by_name(ctx: QueryCtx, name: str) -> Any:
    return await ctx.run_query(reference(name))


@component.mutation
async def change_by_name(ctx: MutationCtx, name: str) -> Any:
    return await ctx.run_mutation(reference(name))


@component.query
async def call_by_target(ctx: QueryCtx, name: str, mount: str, handle: str) -> Any:
    return await ask(ctx, "run", "query", [name, mount, handle, False, None, None, False], {})


@component.mutation
async def schedule_by_name(ctx: MutationCtx, name: str) -> Any:
    return await ctx.scheduler.run_after(0, reference(name))


@component.mutation
async def cancel_a_job(ctx: MutationCtx, id: str) -> Any:
    await ctx.scheduler.cancel(id)


@component.query
async def look_at_a_job(ctx: QueryCtx, id: str) -> Any:
    found = await ctx.scheduler.get(id)
    return None if found is None else found.name


@component.query
async def list_jobs(ctx: QueryCtx) -> Any:
    return [job.name for job in await ctx.scheduler.list()]


@component.query
async def ask_who_is_there(ctx: QueryCtx) -> Any:
    return await ask(ctx, "identity")


OF_ANOTHER_KIND: dict[str, list[Any]] = {
    "write": ["insert", "loot", {"text": "in a query"}],
    "schedule": ["schedule", None, 3600, ["loot_something", "", "", False, None, None, False], {}],
    "fetch": ["fetch", "https://mail.example", "GET", {}, None, None],
}


@component.query
async def in_a_query(ctx: QueryCtx, name: str) -> Any:
    return await ask(ctx, *OF_ANOTHER_KIND[name])


@component.mutation
async def in_a_mutation(ctx: MutationCtx, name: str) -> Any:
    return await ask(ctx, *OF_ANOTHER_KIND[name])


@component.action
async def in_an_action(ctx: ActionCtx, name: str) -> Any:
    return await ask(ctx, *OF_ANOTHER_KIND[name])


@component.mutation
async def loot_something(ctx: MutationCtx, text: str = "honest") -> str:
    return await ctx.db.insert("loot", {"text": text})


@component.query
async def looted(ctx: QueryCtx) -> list[str]:
    return [row["text"] async for row in ctx.db.query("loot")]


# Frames that lie


LIES: dict[str, Any] = {
    "an operation that there is not": lambda n: op(n, 900, "__class__", []),
    "an operation of the host's object": lambda n: op(n, 900, "close", []),
    "arguments of another number": lambda n: op(n, 900, "get", [1, 2, 3]),
    "a scan that was never opened": lambda n: op(n, 900, "fetch_rows", [0, 10]),
    "a negative scan": lambda n: op(n, 900, "fetch_rows", [-1, 10]),
    "a count without measure": lambda n: frame("use", n, 0, 1 << 62),
    "a range that is none": lambda n: op(n, 900, "scan", [["loot", "by_id", [["_id"]], None, False], None]),
    "a target that is none": lambda n: op(n, 900, "run", ["query", ["a", "b"], {}]),
    "limits that are none": lambda n: op(n, 900, "run", ["query", ["looted", "", "", False, {"x": 1}, None, False], {}]),
    "a number that is a string": lambda n: op(str(n), 900, "get", ["x"]),
    "a number without end": lambda n: raw(b'["ret",' + b"9" * 100_000 + b",0,1]"),
    "an operation to drop that is none": lambda n: frame("drop", n, ["x"]),
    "a frame that is not JSON": lambda n: raw(b"hello"),
    "a frame that is no list": lambda n: raw(b'{"t":"op"}'),
    "an empty frame": lambda n: raw(b""),
    "an empty list": lambda n: raw(b"[]"),
    "a name that there is not": lambda n: frame("sudo", n),
    "bytes that are no text": lambda n: raw(b'["ret",1,0,"\xff\xfe"]'),
    "depth without end": lambda n: raw(b"[" * 500_000 + b"]" * 500_000),
    "a length of two gigabytes": lambda n: write(struct.pack(">I", (1 << 31) - 1)),
    "a length of four gigabytes": lambda n: write(b"\xff\xff\xff\xff" + b"x" * 1000),
    "a confinement that failed after all": lambda n: frame("refused", "no seccomp; write isolation=inline"),
    "other layers than it has": lambda n: frame("hello", {"seccomp": "none at all"}, 1),
    "to be loaded once more": lambda n: frame("loaded", None),
    "a manifest of its own making": lambda n: frame("loaded", {"permissions": ["net:*"]}),
    "an error of an operation that there was not": lambda n: exc(n, ["op", 900, []]),
    "an error in no known way": lambda n: exc(n, ["sudo"]),
    "a flood for calls that are over": lambda n: [op(1 << 40, 1, "get", ["x"]) for _ in range(2000)],
    "a flood of answers nobody waits for": lambda n: [ret(1 << 40, None) for _ in range(2000)],
    "early steps that are no list": lambda n: frame("did", n, 7, 0.0),
    "early steps without end": lambda n: frame("did", n, [["again", "", ""]] * 50_001, 0.0),
    "early steps that hold much": lambda n: raw(b'["did",%d,[["patch","x",{"text":"%b"}]],0.0]' % (n, b"x" * (17 << 20))),
    "a time that is none": lambda n: frame("did", n, [], -1.0),
    "random bytes": lambda n: write(bytes(range(1, 255)) * 40),
}


@component.mutation
async def lie(ctx: MutationCtx, name: str) -> str:
    await ctx.db.insert("loot", {"text": "before the lie"})
    LIES[name](own_number())
    await stay(5)
    return "got through"


def described(*told: str) -> str:
    """What is no value, as it crosses."""
    return json.dumps({"$strange": told})


def nested_keys(depth: int) -> str:
    """A dict whose key is one that no dict can have, and so on: the first has a backslash in it."""
    told = json.dumps("\\")
    for _ in range(depth):
        told = f'{{"$strange":["dict",[[{told},1]]]}}'
    return told


DESCRIBED = {
    "keys within keys": nested_keys(200),
    "too deep, many times": f"[{','.join([described('deep')] * 50_000)}]",
    "objects of many classes": f"[{','.join([described('object', 'A', 'a')] * 50_000)}]",
    "a number without end": described("int", "f" * 100_000),
}


@component.query
async def describe(ctx: QueryCtx, name: str) -> Any:
    raw(f'["ret",{own_number()},0,{DESCRIBED[name]},[]]'.encode())
    await stay(5)
    return "got through"


@component.query
async def answer_by_hand(ctx: QueryCtx, value: Any) -> int:
    ret(own_number(), value)
    await stay(5)
    return 1


@component.mutation
async def answer_twice(ctx: MutationCtx) -> int:
    ret(own_number(), 1)
    ret(own_number(), 2)
    return 3


@component.mutation
async def go_on_after_the_end(ctx: MutationCtx) -> str:
    async def later() -> None:
        for _ in range(200):
            await stay(0)
            op(number, 900, "insert", ["loot", {"text": "after the end"}])

    number = own_number()
    globals()["kept"] = asyncio.ensure_future(later())
    return "done"


@component.mutation
async def write_for_another_call(ctx: MutationCtx) -> str:
    for number in range(1, 200):
        if number != own_number():
            op(number, 900, "insert", ["loot", {"text": "in the name of another call"}])
    await stay(0.05)
    return "done"


@component.query
async def wait(ctx: QueryCtx, seconds: float) -> str:
    await stay(seconds)
    return "waited"


STEPS: dict[str, Any] = {
    "an honest write": lambda id: ["patch", id, {"text": "stolen"}],
    "a write to the document of another": lambda id: ["patch", id, {"text": "stolen"}],
    "a new document in the place of another's": lambda id: ["insert", id, {"text": "stolen"}],
    "a new document under no id": lambda id: ["insert", "stolen", {"text": "stolen"}],
    "that it has to run again, without end": lambda id: ["again", None, None],
    "rows that it was never shown": lambda id: ["scan", '[["loot","by_creation_time",[],[],false],-1]', "0" * 32],
    "rows of an index that there is not": lambda id: ["scan", '[["loot","by_nothing",[],[],false],-1]', "0" * 32],
    "a step that is none": lambda id: ["drop", "loot"],
    "a step of the wrong shape": lambda id: ["scan", 1, 2, 3],
    "a scan that is no text": lambda id: ["scan", 1, "0" * 32],
    "a scan that cannot be read": lambda id: ["scan", "[" * 5_000, "0" * 32],
    "a scan that is too long": lambda id: ["scan", '[["loot","by_creation_time",[],[],false],-1]' + " " * 10_000, "0" * 32],
    "a scan that is none": lambda id: ["scan", "[[1,2],3]", "0" * 32],
    "a scan of no rows": lambda id: ["scan", '[["loot","by_creation_time",[],[],false],"many"]', "0" * 32],
    "a step that is no list": lambda id: "patch",
}


@component.mutation
async def step(ctx: MutationCtx, name: str, id: str) -> str:
    """Pretends to have done something by itself, each time that it runs."""
    await ctx.db.insert("loot", {"text": "before the step"})
    ret(own_number(), "got through", [STEPS[name](id)])
    await stay(5)
    return "got through"


@component.mutation
async def step_early(ctx: MutationCtx, name: str, id: str) -> str:
    """The same while it goes on: told as often as an honest worker may."""
    await ctx.db.insert("loot", {"text": "before the step"})
    for _ in range(20):
        frame("did", own_number(), [STEPS[name](id)], 0.0)
    ret(own_number(), "got through")
    await stay(5)
    return "got through"


@component.mutation
async def put_in_the_place_of(ctx: MutationCtx, id: str) -> str:
    """A document that it has already."""
    ret(own_number(), "got through", [["insert", id, {"text": "another"}]])
    await stay(5)
    return "got through"


@component.query
async def step_in_a_query(ctx: QueryCtx, early: bool) -> str:
    if early:
        frame("did", own_number(), [["patch", "x", {}]], 0.0)
    ret(own_number(), "got through", [] if early else [["patch", "x", {}]])
    await stay(5)
    return "got through"


HALF = struct.pack(">I", 1_000_000) + b"["


@component.mutation
async def half_a_frame(ctx: MutationCtx) -> str:
    write(HALF)
    await stay(5)
    return "got through"


@component.mutation
async def pretend_to_be_the_engine(ctx: MutationCtx) -> str:
    await ctx.db.insert("loot", {"text": "again and again"})
    exc(own_number(), ["raised", 1, ["own", "WriteConflict", ["f", "t", ["a"], "b"], "", []]])
    await stay(5)
    return "got through"


@component.mutation
async def write_past_the_sdk(ctx: MutationCtx, text: str) -> str:
    """The same by hand, as it may be done: the canary of what is written by hand as it may not."""
    op(own_number(), 900, "insert", ["loot", {"text": text}])
    await stay(0.02)
    return "done"


@component.mutation
async def answer_and_go_on(ctx: MutationCtx) -> int:
    """Told before the answer, the answer, and told after it, in one crossing."""
    held: list[bytes] = []
    for parts in (
        ["op", own_number(), 900, "insert", 0, ["loot", {"text": "before the answer"}], []],
        ["ret", own_number(), 0, 1, []],
        ["op", own_number(), 901, "insert", 0, ["loot", {"text": "after the answer"}], []],
    ):
        held.append(encode(parts))
    write(b"".join(held))
    return 2


@component.mutation
async def claim_to_be(ctx: MutationCtx, path: str) -> str:
    """Says in every place that it can reach that it is another instance."""
    from interlock.sdk.host import FunctionInfo

    worker = sys.modules["interlock.sandbox.worker.running"].Worker
    host = worker.running()
    host.function = FunctionInfo("put", "mutation", path)
    host._worker.path = path
    ctx.log.info("as another")
    await ctx.db.insert("secrets", {"text": "as another"})
    return ctx.function.component_path


# Numbers that are used twice, and more than was asked for


@component.mutation
async def wait_and_loot(ctx: MutationCtx, text: str) -> str:
    await stay(0.1)
    return await ctx.db.insert("loot", {"text": text})


def run_op(call: int, operation: int, kind: str, name: str, **args: Any) -> None:
    op(call, operation, "run", [kind, [name, "", "", False, None, None, False], args])


@component.mutation
async def fail_while_something_is_untold(ctx: MutationCtx, again: int) -> str:
    """Two operations of one number, the first of which goes on while the call fails."""
    run_op(own_number(), 900, "mutation", "wait_and_loot", text="after the failure")
    run_op(own_number(), 900 + again, "mutation", "wait_and_loot", text="after the failure")
    await stay(0.02)
    raise ValueError("failed")


@component.action
async def hold_much(ctx: ActionCtx, count: int, size: int) -> str:
    """Operations that wait behind others, each with large arguments."""
    for number in range(64):
        run_op(own_number(), 1000 + number, "query", "wait", seconds=2)
    for number in range(count):
        run_op(own_number(), 2000 + number, "query", "echo", text="x" * size)
    await stay(5)
    return "got through"


@component.query
async def echo(ctx: QueryCtx, text: str) -> int:
    return len(text)


@component.query
async def mark_pages_without_end(ctx: QueryCtx, count: int) -> str:
    for number in range(count):
        frame("page", own_number(), number, "x" * 99_000)
    return "got through"


@component.query
async def open_without_end(ctx: QueryCtx, count: int) -> str:
    for _ in range(count):
        await ask(ctx, "open", ["loot", "by_creation_time", [], None, False], None, None)
    return "got through"


@component.query
async def fail_without_end(ctx: QueryCtx, count: int) -> str:
    """Each error that it was told of is kept, in case that it raises it."""
    for number in range(count):
        op(own_number(), 1000 + number, "patch", ["x" * 10_000, {}])
    await stay(0.4)
    return "got through"


@component.mutation
async def step_without_end(ctx: MutationCtx, count: int, digest: str, early: bool) -> str:
    told = '[["secrets","by_creation_time",[],[],false],-1]'
    if early:
        frame("did", own_number(), [["scan", told, digest]] * count, 0.0)
    ret(own_number(), "got through", [] if early else [["scan", told, digest]] * count)
    await stay(5)
    return "got through"


@component.mutation
async def name_a_job_without_end(ctx: MutationCtx, size: int) -> str:
    return await ask(ctx, "schedule", None, 3600, ["loot_something", "", "", False, None, "x" * size, False], {})


@component.query
async def log_without_end(ctx: QueryCtx, lines: int) -> str:
    for _ in range(lines):
        frame("log", own_number(), "ERROR", "x" * 1000)
    return "got through"


@component.query
async def fail_in_colours(ctx: QueryCtx) -> None:
    exc(own_number(), ["raised", 1, ["own", "DocumentNotFound", ["\x1b[2J\x1b[31mpatch", "\u202e" + "x" * 100_000], "", []]])
    await stay(5)


@component.query
async def fail_with(ctx: QueryCtx, name: str) -> None:
    exc(own_number(), ["raised", 1, UNPRINTABLE[name]])
    await stay(5)


ENDLESS = 16**4_000
UNPRINTABLE: dict[str, Any] = {
    "a number without end": ["own", "DocumentNotFound", ["get", ENDLESS], "", []],
    "one in arguments of another number": ["own", "DocumentNotFound", [{"n": ENDLESS}], "", []],
    "one as an author's data": ["own", "AppError", [{"n": ENDLESS}], "", []],
    "one in a list": ["python", "ValueError", "ValueError", [[ENDLESS]], "x", []],
    "a place in code that is none": ["python", "SyntaxError", "SyntaxError", ["x", ["\x1b[2J", 1, "\x1b[2J", 5]], "x", []],
}


# What ends, blocks, or is too much


def overflow_the_stack() -> str:
    sys.setrecursionlimit(10**9)
    nested: Any = []
    for _ in range(300_000):
        nested = [nested]
    return repr(nested)


def hoard() -> None:
    hoard = []
    while True:
        hoard.append(bytearray(8 * MIB))


def stop_itself() -> None:
    import signal

    signal.raise_signal(signal.SIGSTOP)


def library() -> Any:
    return sys.modules["interlock.sandbox.confinement.libc"].library()


ENDS: dict[str, Any] = {
    "exit": lambda: os._exit(0),
    "abort": os.abort,
    "close the channel": lambda: os.close(CHANNEL),
    "stop itself": stop_itself,
    "read nowhere": lambda: library().strlen(1),
    "overflow the stack": overflow_the_stack,
    "hoard": hoard,
    "call a system call of another ABI": lambda: library().syscall(0x40000000 | 39),
}


@component.mutation
async def end(ctx: MutationCtx, how: str) -> str:
    await ctx.db.insert("loot", {"text": "before the end"})
    await ctx.db.query("loot").collect()
    ENDS[how]()
    return "got through"


@component.mutation
async def take_long(ctx: MutationCtx, how: str) -> str:
    await ctx.db.insert("loot", {"text": "before the deadline"})
    if how == "spin":
        while True:
            pass
    if how == "a regex":
        import re

        re.match(r"(a|aa)+$", "a" * 100 + "!")
    if how == "wait":
        await asyncio.Event().wait()
    if how == "refuse to stop":
        while True:
            try:
                await stay(5)
            except BaseException:
                pass
    if how == "a large number":
        return str((7**7**9) % 10)
    return "got through"


@component.query
async def a_gigabyte(ctx: QueryCtx) -> str:
    return "x" * (1 << 30)


@component.query
async def just_too_large(ctx: QueryCtx) -> str:
    return "x" * (17 * MIB)


def of_many_parts(call: int) -> bytes:
    return b'["ret",%d,0,[' % call + b"[]," * 6_000_000 + b"[]]]"


@component.query
async def many_parts(ctx: QueryCtx) -> Any:
    raw(of_many_parts(own_number()))
    await stay(5)


class Lies(dict):  # type: ignore[type-arg]
    """Shows whoever looks through it something else than what it has."""

    def items(self) -> Any:
        return [("a", 1)]

    def __iter__(self) -> Any:
        return iter(["b"])


@component.query
async def a_value_that_is_none(ctx: QueryCtx) -> Any:
    return Lies(a=object())


@component.action
async def ask_and_never_read(ctx: ActionCtx) -> str:
    for operation in range(1000, 6000):
        op(own_number(), operation, "run", ["query", ["a_megabyte", "", "", False, None, None, False], {}])
    time.sleep(5)  # noqa: ASYNC251
    return "got through"


@component.query
async def a_megabyte(ctx: QueryCtx) -> str:
    return "x" * MIB


FORGED = ("\x1b[2J\x1b]0;owned\x07 2026-01-01 ERROR all is lost\u202e", "\x1b[31mred\r\nERROR forged line")


@component.query
async def print_for_a_terminal(ctx: QueryCtx) -> None:
    print(FORGED[0])
    ctx.log.error(FORGED[1])
    frame("log", own_number(), "ERROR", FORGED[0])  # past what the SDK does to a line


@component.mutation
async def breed(ctx: MutationCtx) -> None:
    """A job that plans two more of itself."""
    await ctx.scheduler.run_after(0, breed)
    await ctx.scheduler.run_after(0, breed)


@component.action
async def ask_without_end(ctx: ActionCtx) -> None:
    while True:
        await asyncio.gather(*[ctx.run_query(looted) for _ in range(500)])


@component.action
async def ask_once(ctx: ActionCtx) -> str:
    cursor: str = await ctx.run_query(page_of_secrets)
    return cursor


@component.query
async def dear(ctx: QueryCtx, values: list[int | str | bool | None]) -> None:
    """It takes long to check what it is given."""


@component.action
async def ask_dearly_without_end(ctx: ActionCtx) -> None:
    values = [None] * 1_000
    while True:
        await asyncio.gather(*[ctx.run_query(dear, values=values) for _ in range(20)])


@component.mutation
async def fill(ctx: MutationCtx, count: int) -> None:
    for _ in range(count):
        await ctx.db.insert("hoard", {"text": "x"})


@component.action
async def fill_without_end(ctx: ActionCtx, count: int) -> None:
    while True:
        await ctx.run_mutation(fill, count=count)


@component.action
async def drop_without_end(ctx: ActionCtx) -> None:
    number = own_number()
    frames = b"".join([encode(["drop", number, n]) for n in range(64)])
    while True:
        write(frames)
        await asyncio.sleep(0)


# Calls that are run ahead


def is_ahead() -> bool:
    """Whether nobody has made this call yet."""
    return bool(sys.modules["interlock.sandbox.worker.running"].Worker.running().is_ahead)


def spend(seconds: float) -> None:
    """Time of a processor, on a clock that does not stand still, and whoever interrupts."""
    clock = unpatched(time.process_time)
    until = clock() + seconds
    while True:
        try:
            while clock() < until:
                pass
            return
        except BaseException:
            continue


@component.mutation
async def spin_and_talk(ctx: MutationCtx) -> None:
    """Never silent for long, and interrupted by nobody."""
    signal.setitimer(signal.ITIMER_PROF, 0)
    while True:
        spend(0.02)
        frame("drop", own_number(), 1)


AHEAD: dict[str, Any] = {
    "nothing": lambda n: None,
    "answers twice": lambda n: [ret(n, "made"), ret(n, "again"), exc(n, ["raised", 1, ["own", "AppError", ["x"], "", []]])],
    "goes on after its end": lambda n: [ret(n, "made"), op(n, 900, "insert", ["loot", {"text": "ahead"}]), frame("log", n, "INFO", "x")],
    "asks for something": lambda n: [op(n, 900, "insert", ["loot", {"text": "ahead"}]), frame("drop", n, 900), ret(n, "asked")],
    "says something": lambda n: [frame("log", n, "INFO", "x"), ret(n, "said")],
    "writes where it may not": lambda n: ret(n, "wrote", [["patch", "x", {"text": "ahead"}]]),
    "looked at what there is not": lambda n: frame("ret", n, -(1 << 62), "looked", [], 0),
    "fails": lambda n: exc(n, ["raised", 1, ["own", "AppError", ["x"], "", []]]),
    "ends its worker": lambda n: os._exit(3),
    "hangs up": lambda n: os.close(CHANNEL),
    "breaks the protocol": lambda n: frame("sudo", n),
    "answers much": lambda n: raw(b'["ret",%d,0,[' % n + b"[]," * 100_000 + b"[]],[],0]"),
    "takes time": lambda n: [spend(0.03), frame("ret", n, 0, "took", [], 0)],
}
"""What a call does while nobody has made it. Where somebody has, it does nothing."""


@component.mutation
async def do_ahead(ctx: MutationCtx, name: str) -> str:
    if is_ahead():
        AHEAD[name](own_number())
    return "made"


@component.mutation
async def wait_ahead(ctx: MutationCtx) -> str:
    if is_ahead():
        await asyncio.get_running_loop().create_future()
    return "made"


@component.query
async def write_in_a_query(ctx: QueryCtx, how: str, id: str = "") -> str:
    """By hand: as a step, or as an operation."""
    if how == "step":
        ret(own_number(), "got through", [["patch", id, {"text": "stolen"}]])
    else:
        await ask(ctx, *OF_ANOTHER_KIND[how])
    return "got through"


@component.mutation
async def have_a_query_write(ctx: MutationCtx, how: str, id: str = "") -> str:
    return await ctx.run_query(write_in_a_query, how=how, id=id)
