"""A component in the sandbox and the same one inline: the same calls through HTTP, in turns."""

from __future__ import annotations

from collections.abc import Callable

from bench.rows import Row, Run, Work
from bench.servers import INTERLOCK, Server
from bench.work.http import calls, interlock_body

INLINE = "Interlock, inline"


def total(is_sealed: bool, names: int) -> Callable[[Server], float]:
    def of(server: Server) -> float:
        value = server.call("query", "counters:total_of_mount", is_sealed=is_sealed, names=names)
        assert isinstance(value, float)
        return value

    return of


def add(is_sealed: bool, names: int, callers: int) -> Run:
    function = "counters:add_sealed" if is_sealed else "counters:add_sharded"
    bodies = [interlock_body(function, name=f"c{n}") for n in range(names)]
    return calls("mutation", bodies, callers, total=total(is_sealed, names))


def sharded_counter(names: int, callers: int) -> Work:
    rows = [Row("no update is lost", "lost", at_most=0, decimals=0)]
    if callers > 1:
        rows.append(Row("sandboxed : inline", "per_second", over=INLINE, at_least=0.7))
    else:
        rows.append(Row("p50, sandboxed : inline", "p50_ms", over=INLINE, at_most=1.5))
    many = "one name" if names == 1 else f"{names:,} names"
    return Work(
        f"sharded_counter in the sandbox, {many}, {callers} caller{'s' * (callers > 1)}",
        {INTERLOCK: add(True, names, callers), INLINE: add(False, names, callers)},
        rows,
    )


WORKS = [sharded_counter(1, 1), sharded_counter(1, 64), sharded_counter(500, 64)]
