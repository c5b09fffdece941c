"""Every limit that is in force, in one table: `interlock limits` prints it and docs/limits.md is made from it.

Code reads a limit as `LIMITS["documents_read"].value`. Knows nothing else of Interlock.
"""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limit:
    """One row of the table. `unit` is bytes, seconds, count or characters."""

    name: str
    value: float
    unit: str
    area: str
    says: str


_ROWS = (
    Limit("document_bytes", MIB, "bytes", "values", "size of a stored document, system fields included"),
    Limit("value_bytes", 32 * MIB, "bytes", "values", "size of any value"),
    Limit("document_depth", 16, "count", "values", "nesting of a document; the document itself is level 1"),
    Limit("value_depth", 64, "count", "values", "nesting of any value"),
    Limit("array_elements", 8_192, "count", "values", "elements of an array"),
    Limit("object_fields", 1_024, "count", "values", "fields of an object"),
    Limit("union_tries", 100_000, "count", "values", "members of unions that do not fit, of all that are tried for one value"),
    Limit("field_name", 64, "characters", "values", "top-level field name of a document"),
    Limit("nested_key", 1_024, "characters", "values", "key of a nested object"),
    Limit("identifier", 64, "characters", "values", "name of a table, index, function, component or mount"),
    Limit("tables", 10_000, "count", "tables", "tables of a backend"),
    Limit("tables_of_mount", 1_000, "count", "tables", "tables of one mount and of its children"),
    Limit("indexes_per_table", 64, "count", "tables", "indexes of a table"),
    Limit("index_fields", 16, "count", "tables", "fields of an index"),
    Limit("documents_read", 32_000, "count", "transaction", "documents read by a query or mutation, sub-calls included"),
    Limit("bytes_read", 16 * MIB, "bytes", "transaction", "bytes read"),
    Limit("intervals_read", 4_096, "count", "transaction", "index intervals in the read set"),
    Limit("documents_written", 16_000, "count", "transaction", "documents written"),
    Limit("bytes_written", 16 * MIB, "bytes", "transaction", "bytes written"),
    Limit("functions_scheduled", 1_000, "count", "transaction", "jobs scheduled"),
    Limit("scheduled_bytes", 16 * MIB, "bytes", "transaction", "arguments of the jobs scheduled, in total"),
    Limit("scheduled_args_bytes", 4 * MIB, "bytes", "transaction", "arguments of one job"),
    Limit("call_depth", 8, "count", "transaction", "nested calls and triggers below a function"),
    Limit("page_size", 32_000, "count", "transaction", "num_items of paginate"),
    Limit("transaction_wall", 15, "seconds", "functions", "wall time of a query or mutation, its turns in the queue included"),
    Limit("transaction_cpu", 1, "seconds", "functions", "own CPU time of a query or mutation"),
    Limit("action_wall", 600, "seconds", "functions", "wall time of an action"),
    Limit("argument_bytes", 16 * MIB, "bytes", "functions", "arguments of a call"),
    Limit("result_bytes", 16 * MIB, "bytes", "functions", "result of a call, or the data of its AppError"),
    Limit("fetch_wall", 60, "seconds", "functions", "a ctx.fetch that says no timeout; read in pieces, each of them"),
    Limit("fetch_body", 16 * MIB, "bytes", "functions", "body of a response that is read whole, unpacked"),
    Limit("fetch_stream", 256 * MIB, "bytes", "functions", "body of a response that is read in pieces, unpacked"),
    Limit("fetch_request", 8 * MIB, "bytes", "functions", "body of a request of ctx.fetch"),
    Limit("fetch_redirects", 10, "count", "functions", "redirects that a fetch follows"),
    Limit("fetches_running", 32, "count", "functions", "fetches of one mount at once; more wait, within their time"),
    Limit("calls_open", 4_096, "count", "functions", "calls into one isolated mount that are open at once; a further one is refused"),
    Limit("instances_below", 100, "count", "functions", "instances that one isolated mount brings with it: its children, and theirs"),
    Limit("log_lines", 256, "count", "functions", "log lines of an execution, sub-calls included"),
    Limit("log_line_bytes", 32 * 1024, "bytes", "functions", "one log line; the rest is cut, and says so"),
    Limit(
        "log_rate",
        256 * 1024,
        "bytes",
        "functions",
        "what a mount writes to the server's log in a second, 16 seconds' worth at once; the rest is dropped, and told of once a minute",
    ),
    Limit("time_bound_result", 17, "seconds", "functions", "how long a result that looked at ctx.now() is shared"),
    Limit("jobs_running", 64, "count", "scheduler", "jobs that run at once"),
    Limit(
        "jobs_pending",
        1_000_000,
        "count",
        "scheduler",
        "jobs of one mount that are planned and have not run; about, for it is looked up and not locked",
    ),
    Limit(
        "jobs_finished",
        1_000_000,
        "count",
        "scheduler",
        "finished jobs of one mount that are kept; of more, those that ended first are removed before their time",
    ),
    Limit("job_horizon", 5 * 365 * 86_400, "seconds", "scheduler", "how far from now a job may be planned"),
    Limit("job_kept", 7 * 86_400, "seconds", "scheduler", "how long a finished job can be read"),
    Limit("idempotency_kept", 14 * 86_400, "seconds", "server", "how long the answer to a client's mutation is kept for a resend"),
    Limit("http_body", 16 * MIB + 2_000, "bytes", "server", "body of an HTTP API request"),
    Limit(
        "http_message",
        20 * MIB,
        "bytes",
        "server",
        "body of a request to an HTTP route, and of its response; a request to a mount in a worker, a 32nd of its memory",
    ),
    Limit("socket_message", 64 * MIB, "bytes", "server", "one message on the sync socket"),
    Limit("message_values", 4_000_000, "count", "server", "values, names and brackets in one message or body"),
    Limit("socket_mutations", 1_000, "count", "server", "mutations queued on one socket"),
    Limit("socket_actions", 1_000, "count", "server", "actions in flight on one socket"),
    Limit("socket_queries", 50_000, "count", "server", "queries subscribed on one socket"),
    Limit("socket_held", 128 * MIB, "bytes", "server", "messages of one socket that are not answered yet; reading waits beyond it"),
    Limit("transition_chunk", 5_000_000, "bytes", "server", "a longer transition is sent in parts to clients that understand them"),
    Limit("query_cache", 100 * MIB, "bytes", "server", "results kept in the query cache"),
)

LIMITS: dict[str, Limit] = {row.name: row for row in _ROWS}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """A share of the limits, for one mount or one call; None keeps what is in force. It can lower a limit, never raise it.

    `cpu` and `deadline` are seconds, `memory` bytes, `logs` lines; the others count as in `interlock limits`.
    """

    cpu: float | None = None
    memory: int | None = None
    deadline: float | None = None
    logs: int | None = None
    calls_open: int | None = None
    documents_read: int | None = None
    bytes_read: int | None = None
    intervals_read: int | None = None
    documents_written: int | None = None
    bytes_written: int | None = None
    functions_scheduled: int | None = None
    scheduled_bytes: int | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            in_seconds = name in ("cpu", "deadline")
            is_number = isinstance(value, (int, float) if in_seconds else int) and not isinstance(value, bool)
            if value is not None and not (
                is_number and (value > 0 if in_seconds or name == "memory" else value >= 0) and value < float("inf")
            ):
                wanted = "seconds above 0" if in_seconds else "bytes, a whole number above 0" if name == "memory" else "a whole number"
                raise ValueError(f"Limits({name}={value!r}): give {wanted}, or None for the limit that is in force.")
