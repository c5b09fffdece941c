"""What authors import. `__all__` here and in `interlock.testing` is promised; every other module may change in any release."""

from typing import TYPE_CHECKING, Any

from interlock.errors import (
    AppError,
    ArgumentError,
    CallRefused,
    ComponentCrashed,
    ContextError,
    DeadlineExceeded,
    DocumentNotFound,
    FetchFailed,
    FunctionAborted,
    FunctionNotFound,
    InterlockError,
    InvalidCursor,
    LimitExceeded,
    MountError,
    PermissionDenied,
    QueryError,
    ReturnError,
    ScheduleError,
    SchemaError,
    StorageUnavailable,
    Unauthenticated,
    ValueRefused,
    WriteConflict,
    WrongFunctionKind,
)
from interlock.limits import Limits
from interlock.sdk import (
    JWT,
    OIDC,
    ActionCtx,
    App,
    Change,
    Component,
    ComponentReference,
    Function,
    FunctionInfo,
    Identity,
    Job,
    Metrics,
    MutationCtx,
    Page,
    PaginationOptions,
    QueryCtx,
    Range,
    Reference,
    Request,
    Response,
    ResponseStream,
    Schema,
    Table,
    Validator,
    action,
    components,
    from_text,
    mutation,
    query,
    reference,
    secret,
    to_text,
    trigger,
)
from interlock.values import UNSET, CommitTimestamp, Id, Int64

if TYPE_CHECKING:
    from interlock.backend import Backend
    from interlock.sdk.schedule import CronExpression, Interval

__all__ = [
    "JWT",
    "OIDC",
    "UNSET",
    "ActionCtx",
    "App",
    "AppError",
    "ArgumentError",
    "Backend",
    "CallRefused",
    "Change",
    "CommitTimestamp",
    "Component",
    "ComponentCrashed",
    "ComponentReference",
    "ContextError",
    "CronExpression",
    "DeadlineExceeded",
    "DocumentNotFound",
    "FetchFailed",
    "Function",
    "FunctionAborted",
    "FunctionInfo",
    "FunctionNotFound",
    "Id",
    "Identity",
    "Int64",
    "InterlockError",
    "Interval",
    "InvalidCursor",
    "Job",
    "LimitExceeded",
    "Limits",
    "Metrics",
    "MountError",
    "MutationCtx",
    "Page",
    "PaginationOptions",
    "PermissionDenied",
    "QueryCtx",
    "QueryError",
    "Range",
    "Reference",
    "Request",
    "Response",
    "ResponseStream",
    "ReturnError",
    "ScheduleError",
    "Schema",
    "SchemaError",
    "StorageUnavailable",
    "Table",
    "Unauthenticated",
    "Validator",
    "ValueRefused",
    "WriteConflict",
    "WrongFunctionKind",
    "action",
    "components",
    "from_text",
    "mutation",
    "query",
    "reference",
    "secret",
    "to_text",
    "trigger",
]


def __getattr__(name: str) -> Any:
    if name == "Backend":  # the engine, the server and what they need: not for a module that only declares
        try:
            from interlock.backend import Backend
        except ModuleNotFoundError as error:
            why = f"Backend runs apps, and needs {error.name}, which is not here: a component's own process has what components need alone"
            raise ImportError(f"{why}. Import it where the app is run, or in a test.") from None
        return Backend
    if name in ("CronExpression", "Interval"):  # they need croniter
        from interlock.sdk import schedule

        return getattr(schedule, name)
    raise AttributeError(f"module 'interlock' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
