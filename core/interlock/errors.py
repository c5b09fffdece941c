"""Every error that a user of Interlock can meet.

    InterlockError
    ├── AppError                 the author's own: its data reaches the client as it is
    ├── ArgumentError            a function was called with arguments that it does not take
    ├── ReturnError              a function returned what its annotation does not allow
    ├── ValueRefused             something that is not a value of Interlock, or too large a one
    ├── SchemaError              a document, table or index that does not fit its schema
    ├── DocumentNotFound         a write to a document that is not there
    ├── QueryError               a read that cannot be done: unknown index, range with a gap, used twice
    │   └── InvalidCursor        a page cursor of another query, or none at all
    ├── FunctionNotFound         no such function for this caller
    │   └── FunctionHandleNotFound  a handle that was revoked, or whose function is gone
    ├── WrongFunctionKind        a mutation called as a query, and the like
    ├── CallRefused              a call that this context may not make: depth, nesting, a caller's context
    │   └── ContextError          something of `ctx` that a function of this kind, or of a component, has not
    ├── ScheduleError            a job that cannot be planned or cancelled
    ├── WriteConflict            a mutation met its deadline before its turn came
    ├── LimitExceeded            which limit, how much, the limit
    ├── DeadlineExceeded         a function took longer than it may
    ├── FunctionAborted          a function tried to end more than itself
    ├── FetchFailed              a fetch that no whole response came to
    ├── PermissionDenied         what was tried, what would allow it
    ├── Unauthenticated          a token or key that was refused
    ├── ComponentCrashed         the process of a component ended under a call
    ├── MountError               what stands in the way of a start
    └── StorageUnavailable       the data cannot be read or written now

The class name is the code, and stable; the message is for people. `args` are the facts, so each error pickles as it is.
"""

from __future__ import annotations

from typing import Any


class InterlockError(Exception):
    """Root of the tree at the top of this file."""

    @property
    def code(self) -> str:
        """The stable name that programs compare."""
        return type(self).__name__


class AppError(InterlockError):
    """An error of the author's own. `data` is any value; it reaches the caller and the client unchanged, also in production."""

    def __init__(self, data: Any = None) -> None:
        super().__init__(data)
        self.data = data

    def __str__(self) -> str:
        return self.data if isinstance(self.data, str) else repr(self.data)


class _Mismatch(InterlockError):
    _what = ""

    def __init__(self, function: str, path: str, expected: str, got: str) -> None:
        super().__init__(function, path, expected, got)
        self.function, self.path, self.expected, self.got = function, path, expected, got

    def __str__(self) -> str:
        place = f"{self._what} {self.path.lstrip('.')}".rstrip()
        if self.got == "nothing":
            return f"{self.function}: {place} is missing; it must be {self.expected}."
        return f"{self.function}: {place} must be {self.expected}, got {self.got}."


class ArgumentError(_Mismatch):
    """Arguments that the function does not take. Nothing was run. `path` is like `.items[3].price`."""

    _what = "argument"


class ReturnError(_Mismatch):
    """A result that the return annotation does not allow. Nothing was written."""

    _what = "result"


class ValueRefused(InterlockError):
    """Something that is not a value of Interlock: another type, a bad field name, out of range, too large or too deep."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path or 'value'}: {self.reason}"


class SchemaError(InterlockError):
    """A table, index or document that does not fit its schema. `id` and `field` are empty where the table itself is meant."""

    def __init__(self, table: str, id: str, field: str, reason: str) -> None:
        super().__init__(table, id, field, reason)
        self.table, self.id, self.field, self.reason = table, id, field, reason

    def __str__(self) -> str:
        if not self.table:
            return self.reason  # a Table that is still being declared, and has no name yet
        place = f'table "{self.table}"' + (f", document {self.id}" if self.id else "") + (f", field {self.field}" if self.field else "")
        return f"{place}: {self.reason}"


class DocumentNotFound(InterlockError):
    """A patch, replace or delete of a document that is not there, or not in a table of this instance."""

    def __init__(self, operation: str, id: str) -> None:
        super().__init__(operation, id)
        self.operation, self.id = operation, id

    def __str__(self) -> str:
        return f"{self.operation}: there is no document {self.id!r} here. Read it first with ctx.db.get, which gives None when it is gone."


class QueryError(InterlockError):
    """A read that cannot be done as it is written."""

    def __init__(self, table: str, reason: str) -> None:
        super().__init__(table, reason)
        self.table, self.reason = table, reason

    def __str__(self) -> str:
        return f'query on "{self.table}": {self.reason}'


class InvalidCursor(QueryError):
    """A cursor of another query or of none. Official clients start again from the first page when they meet it."""

    def __str__(self) -> str:
        return f'InvalidCursor: query on "{self.table}": {self.reason}'


class FunctionNotFound(InterlockError):
    """No such function for this caller; the same for one that is missing, internal, or a component's."""

    def __init__(self, name: str, hint: str = "") -> None:
        super().__init__(name, hint)
        self.name, self.hint = name, hint

    def __str__(self) -> str:
        return f"Could not find public function for '{self.name}'." + (f" {self.hint}" if self.hint else "")


class FunctionHandleNotFound(FunctionNotFound):
    """A handle that was revoked or made up, or whose function is gone; it works again when the function is back."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.args = (name,)

    def __str__(self) -> str:
        return f"Nothing answers to the handle {self.name[:24]}…: it was revoked, or its function is gone."


class WrongFunctionKind(InterlockError):
    """A function called as another kind than it is."""

    def __init__(self, function: str, called_as: str, kind: str) -> None:
        super().__init__(function, called_as, kind)
        self.function, self.called_as, self.kind = function, called_as, kind

    def __str__(self) -> str:
        return f"Trying to execute {self.function} as {self.called_as}, but it is defined as {self.kind}."


class CallRefused(InterlockError):
    """A call that this context may not make."""

    def __init__(self, function: str, reason: str) -> None:
        super().__init__(function, reason)
        self.function, self.reason = function, reason

    def __str__(self) -> str:
        return f"{self.function}: {self.reason}"


class ContextError(CallRefused, AttributeError):
    """Something of `ctx` that a function of this kind, or of a component, has not. An AttributeError too: `hasattr(ctx, "db")` works."""


class ScheduleError(InterlockError):
    """A job that cannot be planned or cancelled."""

    def __init__(self, function: str, reason: str) -> None:
        super().__init__(function, reason)
        self.function, self.reason = function, reason

    def __str__(self) -> str:
        return f"scheduling {self.function}: {self.reason}"


class WriteConflict(InterlockError):
    """A mutation met its deadline before its turn came. Nothing was written."""

    runs_again = False
    """Whether it is but an attempt that lost: `call_finished` is told of each. No caller meets one of these."""

    def __init__(self, function: str, table: str, ids: tuple[str, ...], winner: str) -> None:
        super().__init__(function, table, ids, winner)
        self.function, self.table, self.ids, self.winner = function, table, ids, winner

    def __str__(self) -> str:
        if self.runs_again:
            return f"{self.function} had read what {self.winner} then wrote, and runs again."
        if not self.table:
            return f"{self.function} met its deadline while it waited for {self.winner}. Spread the writes over more documents."
        return (
            f"{self.function} met its deadline: {self.winner} kept writing {self.table} {', '.join(self.ids)} after it "
            "was read. Read a narrower index range, or spread the writes over more documents."
        )


class LimitExceeded(InterlockError):
    """A limit was passed. `limit` is its name in `interlock limits`, `used` what was asked for, `maximum` what is allowed."""

    def __init__(self, limit: str, used: float, maximum: float) -> None:
        super().__init__(limit, used, maximum)
        self.limit, self.used, self.maximum = limit, used, maximum

    def __str__(self) -> str:
        return f"Limit {self.limit} exceeded: {self.used:,} of at most {self.maximum:,}. `interlock limits` lists them all."


class DeadlineExceeded(InterlockError):
    """A function took longer than it may; nothing of it was written. `what` is "wall time" or "CPU time"."""

    def __init__(self, function: str, what: str, seconds: float) -> None:
        super().__init__(function, what, seconds)
        self.function, self.what, self.seconds = function, what, seconds

    def __str__(self) -> str:
        remedy = "Do less at once, or split the work into functions that are scheduled."
        return f"{self.function} took more than its {self.seconds:g} s of {self.what}. {remedy}"


class FunctionAborted(InterlockError):
    """A function raised what is meant to end a program or a task, such as SystemExit. It ends that call alone."""

    def __init__(self, function: str, raised: str) -> None:
        super().__init__(function, raised)
        self.function, self.raised = function, raised

    def __str__(self) -> str:
        return f"{self.function} ended with {self.raised}. Raise an Exception, such as AppError, to say what went wrong."


class PermissionDenied(InterlockError):
    """What was tried, and what would allow it."""

    def __init__(self, tried: str, remedy: str) -> None:
        super().__init__(tried, remedy)
        self.tried, self.remedy = tried, remedy

    def __str__(self) -> str:
        return f"Not allowed: {self.tried}. {self.remedy}"


class FetchFailed(InterlockError):
    """A fetch that no whole response came to: no connection, no answer in time, or one that cannot be read. It may have been received."""

    def __init__(self, request: str, reason: str) -> None:
        super().__init__(request, reason)
        self.request, self.reason = request, reason

    def __str__(self) -> str:
        return f"{self.request}: {self.reason}"


class Unauthenticated(InterlockError):
    """A token or key that was refused. `reason_code` is the wire's name for it (`NoAuthProvider`, `BadAdminKey`, …)."""

    def __init__(self, reason_code: str, reason: str) -> None:
        super().__init__(reason_code, reason)
        self.reason_code, self.reason = reason_code, reason

    def __str__(self) -> str:
        return self.reason


class ComponentCrashed(InterlockError):
    """The process of a component ended under a call. Nothing of the call was written."""

    def __init__(self, component_path: str, function: str, reason: str) -> None:
        super().__init__(component_path, function, reason)
        self.component_path, self.function, self.reason = component_path, function, reason

    def __str__(self) -> str:
        return f"{self.component_path}/{self.function} crashed: {self.reason}"


class MountError(InterlockError):
    """What stands in the way of a start: where it is written, what is wrong, what to write instead. Nothing was changed."""

    def __init__(self, where: str, problem: str, remedy: str = "") -> None:
        super().__init__(where, problem, remedy)
        self.where, self.problem, self.remedy = where, problem, remedy

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}" + (f"\n  {self.remedy}" if self.remedy else "")


class StorageUnavailable(InterlockError):
    """The data cannot be read or written now. `remedy` says what would help; nothing that was answered is lost."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason, remedy)
        self.reason, self.remedy = reason, remedy

    def __str__(self) -> str:
        return f"{self.reason}" + (f" {self.remedy}" if self.remedy else "")
