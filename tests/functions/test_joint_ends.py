"""Mutations that end at the same time: their triggers are told together, and nobody can tell but by the lists."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from tests.placed import placed

from interlock import AppError, Change, Component, MutationCtx, QueryCtx
from interlock.testing import TestBackend

from .rooms import running

pytestmark = pytest.mark.usefixtures("both_isolations")

SEVERAL = 40
REFUSED = -1


def tallied() -> Component:
    """Rows, and what their trigger has counted: how many rows, what they come to, in how many lists."""
    made = Component("app")

    @made.trigger("rows")
    async def count(ctx: MutationCtx, changes: list[Change]) -> None:
        if any(change.new is not None and change.new["n"] == REFUSED for change in changes):
            raise AppError("refused")
        more = sum((change.new is not None) - (change.old is not None) for change in changes)
        sums = sum((change.new or {"n": 0})["n"] - (change.old or {"n": 0})["n"] for change in changes)
        tally = await ctx.db.query("tallies").first()
        if tally is None:
            await ctx.db.insert("tallies", {"rows": more, "sum": sums, "lists": 1})
        else:
            fields = {"rows": tally["rows"] + more, "sum": tally["sum"] + sums, "lists": tally["lists"] + 1}
            await ctx.db.patch(tally["_id"], fields)

    @made.mutation
    async def add(ctx: MutationCtx, n: int) -> str:
        return await ctx.db.insert("rows", {"n": n})

    @made.mutation
    async def add_several(ctx: MutationCtx, ns: list[int]) -> None:
        for n in ns:
            await ctx.db.insert("rows", {"n": n})

    @made.mutation
    async def add_the_tally(ctx: MutationCtx) -> int:
        """Reads what the trigger writes, and then writes."""
        tally = await ctx.db.query("tallies").first()
        n: int = tally["rows"] if tally is not None else 0
        await ctx.db.insert("rows", {"n": n})
        return n

    @made.mutation
    async def add_how_many(ctx: MutationCtx) -> int:
        """Reads what others like it write, and then writes."""
        n = await ctx.db.query("rows").count()
        await ctx.db.insert("rows", {"n": n})
        return n

    @made.mutation
    async def raise_by(ctx: MutationCtx, id: str, n: int) -> None:
        row = await ctx.db.get(id)
        if row is not None:
            await ctx.db.patch(id, {"n": row["n"] + n})

    @made.mutation
    async def remove(ctx: MutationCtx, id: str) -> None:
        if await ctx.db.get(id) is not None:
            await ctx.db.delete(id)

    @made.query
    async def rows(ctx: QueryCtx) -> list[int]:
        return [row["n"] for row in await ctx.db.query("rows").collect()]

    @made.query
    async def tally(ctx: QueryCtx) -> dict[str, Any]:
        found = await ctx.db.query("tallies").first()
        return {"rows": 0, "sum": 0, "lists": 0} if found is None else {name: found[name] for name in ("rows", "sum", "lists")}

    return made


def tally_app() -> Component:
    return tallied()


async def check(rooms: Any) -> dict[str, int]:
    """The tally says what is there."""
    rows, tally = await rooms.query("rows"), await rooms.query("tally")
    assert (tally["rows"], tally["sum"]) == (len(rows), sum(rows))
    found: dict[str, int] = tally
    return found


async def test_what_several_have_written_is_told_in_few_lists_and_all_of_it_stands() -> None:
    async with running(placed(tally_app)) as rooms:
        await rooms.mutation("add", n=0)  # makes the tables
        ids = await asyncio.gather(*[rooms.mutation("add", n=n) for n in range(1, SEVERAL)])
        assert len(set(ids)) == SEVERAL - 1
        assert sorted(await rooms.query("rows")) == list(range(SEVERAL))
        tally = await check(rooms)
        assert tally["lists"] < SEVERAL // 2


async def test_a_lone_mutation_is_told_of_by_itself() -> None:
    async with running(placed(tally_app)) as rooms:
        for n in range(5):
            await rooms.mutation("add", n=n)
        assert (await check(rooms))["lists"] == 5


async def test_whose_trigger_raises_fails_and_nobody_else() -> None:
    async with running(placed(tally_app)) as rooms:
        await rooms.mutation("add", n=0)
        written = [REFUSED if n % 10 == 3 else n for n in range(SEVERAL)]
        ended = await asyncio.gather(*[rooms.mutation("add", n=n) for n in written], return_exceptions=True)
        assert [isinstance(end, AppError) for end in ended] == [n == REFUSED for n in written]
        assert sorted(await rooms.query("rows")) == [0, *[n for n in written if n != REFUSED]]
        await check(rooms)
        await asyncio.gather(*[rooms.mutation("add", n=1) for _ in range(3 * SEVERAL)])
        await check(rooms)


@pytest.mark.parametrize("name", ["add_the_tally", "add_how_many"])
async def test_who_has_read_what_another_writes_comes_after_it(name: str) -> None:
    async with running(placed(tally_app)) as rooms:
        await rooms.mutation("add", n=-5)
        others = [rooms.mutation("add", n=-5) for _ in range(SEVERAL // 2)]
        found = await asyncio.gather(*others, *[rooms.mutation(name) for _ in range(SEVERAL // 2)])
        counted = [n for n in found if isinstance(n, int)]
        assert len(set(counted)) == len(counted) == SEVERAL // 2
        await check(rooms)


async def test_changes_of_one_row_by_several_all_count() -> None:
    async with running(placed(tally_app)) as rooms:
        ids = [await rooms.mutation("add", n=0) for _ in range(3)]
        await asyncio.gather(*[rooms.mutation("raise_by", id=ids[n % 3], n=1) for n in range(SEVERAL)])
        assert sum(await rooms.query("rows")) == SEVERAL
        await check(rooms)


async def test_a_trigger_may_change_what_was_written_once_for_each() -> None:
    @placed
    def made() -> Component:
        made = Component("app")

        @made.trigger("rows")
        async def mark(ctx: MutationCtx, changes: list[Change]) -> None:
            for change in changes:
                row = await ctx.db.get(change.id)
                if change.kind == "insert" and change.new is not None and row is not None:
                    change.new["marks"] += 1  # its own copy
                    await ctx.db.patch(change.id, {"marks": row["marks"] + change.new["marks"]})
            if any(change.new is not None and change.new["n"] == REFUSED for change in changes):
                raise AppError("refused")

        @made.mutation
        async def add(ctx: MutationCtx, n: int) -> None:
            await ctx.db.insert("rows", {"n": n, "marks": 0})

        @made.query
        async def marks(ctx: QueryCtx) -> list[int]:
            return [row["marks"] for row in await ctx.db.query("rows").collect()]

        return made

    async with running(made) as rooms:
        await rooms.mutation("add", n=0)
        await asyncio.gather(*[rooms.mutation("add", n=n) for n in range(SEVERAL)])
        ended = await asyncio.gather(*[rooms.mutation("add", n=n if n else REFUSED) for n in range(SEVERAL)], return_exceptions=True)
        assert [type(end) for end in ended] == [AppError, *[type(None)] * (SEVERAL - 1)]
        assert await rooms.query("marks") == [1] * 2 * SEVERAL


async def test_who_changes_what_triggers_change_too_has_seen_it() -> None:
    @placed
    def made() -> Component:
        made = Component("app")

        @made.trigger("rows")
        async def count(ctx: MutationCtx, changes: list[Change]) -> None:
            for parent in await ctx.db.query("parents").collect():
                await ctx.db.patch(parent["_id"], {"rows": parent["rows"] + len(changes)})

        @made.mutation
        async def make(ctx: MutationCtx) -> str:
            return await ctx.db.insert("parents", {"rows": 0, "last": 0})

        @made.mutation
        async def add(ctx: MutationCtx, parent: str) -> int:
            """Reads and changes what the triggers of all others change too."""
            found = await ctx.db.get(parent)
            assert found is not None
            n: int = found["rows"]
            await ctx.db.patch(parent, {"last": n})
            await ctx.db.insert("rows", {})
            return n

        return made

    async with running(made) as rooms:
        parents = [await rooms.mutation("make") for _ in range(SEVERAL)]
        await rooms.mutation("add", parent=parents[0])
        for _ in range(2):
            seen = await asyncio.gather(*[rooms.mutation("add", parent=parent) for parent in parents])
            assert len(set(seen)) == SEVERAL
        assert await rooms.mutation("add", parent=parents[0]) == 2 * SEVERAL + 1


async def test_who_gives_up_leaves_all_or_nothing() -> None:
    async with running(placed(tally_app)) as rooms:
        await rooms.mutation("add", n=0)
        for turns in range(12):
            tasks = [asyncio.create_task(rooms.mutation("add_several", ns=[1, 2])) for _ in range(SEVERAL)]
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in tasks[::3]:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            assert {type(end) for end in ended} <= {type(None), asyncio.CancelledError}
            await check(rooms)
        rows = await rooms.query("rows")
        assert rows.count(1) == rows.count(2) >= 12 * (SEVERAL - len(range(0, SEVERAL, 3)))


async def test_a_request_that_comes_twice_at_the_same_time_runs_once() -> None:
    async with running(placed(tally_app)) as rooms:
        await rooms.mutation("add", n=0)
        requests = [rooms.ask("mutation", "add", {"n": n}, session=("a-session", n)) for n in range(1, 11) for _ in range(2)]
        answers = [answer.value for answer in await asyncio.gather(*requests)]
        assert answers[::2] == answers[1::2]
        assert sorted(await rooms.query("rows")) == list(range(11))
        await check(rooms)


SIGNED = """
from interlock import Change, MutationCtx, QueryCtx, mutation, query, trigger


@trigger("notes")
async def sign(ctx: MutationCtx, changes: list[Change]) -> None:
    identity = await ctx.auth.identity()
    for change in changes:
        await ctx.db.insert("signatures", {"note": change.id, "by": identity.subject if identity else ""})


@mutation
async def write(ctx: MutationCtx, text: str) -> None:
    await ctx.db.insert("notes", {"text": text})


@query
async def signed(ctx: QueryCtx) -> list[list[str]]:
    return [[(await ctx.db.get(row["note"]) or {})["text"], row["by"]] for row in await ctx.db.query("signatures").collect()]
"""


@pytest.mark.one_isolation("inline", "who has called stays within the app, which is never in a sandbox")
async def test_a_trigger_that_asks_who_has_called_hears_it_of_each(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("from interlock import App\n\napp = App()\n")
    (tmp_path / "notes.py").write_text(SIGNED)
    async with TestBackend(tmp_path) as t:
        users = [t.with_identity(subject=f"user {n}", issuer="tests") for n in range(5)]
        await users[0].mutation("notes:write", text="user 0")
        await asyncio.gather(*[users[n % 5].mutation("notes:write", text=f"user {n % 5}") for n in range(SEVERAL)])
        signed = await t.query("notes:signed")
        assert len(signed) == SEVERAL + 1
        assert all(text == by for text, by in signed)


def ledger() -> Component:
    """What a trigger of its app is told, in a component of its own."""
    made = Component("ledger")

    @made.mutation
    async def book(ctx: MutationCtx, ns: list[int]) -> None:
        kept = await ctx.db.query("totals").first()
        if REFUSED in ns:
            raise AppError("refused")
        if kept is None:
            await ctx.db.insert("totals", {"rows": len(ns), "sum": sum(ns), "lists": 1})
        else:
            await ctx.db.patch(kept["_id"], {"rows": kept["rows"] + len(ns), "sum": kept["sum"] + sum(ns), "lists": kept["lists"] + 1})

    @made.query
    async def total(ctx: QueryCtx) -> list[int]:
        kept = await ctx.db.query("totals").first()
        return [0, 0, 0] if kept is None else [kept["rows"], kept["sum"], kept["lists"]]

    return made


BOOKED = """
from typing import Any

from interlock import Change, CommitTimestamp, MutationCtx, QueryCtx, components, mutation, query, trigger


@trigger("rows")
async def book(ctx: MutationCtx, changes: list[Change]) -> None:
    await ctx.run_mutation(components.ledger.book, ns=[change.new["n"] for change in changes if change.new is not None])


@mutation
async def add(ctx: MutationCtx, n: int) -> None:
    await ctx.db.insert("rows", {"n": n})


@mutation
async def add_after_a_look(ctx: MutationCtx) -> int:
    rows = (await ctx.run_query(components.ledger.total))[0]
    await ctx.db.insert("rows", {"n": rows})
    return rows


@mutation
async def set_level(ctx: MutationCtx, level: int) -> None:
    found = await ctx.db.query("levels").order("desc").first()
    assert found is None or found["level"] < level
    await ctx.db.insert("levels", {"level": level, "at": CommitTimestamp()})


@mutation
async def add_at_level(ctx: MutationCtx) -> None:
    found = await ctx.db.query("levels").order("desc").first()
    await ctx.db.insert("rows", {"n": found["level"], "at": CommitTimestamp()})


@query
async def history(ctx: QueryCtx) -> list[list[Any]]:
    # what happened, in the order of commits
    levels = [[row["at"], 0, row["level"]] for row in await ctx.db.query("levels").collect()]
    rows = [[row["at"], 1, row["n"]] for row in await ctx.db.query("rows").collect() if "at" in row]
    return sorted(levels + rows)


@query
async def total(ctx: QueryCtx) -> list[int]:
    return await ctx.run_query(components.ledger.total)


@query
async def there(ctx: QueryCtx) -> list[int]:
    return [row["n"] for row in await ctx.db.query("rows").collect()]
"""


@pytest.mark.parametrize("is_refused", [False, True])
async def test_a_trigger_that_calls_into_a_component_calls_it_once_for_several(tmp_path: Path, is_refused: bool) -> None:
    made = placed(ledger)
    (tmp_path / "app.py").write_text(f"from {made.module} import component\nfrom interlock import App\n\napp = App()\napp.use(component)\n")
    (tmp_path / "rows.py").write_text(BOOKED)
    async with TestBackend(tmp_path) as t:
        await t.mutation("rows:add", n=0)
        written = [REFUSED if is_refused and n % 20 == 7 else n for n in range(2 * SEVERAL)]
        adding = [t.mutation("rows:add", n=n) for n in written]
        looking = [t.mutation("rows:add_after_a_look") for _ in range(5)]
        ended = await asyncio.gather(*adding, *looking, return_exceptions=True)
        assert [isinstance(end, AppError) for end in ended] == [n == REFUSED for n in written] + [False] * 5
        assert len(set(ended[-5:])) == 5
        there = await t.query("rows:there")
        count, summed, lists = await t.query("rows:total")
        assert (count, summed) == (len(there), sum(there))
        assert is_refused or lists < SEVERAL


async def member(t: TestBackend) -> None:
    for _ in range(8):
        await t.mutation("rows:add_at_level")


async def test_who_has_read_what_an_outsider_changes_meanwhile_runs_again(tmp_path: Path) -> None:
    made = placed(ledger)
    (tmp_path / "app.py").write_text(f"from {made.module} import component\nfrom interlock import App\n\napp = App()\napp.use(component)\n")
    (tmp_path / "rows.py").write_text(BOOKED)
    async with TestBackend(tmp_path) as t:
        await t.mutation("rows:set_level", level=0)

        level = 0
        members = [asyncio.create_task(member(t)) for _ in range(12)]
        while not all([one.done() for one in members]):
            level += 1
            await t.mutation("rows:set_level", level=level)
            for _ in range(level * 337 % 1_500):
                await asyncio.sleep(0)
        await asyncio.gather(*members)
        history = await t.query("rows:history")
        assert len(history) == level + 1 + 12 * 8
        for _, is_row, n in history:
            if not is_row:
                level = n
            assert n == level
        assert (await t.query("rows:total"))[0] == 12 * 8


@pytest.mark.parametrize("seed", range(6))
async def test_any_mixture_leaves_what_its_tally_says(seed: int) -> None:
    chance = random.Random(seed)
    async with running(placed(tally_app)) as rooms:
        ids = [await rooms.mutation("add", n=n) for n in range(5)]

        async def caller(chance: random.Random) -> None:
            for _ in range(12):
                kind = chance.choice(("add", "add", "add", "add_several", "add_the_tally", "add_how_many", "raise_by", "remove", "refused"))
                match kind:
                    case "add":
                        ids.append(await rooms.mutation("add", n=chance.randrange(100)))
                    case "add_several":
                        await rooms.mutation("add_several", ns=[chance.randrange(100) for _ in range(chance.randrange(4))])
                    case "raise_by" | "remove":
                        await rooms.mutation(kind, **{"id": chance.choice(ids), **({"n": 3} if kind == "raise_by" else {})})
                    case "refused":
                        with pytest.raises(AppError):
                            await rooms.mutation("add_several", ns=[1, REFUSED])
                    case _:
                        await rooms.mutation(kind)

        await asyncio.gather(*[caller(random.Random(chance.random())) for _ in range(10)])
        await check(rooms)
