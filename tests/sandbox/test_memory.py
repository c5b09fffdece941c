"""What a worker remembers is never believed: every way in which it can be out of date, and what must come out all the same."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interlock import App, AppError, InterlockError, MutationCtx, PaginationOptions, SchemaError, components
from interlock.functions.caller import Caller
from interlock.sandbox import versions
from interlock.sandbox.frames import MADE_MAX
from interlock.sandbox.process import Process
from interlock.sdk.declarations import Isolation
from interlock.testing import TestBackend

ledger = components.ledger


async def bump(app: TestBackend, name: str = "a") -> Any:
    return await app.component("ledger").mutation("bump", name=name)


async def set_value(app: TestBackend, value: float, name: str = "a") -> None:
    """Another writer than the worker: the dashboard, an import, a node."""

    async def edit(ctx: MutationCtx) -> None:
        row = await ctx.db.query("counts").index("by_name", name=name).unique()
        if row is None:
            await ctx.db.insert("counts", {"name": name, "value": value})
        else:
            await ctx.db.patch(row["_id"], {"value": value})

    await app.run(edit, component="ledger")


async def operations(app: TestBackend) -> int:
    pool = (await app.opened()).dispatcher.runners.pool("ledger")
    assert pool is not None
    return pool.operations


async def calls(app: TestBackend) -> int:
    """How many its workers were sent."""
    pool = (await app.opened()).dispatcher.runners.pool("ledger")
    assert pool is not None
    return sum(process.calls_made for process in pool._processes)


async def test_a_function_that_finds_what_it_reads_asks_the_host_for_nothing(app: TestBackend) -> None:
    assert [await bump(app) for _ in range(2)] == [1, 2]
    before = await operations(app)
    assert [await bump(app) for _ in range(20)] == list(range(3, 23))
    assert await operations(app) == before
    assert await app.component("ledger").query("value", name="a") == 22


async def test_many_documents_cross_together_and_are_remembered(app: TestBackend) -> None:
    async def fill(ctx: MutationCtx) -> list[str]:
        return [await ctx.db.insert("counts", {"name": f"n{n}", "value": n}) for n in range(200)]

    ids = await app.run(fill, component="ledger")
    assert [await bump(app) for _ in range(2)] == [1, 2]
    at, wanted = app.component("ledger"), [*reversed(ids), "no id", ids[3]]
    expected = [*reversed(range(200)), None, 3]
    before = await operations(app)
    assert await at.mutation("values_at", ids=ids[:50]) == list(range(50))
    assert await operations(app) == before + 1
    assert await at.mutation("values_at", ids=wanted) == expected  # what is not there has to be asked for once more
    assert await operations(app) == before + 3
    assert await at.mutation("values_at", ids=wanted[:200]) == expected[:200]
    assert await operations(app) == before + 3
    await set_value(app, 7, "n5")
    assert await at.mutation("values_at", ids=ids[:7]) == [0, 1, 2, 3, 4, 7, 6]


async def test_a_query_of_its_own_finds_what_was_read_before_and_sees_what_others_wrote_since(app: TestBackend) -> None:
    at, id = app.component("ledger"), await id_of(app)
    assert [await at.query("value_at", id=id) for _ in range(2)] == [0, 0]
    before = await operations(app)
    assert await at.query("value_at", id=id) == 0
    assert await operations(app) == before
    await set_value(app, 7)
    assert [await at.query("value_at", id=id) for _ in range(3)] == [7, 7, 7]


async def test_a_mistake_and_an_insert_make_forget_what_they_are_about_and_nothing_else(app: TestBackend) -> None:
    assert [await bump(app, name) for name in "aabb"] == [1, 2, 1, 2]
    await set_value(app, 10)
    assert await bump(app, "a") == 11
    assert await bump(app, "c") == 1
    before = await operations(app)
    assert [await bump(app, name) for name in "ab"] == [12, 3]
    assert await operations(app) == before


async def id_of(app: TestBackend, name: str = "a") -> str:
    async def find(ctx: MutationCtx) -> str:
        row = await ctx.db.query("counts").index("by_name", name=name).unique()
        return row["_id"] if row is not None else await ctx.db.insert("counts", {"name": name, "value": 0})

    return str(await app.run(find, component="ledger"))


async def test_a_document_is_remembered_by_its_id_and_by_queries_within_the_transaction(app: TestBackend) -> None:
    id = await id_of(app)
    assert await app.component("ledger").mutation("bump_at", id=id) == 1
    before = await operations(app)

    async def turns(ctx: MutationCtx) -> list[Any]:
        return [
            await ctx.run_query(ledger.value_at, id=id),
            await ctx.run_mutation(ledger.bump_at, id=id),
            await ctx.run_query(ledger.value_at, id=id),
        ]

    assert [await app.mutation(turns) for _ in range(3)] == [[1, 2, 2], [2, 3, 3], [3, 4, 4]]
    assert await operations(app) == before
    await set_value(app, 100)
    assert await app.mutation(turns) == [100, 101, 101]

    async def remove(ctx: MutationCtx) -> None:
        await ctx.db.delete(id)

    await app.run(remove, component="ledger")
    assert await app.mutation(lambda ctx: ctx.run_query(ledger.value_at, id=id)) is None


async def test_a_query_within_a_transaction_that_read_from_memory_is_depended_on(app: TestBackend) -> None:
    id = await id_of(app)
    assert await app.component("ledger").mutation("bump_at", id=id) == 1
    seen = []

    async def slow(ctx: MutationCtx) -> None:
        seen.append(await ctx.run_query(ledger.value_at, id=id))
        if len(seen) == 1:
            await set_value(app, 50)
        await ctx.run_mutation(ledger.bump, name="b")

    await app.mutation(slow)
    assert seen == [1, 50]


async def test_what_another_writer_wrote_is_seen(app: TestBackend) -> None:
    assert [await bump(app) for _ in range(3)] == [1, 2, 3]
    await set_value(app, 100)
    assert await bump(app) == 101


async def test_many_at_once_are_over_a_mistake_after_one_round(app: TestBackend) -> None:
    await asyncio.gather(*[bump(app) for _ in range(16)])
    await set_value(app, 100)
    await asyncio.gather(*[bump(app) for _ in range(16)])
    before = await operations(app)
    assert sorted(await asyncio.gather(*[bump(app) for _ in range(16)])) == list(range(117, 133))
    assert await operations(app) == before


async def test_a_call_that_is_cancelled_as_its_mistaken_answer_comes_does_not_begin_anew(
    app: TestBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [await bump(app) for _ in range(2)] == [1, 2]
    await set_value(app, 100)
    take_end = Process._take_end

    def taken(self: Process, frame: list[Any], is_well: bool, length: int) -> None:
        take_end(self, frame, is_well, length)
        monkeypatch.setattr(Process, "_take_end", take_end)
        bumping.cancel()

    monkeypatch.setattr(Process, "_take_end", taken)
    bumping = asyncio.ensure_future(bump(app))
    with pytest.raises(asyncio.CancelledError):
        await bumping
    assert await app.component("ledger").query("value", name="a") == 100
    assert await bump(app) == 101


async def test_a_phantom_in_a_remembered_range_is_seen(app: TestBackend) -> None:
    for name in "ac":
        await bump(app, name)
    at = app.component("ledger")
    assert [await at.mutation("names", above="a") for _ in range(3)] == [["c"]] * 3
    await set_value(app, 1, "b")
    assert await at.mutation("names", above="a") == ["b", "c"]

    async def remove(ctx: MutationCtx) -> None:
        row = await ctx.db.query("counts").index("by_name", name="c").unique()
        assert row is not None
        await ctx.db.delete(row["_id"])

    await app.run(remove, component="ledger")
    assert await at.mutation("names", above="a") == ["b"]


async def test_nobody_is_shown_a_write_that_was_undone_by_the_app(app: TestBackend) -> None:
    assert [await bump(app) for _ in range(2)] == [1, 2]

    async def fails(ctx: MutationCtx) -> None:
        assert await ctx.run_mutation(ledger.bump, name="a") == 3
        raise AppError("the app changes its mind")

    for _ in range(2):
        with pytest.raises(AppError):
            await app.mutation(fails)
    assert await app.component("ledger").query("value", name="a") == 2
    assert await bump(app) == 3


@pytest.mark.parametrize("function", ["bump_and_fail", "bump_below_and_fail"])
async def test_a_layer_that_was_dropped_within_a_transaction_is_not_remembered_in_it(app: TestBackend, function: str) -> None:
    assert [await bump(app) for _ in range(2)] == [1, 2]

    async def goes_on(ctx: MutationCtx) -> list[Any]:
        found = [await ctx.run_mutation(ledger.bump, name="a")]
        with pytest.raises(AppError, match="after the bump"):
            await ctx.run_mutation(ledger[function], name="a")
        return [*found, await ctx.run_mutation(ledger.bump, name="a")]

    assert await app.mutation(goes_on) == [3, 4]


async def test_an_error_that_rests_on_a_stale_read_is_not_raised(app: TestBackend) -> None:
    at = app.component("ledger")
    assert [await bump(app) for _ in range(3)] == [1, 2, 3]
    with pytest.raises(AppError):
        await at.mutation("refuse_if_above", name="a", most=2)
    await set_value(app, 0)
    assert await at.mutation("refuse_if_above", name="a", most=2) == "fine"


async def test_a_mutation_that_read_from_memory_still_conflicts(app: TestBackend) -> None:
    """It holds its transaction open, after its call, while another writer changes what it read: it has to run again."""
    assert [await bump(app) for _ in range(2)] == [1, 2]
    runs = 0

    async def slow(ctx: MutationCtx) -> Any:
        nonlocal runs
        runs += 1
        seen = await ctx.run_mutation(ledger.bump, name="a")
        if runs == 1:
            await set_value(app, 50)
        return seen

    assert await app.mutation(slow) == 51
    assert runs == 2


async def test_live_queries_follow_what_was_written_from_memory(app: TestBackend) -> None:
    assert [await bump(app) for _ in range(2)] == [1, 2]
    found = app.component("ledger").subscribe("value", name="a")
    assert await anext(found) == 2
    await bump(app)
    assert await anext(found) == 3
    await found.aclose()  # type: ignore[attr-defined]


async def test_two_workers_serve_one_transaction_as_one(ledger_installed: None, isolation: Isolation) -> None:
    made = App()
    made.use("ledger", workers=2)
    async with TestBackend(made, isolation=isolation) as app:

        async def four(ctx: MutationCtx) -> list[Any]:
            return [await ctx.run_mutation(ledger.bump, name="a") for _ in range(4)]

        assert await app.mutation(four) == [1, 2, 3, 4]
        await asyncio.gather(*[bump(app) for _ in range(40)])
        assert await app.component("ledger").query("value", name="a") == 44


@pytest.mark.parametrize("how", ["in turn", "gathered"])
async def test_all_calls_of_a_transaction_go_to_one_worker(ledger_installed: None, how: str) -> None:
    made = App()
    made.use("ledger", workers=2)

    async def three(ctx: MutationCtx) -> int:
        if how == "gathered":
            found = await asyncio.gather(*[ctx.run_mutation(ledger.remember, value=at) for at in range(3)])
        else:
            found = [await ctx.run_mutation(ledger.remember, value=at) for at in range(3)]
        return max(map(len, found))

    async with TestBackend(made, isolation="process") as app:
        assert await app.mutation(three) == 3


async def test_what_is_asked_of_the_host_comes_after_what_was_done_from_memory(app: TestBackend) -> None:
    at = app.component("ledger")
    assert [await at.mutation("bump_and_tick", name="a") for _ in range(3)] == [1, 2, 3]
    await set_value(app, 100)
    assert await at.mutation("bump_and_tick", name="a") == 101
    assert await at.query("ticked") == [1, 2, 3, 101]  # and nothing of the run that was mistaken
    assert await at.query("value", name="a") == 101


async def test_what_is_asked_side_by_side_comes_after_it_too(app: TestBackend) -> None:
    id = await id_of(app)
    await app.component("ledger").mutation("bump_at", id=id)
    assert await app.component("ledger").mutation("rename_and_look", id=id, name="z") == 1


async def test_what_was_done_before_a_mistake_is_undone_with_it(app: TestBackend) -> None:
    at = app.component("ledger")
    assert [await at.mutation("bump_each", names=["a", "b"]) for _ in range(2)] == [[1, 1], [2, 2]]
    await set_value(app, 100, "b")
    assert await at.mutation("bump_each", names=["a", "b"]) == [3, 101]
    assert await at.query("value", name="a") == 3


async def test_a_query_is_shown_nothing_that_is_not_on_disk(app: TestBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker knows better by then, and the disk is slow."""
    id = await id_of(app)
    at = app.component("ledger")
    assert [await at.mutation("bump_at", id=id) for _ in range(2)] == [1, 2]
    committer = (await app.opened()).engine.committer
    append, is_quick, is_asked = committer._storage.append, asyncio.Event(), asyncio.Event()

    async def slow(commits: Any) -> None:
        is_asked.set()
        await is_quick.wait()
        await append(commits)

    monkeypatch.setattr(committer._storage, "append", slow)
    bumped = asyncio.ensure_future(at.mutation("bump_at", id=id))
    await is_asked.wait()
    assert [await at.query("value_at", id=id) for _ in range(2)] == [2, 2]
    is_quick.set()
    assert await bumped == 3
    assert await at.query("value_at", id=id) == 3


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    plan=st.lists(
        st.sampled_from(["bump a", "bump b", "at a", "fail a", "undo a", "edit a", "edit b"]),
        min_size=1,
        max_size=30,
    ),
    at_once=st.integers(1, 8),
    workers=st.sampled_from([1, 2]),
)
async def test_whatever_overlaps_every_bump_counts_once(ledger_installed: None, plan: list[str], at_once: int, workers: int) -> None:
    """The model adds up: a bump is one, by name or by id, an edit a hundred, what fails or is undone nothing."""
    made = App()
    made.use("ledger", workers=workers)
    async with TestBackend(made, isolation="process") as app:

        async def fails(ctx: MutationCtx, name: str) -> None:
            await ctx.run_mutation(ledger.bump, name=name)
            raise AppError("undone")

        async def edit(ctx: MutationCtx, name: str) -> None:
            row = await ctx.db.query("counts").index("by_name", name=name).unique()
            if row is None:
                await ctx.db.insert("counts", {"name": name, "value": 100})
            else:
                await ctx.db.patch(row["_id"], {"value": row["value"] + 100})

        async def one(step: str) -> None:
            what, name = step.split()
            if what == "bump":
                await bump(app, name)
            elif what == "at":
                await app.component("ledger").mutation("bump_at", id=await id_of(app, name))
            elif what == "fail":
                with pytest.raises(AppError):
                    await app.component("ledger").mutation("bump_and_fail", name=name)
            elif what == "undo":
                with pytest.raises(AppError):
                    await app.run(lambda ctx: fails(ctx, name))
            else:
                await app.run(lambda ctx: edit(ctx, name), component="ledger")

        for start in range(0, len(plan), at_once):
            await asyncio.gather(*[one(step) for step in plan[start : start + at_once]])
        for name in "ab":
            expected = sum({"bump": 1, "at": 1, "edit": 100}.get(step.split()[0], 0) for step in plan if step.split()[1] == name)
            assert (await app.component("ledger").query("value", name=name) or 0) == expected


async def test_inserts_ask_for_nothing_once_the_table_is_known(app: TestBackend) -> None:
    await app.component("ledger").mutation("add_count", name="first")
    before = await operations(app)
    ids = [await app.component("ledger").mutation("add_count", name=f"n{n}") for n in range(10)]
    assert await operations(app) == before
    assert len(set(ids)) == 10
    assert await app.component("ledger").mutation("names", above="n") == [f"n{n}" for n in range(10)]
    assert await app.component("ledger").mutation("bump_at", id=ids[3]) == 2


async def test_what_a_call_has_added_the_next_one_knows(app: TestBackend) -> None:
    at = app.component("ledger")
    await at.mutation("add_count", name="first")
    names = [f"n{n:02}" for n in range(MADE_MAX + 2)]
    ids = await at.mutation("add_counts", names=names)
    before = await operations(app)
    assert [await at.mutation("bump_at", id=id) for id in ids[:MADE_MAX]] == [2] * MADE_MAX
    assert await at.query("value_at", id=ids[0]) == 2
    assert await operations(app) == before
    assert [await at.mutation("bump_at", id=id) for id in ids[MADE_MAX:]] == [2, 2]
    assert await operations(app) == before + 2, "of more than that it is not told"
    id = await at.mutation("add_count", name="last")
    await set_value(app, 7, "last")
    assert await at.mutation("bump_at", id=id) == 8


@pytest.mark.parametrize("how", ["patch", "replace"])
async def test_what_a_call_has_added_and_written_again_is_not_guessed(app: TestBackend, how: str) -> None:
    at = app.component("ledger")
    await at.mutation("add_count", name="first")
    id = await at.mutation("add_and_write", name="a", how=how)
    before = await calls(app)
    assert await at.mutation("bump_at", id=id) == 8
    assert await calls(app) == before + 1, "it need not run twice"


async def test_what_was_added_and_undone_is_not_there(app: TestBackend) -> None:
    at, added = app.component("ledger"), []
    await at.mutation("add_count", name="first")

    async def add_and_fail(ctx: MutationCtx) -> None:
        added.append(await ctx.run_mutation(ledger.add_count, name="never"))
        raise AppError("after it was added")

    with pytest.raises(AppError):
        await app.mutation(add_and_fail)
    assert await at.mutation("values_at", ids=added) == [None]
    assert await at.query("value_at", id=added[0]) is None


async def test_a_commit_timestamp_is_not_guessed(app: TestBackend) -> None:
    at = app.component("ledger")
    await at.mutation("stamp")
    id = await at.mutation("stamp")
    before = await calls(app)
    assert await at.mutation("stamped", id=id) > 0
    assert await calls(app) == before + 1, "it need not run twice"


async def test_whether_a_text_is_an_id_is_known_once_one_of_the_table_is(app: TestBackend) -> None:
    at = app.component("ledger")
    other = await at.mutation("write", n=1)
    id = await at.mutation("add_count", name="first")
    before = await operations(app)
    found = [await at.query("id_of_a_count", text=text) for text in (id, other, "no id", "", id.upper())]
    assert found == [id, None, None, None, None]
    assert await operations(app) == before


async def test_an_insert_that_is_refused_is_refused_with_the_hosts_words(app: TestBackend) -> None:
    await app.component("ledger").mutation("add_count", name="first")
    with pytest.raises(SchemaError, match="value"):
        await app.component("ledger").mutation("add_count", name="second", value="no number")
    with pytest.raises(InterlockError, match="bytes"):
        await app.component("ledger").mutation("add_count", name="x" * 2_000_000)
    assert await app.component("ledger").mutation("names", above="") == ["first"]


async def test_who_reads_what_the_worker_has_not_seen_yet_loses_against_nobody(app: TestBackend) -> None:
    first, second = await id_of(app), await id_of(app, "b")
    runs = 0

    async def both(ctx: MutationCtx, way: int) -> float:
        nonlocal runs
        runs += 1
        ids = (first, second) if way else (second, first)
        return float(await ctx.run_mutation(ledger.bump_both, first=ids[0], second=ids[1]))

    found = await asyncio.gather(*[app.mutation(both, way=n % 2) for n in range(16)])
    assert sorted(found) == [2.0 * n for n in range(1, 17)]
    assert runs == 16


async def test_who_has_waited_and_was_overtaken_runs_again_without_a_word_to_the_host(app: TestBackend) -> None:
    hot, *others = [await id_of(app, name) for name in "abcdefgh"]
    at = app.component("ledger")
    assert await at.mutation("bump_at", id=hot) == 1
    before = await calls(app)
    found = await asyncio.gather(*[at.mutation("bump_both", first=hot, second=other) for other in others])
    assert sorted(found) == [n + 1.0 for n in range(2, 9)]
    assert await calls(app) == before + len(others)


async def test_what_was_patched_unread_is_not_known_by_what_the_worker_believed(app: TestBackend) -> None:
    id, at = await id_of(app), app.component("ledger")
    assert await at.mutation("row_at", id=id) == ["a", 0]

    async def rename(ctx: MutationCtx) -> None:
        await ctx.db.patch(id, {"name": "renamed"})

    await app.run(rename, component="ledger")
    await at.mutation("put_value", id=id, value=5)
    assert await at.mutation("row_at", id=id) == ["renamed", 5]


@pytest.mark.parametrize("times", [1, 3])
async def test_what_a_call_below_has_changed_is_seen_after_a_patch(app: TestBackend, times: int) -> None:
    id, at = await id_of(app), app.component("ledger")
    for _ in range(times):
        assert await at.mutation("row_at", id=id) == ["a", 0]
        assert await at.mutation("name_after_a_call_below", id=id) == "by the call below"
        assert await at.mutation("row_at", id=id) == ["by the call below", 1]
        await at.mutation("rename", id=id, name="a")
        await at.mutation("put_value", id=id, value=0)


async def test_those_who_are_told_of_the_same_documents_at_once_are_not_mistaken(app: TestBackend) -> None:
    ids, at = [await id_of(app, name) for name in "abc"], app.component("ledger")
    assert await bump(app) == 1
    before = await calls(app)
    assert await asyncio.gather(*[at.mutation("values_at", ids=ids) for _ in range(8)]) == [[1, 0, 0]] * 8
    assert [await at.mutation("bump_at", id=id) for id in ids] == [2, 1, 1]
    assert await calls(app) == before + 8 + 3


async def test_when_the_host_forgets_its_versions_nobody_is_mistaken(app: TestBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "_DOCUMENTS_MAX", 3)
    ids, at = [await id_of(app, name) for name in "abcdefgh"], app.component("ledger")
    before = await calls(app)
    for round in range(1, 4):
        assert [await at.mutation("bump_at", id=id) for id in ids] == [round] * len(ids)
    assert await calls(app) == before + 3 * len(ids)


async def test_who_may_have_changed_its_arguments_is_given_them_anew(app: TestBackend) -> None:
    hot, *others = [await id_of(app, name) for name in "abcdefgh"]
    at = app.component("ledger")
    assert await at.mutation("bump_at", id=hot) == 1
    found = await asyncio.gather(*[at.mutation("bump_popped", ids=[hot, other]) for other in others])
    assert sorted(found) == [n + 1.0 for n in range(2, 9)]


async def test_what_an_outdated_run_has_left_behind_is_no_part_of_the_next_one(app: TestBackend) -> None:
    hot, first, second = [await id_of(app, name) for name in "abc"]
    at = app.component("ledger")
    assert await at.mutation("bump_at", id=hot) == 1
    before = await calls(app)
    found = await asyncio.gather(at.mutation("bump_and_leave", id=hot, first=first, second=second), at.mutation("bump_at", id=hot))
    assert found == [2, 2]
    assert await calls(app) == before + 2
    assert [await at.query("value_at", id=id) for id in (hot, first)] == [3, 0]
    assert await at.query("errors_of_what_was_left") == ["CallRefused"]


async def test_a_page_that_was_seen_whole_does_not_hold_a_transaction_to_its_snapshot(app: TestBackend) -> None:
    id = await id_of(app)
    await app.run(lambda ctx: ctx.db.insert("own", {"n": 0}))
    runs = 0

    async def slow(ctx: MutationCtx) -> Any:
        nonlocal runs
        runs += 1
        await ctx.db.query("own").paginate(PaginationOptions(num_items=10))
        if runs == 1:
            await set_value(app, 50)
        return await ctx.run_mutation(ledger.bump_at, id=id)

    assert await app.mutation(slow) == 51
    assert runs == 1


async def test_rows_that_nobody_has_looked_at_yet_hold_a_transaction_to_its_snapshot(app: TestBackend) -> None:
    id = await id_of(app)

    async def count_up(ctx: MutationCtx) -> None:
        rows = await ctx.db.query("own").collect()
        for row in rows:
            await ctx.db.patch(row["_id"], {"n": row["n"] + 1})
        for _ in range(2 - len(rows)):
            await ctx.db.insert("own", {"n": 0})

    await app.run(count_up)
    seen = []

    async def slow(ctx: MutationCtx) -> Any:
        rows = aiter(ctx.db.query("own"))
        first = await anext(rows)
        if not seen:
            await app.run(count_up)
        seen.append(await ctx.run_mutation(ledger.bump_at, id=id))
        return first["n"], (await anext(rows))["n"]

    first, second = await app.mutation(slow)
    assert first == second == 1


async def test_a_run_that_did_not_count_is_not_heard(app: TestBackend) -> None:
    async def add(ctx: MutationCtx) -> None:
        ctx.log.info("before")
        await ctx.run_mutation(ledger.bump_and_say, name="a")

    await bump(app)
    await bump(app)
    await set_value(app, 7)
    dispatcher = (await app.opened()).dispatcher
    answer = await dispatcher.run(add, caller=Caller(source="test"))
    assert answer.log_lines == ["[INFO] before", "[INFO] ledger: bumping a"]
