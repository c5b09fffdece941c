"""Crons: declared rules that keep exactly one job each, which puts in its successor in the transaction that ends it.

So a cron that runs a mutation has run and is planned again, or neither; and no two runs of it overlap. A cron is known by
its instance and its name: deployed again with the same schedule it keeps its next time.
"""

from __future__ import annotations

from collections.abc import Sequence

from interlock.engine import Table, Transaction
from interlock.errors import MountError
from interlock.scheduler.rows import (
    BY_NAME,
    CALLED,
    CRONS,
    EVERYTHING,
    JOBS,
    LIVE,
    PART_CHARACTERS,
    PENDING,
    Row,
    encode_args,
    insert_job,
    named,
    table_in,
)
from interlock.scheduler.schedule import schedule_of
from interlock.sdk.declarations import CronDeclaration
from interlock.sdk.schedule import Schedule


def check_crons(component_path: str, crons: Sequence[CronDeclaration]) -> None:
    """Refuse schedules that cannot be. Raises MountError with the name of the cron."""
    for cron in crons:
        where = f'the mount "{component_path}"' if component_path else "the app"
        try:
            schedule_of(cron)
        except ValueError as error:
            raise MountError(where, f'cron "{cron.name}": {error}.') from None
        if len(encode_args(cron.args)) > PART_CHARACTERS:
            raise MountError(
                where, f'cron "{cron.name}": its arguments are too long.', "Store them in a table, and let the function read it."
            )


async def sync_crons(tx: Transaction, holder: str, declared: Sequence[CronDeclaration], now_ms: float) -> None:
    """Make an instance's crons what is declared. New ones are planned, removed ones deleted, changed schedules planned anew."""
    crons, jobs = table_in(tx, holder, CRONS), table_in(tx, holder, JOBS)
    wanted = {cron.name: cron for cron in declared}
    known = {row["name"]: row for row in await tx.scan(crons.indexes["by_creation_time"], EVERYTHING, False, None)}
    for name, row in known.items():
        if name not in wanted:
            await tx.delete(crons, row["_id"])
            await _drop_pending(tx, jobs, row["job"], now_ms)
    for name, cron in wanted.items():
        fields = _fields(cron)
        kept = known.get(name)
        if kept is None:
            time = schedule_of(cron).first(now_ms)
            job = _insert_job(tx, holder, fields, time, now_ms)
            tx.insert(crons, {**fields, "job": job, "time": time})
        else:
            await _update(tx, holder, kept, fields, schedule_of(cron), now_ms)


async def _update(tx: Transaction, holder: str, row: Row, fields: Row, schedule: Schedule, now_ms: float) -> None:
    crons, jobs = table_in(tx, holder, CRONS), table_in(tx, holder, JOBS)
    is_same_schedule = schedule.text == _schedule(row).text
    await tx.patch(crons, row["_id"], fields)
    job = await tx.get(jobs, row["job"])
    if job is None or job["state"] not in LIVE:
        # It ended without a successor: cancelled while it ran, when the process ended too.
        await put_successor(tx, holder, {**(job or {}), "_id": row["job"], "cron": row["name"]}, began_ms=now_ms, now_ms=now_ms)
        return
    if job["state"] != PENDING:
        return
    changes = {name: fields[name] for name in CALLED}
    if not is_same_schedule:
        time = schedule.first(now_ms)
        await tx.patch(crons, row["_id"], {"time": time})
        changes.update(asked=time, at=max(time, now_ms))
    await tx.patch(jobs, job["_id"], changes)


async def put_successor(tx: Transaction, holder: str, ended: Row, *, began_ms: float, now_ms: float) -> None:
    """Plan a cron's next run, in the transaction that ends the last one. Nothing happens if the cron is gone."""
    crons = table_in(tx, holder, CRONS)
    row = await _find(tx, crons, ended["cron"])
    if row is None or row["job"] != ended["_id"]:
        return
    schedule, time = _schedule(row), row["time"]
    if row["catch_up"] == "all":
        following = schedule.after(time)
    else:
        # "once": a run stands for every time up to its begin, so what was missed while it ran is run, once.
        following = schedule.after_all(time, max(time, began_ms if row["catch_up"] == "once" else now_ms))
    job = _insert_job(tx, holder, row, following, now_ms)
    await tx.patch(crons, row["_id"], {"job": job, "time": following})


async def postpone_missed(tx: Transaction, holder: str, job: Row, *, since_ms: float, now_ms: float) -> bool:
    """Whether a due job of a cron is for a missed time that is to be skipped; then it is moved to the next one.

    A time is missed when nobody looked at it, before `since_ms`, or when the next one has come as well.
    """
    crons = table_in(tx, holder, CRONS)
    row = await _find(tx, crons, job["cron"])
    if row is None or row["catch_up"] != "skip" or row["job"] != job["_id"]:
        return False
    schedule, time = _schedule(row), row["time"]
    if time >= since_ms and schedule.after(time) > now_ms:
        return False
    following = schedule.after_all(time, max(time, now_ms))
    await tx.patch(crons, row["_id"], {"time": following})
    await tx.patch(table_in(tx, holder, JOBS), job["_id"], {"asked": following, "at": following})
    return True


async def _find(tx: Transaction, crons: Table, name: str) -> Row | None:
    rows = await tx.scan(crons.indexes[BY_NAME], named(name), False, 1)
    return rows[0] if rows else None


async def _drop_pending(tx: Transaction, jobs: Table, job_id: str, now_ms: float) -> None:
    job = await tx.get(jobs, job_id)
    if job is not None and job["state"] == PENDING:
        await tx.patch(jobs, job_id, {"state": "canceled", "at": now_ms})


def _insert_job(tx: Transaction, holder: str, cron: Row, time: float, now_ms: float) -> str:
    called = {name: cron[name] for name in CALLED}
    return insert_job(tx, holder, {**called, "asked": time, "state": PENDING, "at": max(time, now_ms), "cron": cron["name"]})


def _fields(cron: CronDeclaration) -> Row:
    return {
        "name": cron.name,
        "every": cron.every,
        "cron": cron.cron,
        "timezone": cron.timezone,
        "catch_up": cron.catch_up,
        "component": cron.mount,
        "function": cron.function,
        "args": encode_args(cron.args),
    }


def _schedule(row: Row) -> Schedule:
    return schedule_of(
        CronDeclaration(row["name"], row["every"], row["cron"], row["timezone"], row["catch_up"], {}, row["function"], row["component"])
    )
