"""The rows of the scheduler's tables, and where they lie in their indexes.

`_jobs`: one planned call. `at` is when it is due while it is pending, when it began while it is running, when it ended
after that; so the one index by (state, at) serves what is due, what is listed and what is to be cleaned up. The holder of
a job is the instance that planned it and has the row in its own table.

`_job_args`: what of a job's arguments is too long for its row, in parts.

`_crons`: one declared cron, by name. `job` is its one job that has not ended, `time` the time of the schedule that this
job stands for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NotRequired

from interlock.engine import Interval, Table, TableSpec, Transaction
from interlock.sdk.host import Job
from interlock.values import after_values, decode_key, dumps, encode_id, encode_key, fields_from, loads

Row = dict[str, Any]

JOBS, JOB_ARGS, CRONS = "_jobs", "_job_args", "_crons"
BY_STATE, BY_NAME = "by_state", "by_name"
EVERYTHING = Interval(b"", None)
PENDING, RUNNING = "pending", "running"
LIVE = (PENDING, RUNNING)
CALLED = ("component", "function", "args")  # what a row calls
ENDED = ("success", "failed", "canceled")

PART_CHARACTERS = 250_000  # at most four bytes each: a document holds at most 1 MiB
_PENDING_KEY = encode_key(PENDING)
_ENDED_KEYS = tuple(encode_key(state) for state in ENDED)

_job_fields = fields_from(
    {
        "component": str,  # of the function, seen from the holder; with a slash before it, from the app
        "function": str,
        "args": str,  # wire JSON, for arguments may be deeper than documents; the first part of it
        "parts": NotRequired[int],  # how many further ones there are
        "asked": float,
        "state": str,
        "at": float,
        "began": NotRequired[float],  # of an action; a mutation's job is running in its own transaction alone
        "error": NotRequired[str],
        "handle": NotRequired[str],
        "label": NotRequired[str],
        "cron": NotRequired[str],
    }
)
_cron_fields = fields_from(
    {
        "name": str,
        "every": float | None,
        "cron": str | None,
        "timezone": str,
        "catch_up": str,
        "component": str,
        "function": str,
        "args": str,
        "job": str,
        "time": float,
    }
)


def system_tables(component_path: str) -> list[TableSpec]:
    """The tables that the scheduler needs in one instance, for the deploy."""
    return [
        TableSpec(component_path, JOBS, _job_fields, indexes={BY_STATE: ("state", "at")}),
        TableSpec(component_path, JOB_ARGS, fields_from({"text": str})),
        TableSpec(component_path, CRONS, _cron_fields, indexes={BY_NAME: ("name",)}),
    ]


def in_state(state: str, *, since: float | None = None, until: float | None = None) -> Interval:
    """The keys of the jobs in a state, `since` and `until` (both included) bounding their `at`."""
    prefix = encode_key(state)
    start = prefix if since is None else prefix + encode_key(since)
    return Interval(start, after_values(prefix if until is None else prefix + encode_key(until)))


def due_of(key: bytes) -> float | None:
    """When the job is due whose key in `by_state` this is; None for one that is not pending."""
    if not key.startswith(_PENDING_KEY):
        return None
    due, _ = decode_key(key, len(_PENDING_KEY))
    return float(due)


def is_pending(key: bytes | None) -> bool:
    """Whether this is the key in `by_state` of a job that is pending."""
    return key is not None and key.startswith(_PENDING_KEY)


def has_ended(key: bytes | None) -> bool:
    """Whether this is the key in `by_state` of a job that has ended."""
    return key is not None and key.startswith(_ENDED_KEYS)


def named(name: str) -> Interval:
    """The keys of the cron of a name."""
    prefix = encode_key(name)
    return Interval(prefix, after_values(prefix))


def seen_from(holder: str, component_path: str) -> str:
    """A component path as rows of `holder` keep it: an instance that is renamed still finds itself and its children."""
    if component_path == holder:
        return ""
    if not holder:
        return component_path
    return component_path[len(holder) + 1 :] if component_path.startswith(holder + "/") else "/" + component_path


def path_of(holder: str, component: str) -> str:
    """The component path that a row of `holder` means."""
    if component.startswith("/"):
        return component[1:]
    return "/".join(part for part in (holder, component) if part)


def table_in(tx: Transaction, holder: str, name: str) -> Table:
    """A table of the scheduler's."""
    table = tx.table(holder, name)
    assert table is not None, "every deployed instance has the scheduler's tables"
    return table


def encode_args(args: Mapping[str, Any]) -> str:
    return dumps(dict(args)).decode()


def insert_job(tx: Transaction, holder: str, row: Row, id: str | None = None) -> str:
    """Put in a job; gives its id. `args` may be longer than a row."""
    first, *rest = [row["args"][at : at + PART_CHARACTERS] for at in range(0, len(row["args"]), PART_CHARACTERS)]
    jobs = table_in(tx, holder, JOBS)
    if not rest:
        return tx.insert(jobs, row, id=id)[0]
    id, _ = tx.insert(jobs, {**row, "args": first, "parts": len(rest)}, id=id)
    table = table_in(tx, holder, JOB_ARGS)
    for part, text in enumerate(rest):
        tx.insert(table, {"text": text}, id=_part_id(table, id, part))
    return id


async def delete_job(tx: Transaction, holder: str, row: Mapping[str, Any]) -> None:
    """Remove a job and all of its arguments."""
    await tx.delete(table_in(tx, holder, JOBS), row["_id"])
    for part in range(row.get("parts", 0)):
        table = table_in(tx, holder, JOB_ARGS)
        await tx.delete(table, _part_id(table, row["_id"], part))


async def args_of(tx: Transaction, holder: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a job, all parts together."""
    text = row["args"]
    for part in range(row.get("parts", 0)):
        table = table_in(tx, holder, JOB_ARGS)
        more = await tx.get(table, _part_id(table, row["_id"], part))
        assert more is not None, "the parts of a job's arguments come and go with its row"
        text += more["text"]
    args: dict[str, Any] = loads(text)
    return args


def _part_id(table: Table, job_id: str, part: int) -> str:
    return encode_id(table.number, hashlib.sha256(f"{job_id} {part}".encode()).digest()[:16])


def as_job(holder: str, row: Mapping[str, Any], args: dict[str, Any], *, asker: str | None) -> Job:
    """A row as functions see it. `asker` None gives the function's whole path."""
    path = path_of(holder, row["component"])
    name = row["function"] if path == asker or not path else f"{path}/{row['function']}"
    return Job(row["_id"], row["state"], name, args, row["asked"], row.get("error"))
