"""Writes the pages that are made from the code: `python docs/generate.py`. A test asserts that they are up to date."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import interlock
from interlock import errors, hooks
from interlock.cli.limits import size
from interlock.errors import InterlockError
from interlock.functions.redaction import is_told
from interlock.limits import LIMITS, Limit, Limits

DOCS = Path(__file__).parent
MADE = "<!-- made by docs/generate.py from {} -->\n"

LIMITS_PAGE = """\
# Limits

{made}
Every limit that is in force; `interlock limits` prints the same. Going over one raises `LimitExceeded` (`DeadlineExceeded` for time),
which names the limit, what was used and how much is allowed. Nothing of the call is written then.

{tables}
## Giving less

A mount or a call can be given less, never more:

```python no-run
app.use("sharded_counter", limits=Limits(documents_read=1_000, deadline=2))
await ctx.run_query(components.sharded_counter.count.options(limits=Limits(documents_read=100)), name="likes")
```

`Limits` takes {shares}.
`cpu` and `deadline` are seconds, `memory` is bytes of each worker of an isolated mount, `logs` are lines; the
others are the limits of the same name. `memory` and `calls_open` are a mount's, and say nothing at a call.
"""

ERRORS_PAGE = """\
# Errors

{made}
All of them are `InterlockError`s. The class name is the code, and stable; the message is for people; the facts are attributes. They
are imported from `interlock`, unless noted.

```
{tree}
```

An error is *told* if a client of `interlock serve` gets its message. Of any other, as of an exception that is not Interlock's, the
client gets `Server Error` and a request id, under which the log has the whole of it.

{table}
"""

HOOKS_PAGE = """\
# Hooks

{made}
A plugin of the backend is a distribution with an entry point of the group `interlock.plugins` that names a module or an object with
these functions, marked by `@hookimpl`. An implementation takes only the parameters that it wants.

```python
# call_times.py
from interlock.hooks import Call, Outcome, hookimpl

times: dict[str, float] = {{}}


class CallTimes:
    @hookimpl
    def call_finished(self, call: Call, outcome: Outcome) -> None:
        times[call.function.name] = outcome.duration_ms
```

It can also be handed to a backend, for tests say:

```python
# clock/app.py
from interlock import App

app = App()
```

```python
# clock/times.py
from interlock import QueryCtx, query


@query
async def now(ctx: QueryCtx) -> float:
    return ctx.now()
```

```python
from call_times import CallTimes, times
from interlock import Backend

async with Backend("clock", data=":memory:", plugins={{"times": CallTimes()}}) as backend:
    await backend.query("times:now")
assert "times:now" in times
```

Hooks are plain functions: they declare or observe, and the engine calls and awaits what was declared. `INTERLOCK_TRACE_HOOKS=1` in the
environment prints every hook call. `open_files` and `dashboard_pages` are specified, and nothing asks for them yet.

{specs}
A mounted component answers hooks of its own (`tables`, `functions`, `triggers`, `crons`, `http_routes`), which `Component` implements
for its author.
"""


def limits_page() -> str:
    tables = []
    for area, rows in groupby(LIMITS.values(), key=lambda limit: limit.area):
        lines = [f"| `{limit.name}` | {amount(limit)} | {limit.says} |" for limit in rows]
        tables.append("\n".join([f"## {area.capitalize()}\n", "| limit | value | of |", "|---|---|---|", *lines, ""]))
    shares = ", ".join(f"`{name}`" for name in Limits.__dataclass_fields__)
    return LIMITS_PAGE.format(made=MADE.format("interlock/limits.py"), tables="\n".join(tables), shares=shares)


def amount(limit: Limit) -> str:
    if limit.unit == "bytes":
        return size(int(limit.value))
    if limit.unit == "seconds":
        for name, seconds in (("days", 86_400), ("min", 60)):
            if limit.value >= 2 * seconds and limit.value % seconds == 0:
                return f"{limit.value / seconds:,.0f} {name}"
        return f"{limit.value:g} s"
    return f"{limit.value:,.0f}" + ("" if limit.unit == "count" else f" {limit.unit}")


def errors_page() -> str:
    doc = inspect.getdoc(errors) or ""
    tree = "\n".join(line[4:] for line in (errors.__doc__ or doc).splitlines() if line.startswith("    "))
    rows = [
        f"| `{kind.__name__}`{'' if kind.__name__ in interlock.__all__ else ' (`interlock.errors`)'} | {meaning(kind)} | {facts(kind)} "
        f"| {'told' if is_told(kind.__new__(kind)) else ''} |"
        for kind in all_errors(InterlockError)
    ]
    table = "\n".join(["| error | means | facts | |", "|---|---|---|---|", *rows])
    return ERRORS_PAGE.format(made=MADE.format("interlock/errors.py"), tree=tree, table=table)


def all_errors(root: type[InterlockError]) -> Iterator[type[InterlockError]]:
    for kind in root.__subclasses__():
        if kind.__module__ == errors.__name__:
            if not kind.__name__.startswith("_"):
                yield kind
            yield from all_errors(kind)


def meaning(kind: type[InterlockError]) -> str:
    text = " ".join((inspect.getdoc(kind) or "").split())
    return text.replace("|", "\\|")


def facts(kind: type[InterlockError]) -> str:
    return ", ".join(f"`{name}`" for name in list(inspect.signature(kind.__init__).parameters)[1:])


def hooks_page() -> str:
    specs = []
    for name in sorted(hooks.OF_PLUGINS, key=lambda name: inspect.getsourcelines(getattr(hooks, name))[1]):
        hook = getattr(hooks, name)
        signature = str(inspect.signature(hook)).replace("'", "")
        specs.append(f"### `{name}{signature}`\n\n{inspect.getdoc(hook)}\n")
    return HOOKS_PAGE.format(made=MADE.format("interlock/hooks.py"), specs="\n".join(specs))


PAGES = {"limits.md": limits_page, "errors.md": errors_page, "hooks.md": hooks_page}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
