"""Contexts: what a function is given to work with. Which part of it is there depends on the kind of function.

A context only forwards to its `Host`; what may wait gives the host's own awaitable, without a frame in between. What a kind
of function has not is refused with the way round it, by properties: a class with a `__getattr__` finds every attribute ten times as slowly.
"""

from __future__ import annotations

import math
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal, NoReturn, TypeVar
from uuid import UUID

from interlock.errors import ContextError, QueryError, ScheduleError, SchemaError, ValueRefused
from interlock.sdk.auth import Identity
from interlock.sdk.conversion import lower_arguments
from interlock.sdk.fetch import Fetch
from interlock.sdk.host import Document, FunctionInfo, Host, Job, Metrics
from interlock.sdk.log import Log
from interlock.sdk.query import Query
from interlock.sdk.references import Reference, as_target

T = TypeVar("T")
_NO_WRITES = "a query cannot write. Make the function a @mutation, or let its caller do the writing."
_NO_DATABASE = (
    "an action has no transaction, so it has no database. Read with ctx.run_query(ref, …) and write with ctx.run_mutation(ref, …): "
    "each is a transaction of its own."
)
_MISSING_FROM_READER = {name: f"ctx.db.{name} is not there: {_NO_WRITES}" for name in ("insert", "patch", "replace", "delete")}
_JOB_STATES = ("pending", "running", "success", "failed", "canceled")
_MISSING_FROM_JOBS = {
    name: f"ctx.scheduler.{name} is not there: a query cannot change what is scheduled. Make the function a @mutation."
    for name in ("run_after", "run_at", "cancel")
}
_MISSING_FROM_QUERY = {
    "run_mutation": f"ctx.run_mutation is not there: {_NO_WRITES}",
    "run_action": "ctx.run_action is not there: a query cannot reach the world outside. Call the action from an @action or the client.",
    "fetch": "ctx.fetch is not there: a query cannot reach the world outside. Fetch in an @action, and store with ctx.run_mutation.",
}
_MISSING_FROM_MUTATION = {
    "run_action": "ctx.run_action is not there: an action cannot be undone with the mutation. "
    "Schedule it, ctx.scheduler.run_after(0, ref, …): it runs when the mutation has committed.",
    "fetch": "ctx.fetch is not there: a mutation may run twice, and cannot take back what it told others. "
    "Fetch in an @action, started after the commit by ctx.scheduler.run_after(0, ref, …).",
}
_MISSING_FROM_ACTION = {
    "db": f"ctx.db is not there: {_NO_DATABASE}",
    "metrics": f"ctx.metrics is not there: {_NO_DATABASE}",
}
_NO_AUTH = "ctx.auth is not there: a component is never told who is calling. Let the app look, and pass what is needed as an argument."
_NO_FILES = "ctx.storage is not there: this version of Interlock keeps no files."


def _refusal(message: str) -> property:
    """What stands where something is missing."""

    def refuse(self: Any) -> NoReturn:
        raise ContextError(self._host.function.name, message)

    return property(refuse)


def _without(missing: Mapping[str, str]) -> Callable[[type[T]], type[T]]:
    """A class that refuses these names, which type checkers do not see."""

    def refuse(owner: type[T]) -> type[T]:
        for name, message in missing.items():
            setattr(owner, name, _refusal(message))
        return owner

    return refuse


@_without(_MISSING_FROM_READER)
class DatabaseReader:
    """The tables of the running instance, to read."""

    __slots__ = ("_host", "_pages")

    def __init__(self, host: Host) -> None:
        self._host = host
        self._pages = 0

    def get(self, id: str) -> Awaitable[Document | None]:
        """The document of this id, or None."""
        return self._host.get(id)

    def get_many(self, ids: Iterable[str]) -> Awaitable[list[Document | None]]:
        """The documents of these ids in their order, None for each that is not there. In a sandbox they cross together."""
        if isinstance(ids, str | bytes):
            raise ValueRefused("ids", "must be a list of ids. For a single one there is ctx.db.get(id).")
        return self._host.get_many(list(ids))

    def query(self, table: str) -> Query:
        """Begin a read of a table: `.index(…)`, `.order(…)`, `.filter(…)`, then what to give back."""
        if not isinstance(table, str):
            raise QueryError(repr(table), _no_table_name(table))
        return Query(self, table)

    def normalize_id(self, table: str, text: str) -> Awaitable[str | None]:
        """`text` if it is an id of this table, or None. Whether the document exists is not looked at."""
        if not isinstance(table, str):
            raise QueryError(repr(table), _no_table_name(table))
        return self._host.normalize_id(table, text)


class DatabaseWriter(DatabaseReader):
    """The tables of the running instance, to read and to write."""

    __slots__ = ()

    def insert(self, table: str, document: Mapping[str, Any]) -> Awaitable[str]:
        """Store a new document, and give its id."""
        if not isinstance(table, str):
            raise SchemaError(repr(table), "", "", _no_table_name(table))
        return self._host.insert(table, document)

    def patch(self, id: str, fields: Mapping[str, Any]) -> Awaitable[None]:
        """Set fields of a document; one that is set to UNSET is removed."""
        return self._host.patch(id, fields)

    def replace(self, id: str, document: Mapping[str, Any]) -> Awaitable[None]:
        """Give a document other fields; its id and creation time stay."""
        return self._host.replace(id, document)

    def delete(self, id: str) -> Awaitable[None]:
        """Remove a document."""
        return self._host.delete(id)


@_without(_MISSING_FROM_JOBS)
class JobReader:
    """The scheduled calls of the running instance, to look at."""

    __slots__ = ("_host",)

    def __init__(self, host: Host) -> None:
        self._host = host

    def get(self, job_id: str) -> Awaitable[Job | None]:
        """The job, or None when there is none, or no longer."""
        return self._host.job(job_id)

    def list(self, state: Literal["pending", "running", "success", "failed", "canceled"] | None = None) -> Awaitable[list[Job]]:
        """The jobs, of one state if given."""
        if state is not None and state not in _JOB_STATES:
            raise ScheduleError("scheduler.list", f"no job is in the state {state!r}; they are {', '.join(_JOB_STATES)}.")
        return self._host.jobs(state)


class Scheduler(JobReader):
    """The scheduled calls of the running instance. In a mutation they are planned and cancelled with its commit."""

    __slots__ = ()

    def run_after(self, seconds: float | timedelta, ref: Reference | str, /, **args: Any) -> Awaitable[str]:
        """Call a function in so many seconds. Gives the job's id."""
        delay = _number(seconds.total_seconds() if isinstance(seconds, timedelta) else seconds)
        if delay is None or not 0 <= delay < math.inf:
            raise ScheduleError(_named(ref), f"run_after takes a number of seconds, 0 or more, not {_shown(seconds)}")
        return self._host.schedule(None, delay, as_target(ref), lower_arguments(args))

    def run_at(self, when: float | datetime, ref: Reference | str, /, **args: Any) -> Awaitable[str]:
        """Call a function at a time: milliseconds since the epoch, as ctx.now() counts, or a datetime with a time zone.

        A time that has passed is now.
        """
        if isinstance(when, datetime):
            if when.tzinfo is None:
                raise ScheduleError(_named(ref), f"run_at takes a datetime with a time zone, not {when}: add tzinfo=timezone.utc")
            when = when.timestamp() * 1000.0
        when_ms = _number(when)
        if when_ms is None or not math.isfinite(when_ms):
            raise ScheduleError(_named(ref), f"run_at takes milliseconds since the epoch or a datetime, not {_shown(when)}")
        return self._host.schedule(when_ms, None, as_target(ref), lower_arguments(args))

    def cancel(self, job_id: str) -> Awaitable[None]:
        """Stop a job from running; one that has run, or is gone, stays as it is."""
        return self._host.cancel(job_id)


class Auth:
    """Who is calling."""

    __slots__ = ("_host",)

    def __init__(self, host: Host) -> None:
        self._host = host

    async def identity(self) -> Identity | None:
        """The signed-in user, or None."""
        fields = await self._host.identity()
        return None if fields is None else Identity(fields)


@_without({"storage": _NO_FILES})
class Context:
    """What every function has. Its parts are made when first touched: most functions need few of them."""

    __slots__ = ("__weakref__", "_auth", "_host", "_log")

    _auth: Auth
    _log: Log

    def __init__(self, host: Host) -> None:
        self._host = host

    @property
    def log(self) -> Log:
        """The log of the function."""
        try:
            return self._log
        except AttributeError:
            self._log = Log(self._host)
        return self._log

    @property
    def auth(self) -> Auth:
        """Who is calling; not in a component."""
        try:
            return self._auth
        except AttributeError:
            function = self._host.function
        if function.component_path:
            raise ContextError(function.name, _NO_AUTH)
        self._auth = Auth(self._host)
        return self._auth

    @property
    def function(self) -> FunctionInfo:
        """Who is running."""
        return self._host.function

    @property
    def env(self) -> Mapping[str, Any]:
        """The declared variables."""
        return self._host.env

    @property
    def random(self) -> random.Random:
        """Randomness; in a query and a mutation from a seed of the transaction's own."""
        return self._host.random

    @property
    def transaction(self) -> str:
        """A name of the running transaction, random, at least 16 characters: the same for all functions, sub-transactions and triggers
        in it, another one when it runs again. In an action it names the action's run."""
        return self._host.transaction

    def now(self) -> float:
        """The time, in milliseconds since the epoch; in a query and a mutation it stands still."""
        return self._host.now()

    def uuid4(self) -> UUID:
        """A random UUID."""
        unique: UUID = self._host.uuid4()
        return unique

    def run_query(self, ref: Reference | str, /, **args: Any) -> Awaitable[Any]:
        """Call a query: in the same transaction, or from an action in one of its own."""
        return self._host.run("query", as_target(ref), lower_arguments(args))

    def function_handle(self, ref: Reference | str) -> Awaitable[str]:
        """A string that lets whoever is given it call the function."""
        return self._host.function_handle(as_target(ref))

    def revoke_handle(self, handle: str) -> Awaitable[None]:
        """End a handle: nobody can call by it any longer."""
        return self._host.revoke_handle(handle)


@_without(_MISSING_FROM_QUERY)
class QueryCtx(Context):
    """The context of a query: it reads."""

    __slots__ = ("_scheduler", "db")

    _scheduler: JobReader
    db: DatabaseReader

    def __init__(self, host: Host) -> None:
        self._host = host
        self.db = DatabaseReader(host)

    def metrics(self) -> Metrics:
        """What the transaction has used of its limits, and what remains."""
        return self._host.metrics()

    @property
    def scheduler(self) -> JobReader:
        """The scheduled calls of the instance."""
        try:
            return self._scheduler
        except AttributeError:
            self._scheduler = JobReader(self._host)
        return self._scheduler


@_without(_MISSING_FROM_MUTATION)
class MutationCtx(QueryCtx):
    """The context of a mutation: it reads and writes."""

    __slots__ = ()

    _scheduler: Scheduler
    db: DatabaseWriter

    def __init__(self, host: Host) -> None:
        self._host = host
        self.db = DatabaseWriter(host)

    def run_mutation(self, ref: Reference | str, /, **args: Any) -> Awaitable[Any]:
        """Call a mutation in a sub-transaction: if it raises, what it wrote and scheduled is undone, and the error may be caught."""
        return self._host.run("mutation", as_target(ref), lower_arguments(args))

    @property
    def scheduler(self) -> Scheduler:
        """The scheduled calls of the instance."""
        try:
            return self._scheduler
        except AttributeError:
            self._scheduler = Scheduler(self._host)
        return self._scheduler


@_without(_MISSING_FROM_ACTION)
class ActionCtx(Context):
    """The context of an action: it works with the world outside, and with the database through queries and mutations."""

    __slots__ = ("_scheduler",)

    _scheduler: Scheduler

    def run_mutation(self, ref: Reference | str, /, **args: Any) -> Awaitable[Any]:
        """Call a mutation, in a transaction of its own."""
        return self._host.run("mutation", as_target(ref), lower_arguments(args))

    def run_action(self, ref: Reference | str, /, **args: Any) -> Awaitable[Any]:
        """Call an action."""
        return self._host.run("action", as_target(ref), lower_arguments(args))

    def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | str | None = None,
        timeout: float | None = None,
    ) -> Fetch:
        """Send an HTTP request: `response = await ctx.fetch(url)`, or `async with ctx.fetch(url) as response` to read the body in pieces.

        It is the only network of a sandboxed component, and reaches allowed hosts alone. Redirects are followed. `timeout` in
        seconds is for all of it, and in pieces for each. A `body` that is a `str` is sent in UTF-8. Raises PermissionDenied,
        FetchFailed for a response that does not come, LimitExceeded for one that is too large; not for its status.
        """
        return Fetch(partial(self._host.fetch, url, method=method, headers=headers, body=body, timeout=timeout))

    @property
    def scheduler(self) -> Scheduler:
        """The scheduled calls of the instance."""
        try:
            return self._scheduler
        except AttributeError:
            self._scheduler = Scheduler(self._host)
        return self._scheduler


def _no_table_name(table: object) -> str:
    return f"a table is named by a string, not by {type(table).__name__}"


def _number(value: object) -> float | None:
    """A number of the author's as a float; None for what is none, or is too large for one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _shown(value: object) -> str:
    """A refused value, short: the repr of an int may have thousands of digits."""
    return "a number with so many digits" if isinstance(value, int) and abs(value) > 10**30 else repr(value)


def _named(ref: Reference | str) -> str:
    return as_target(ref).name
