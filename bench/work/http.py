"""What the works over HTTP share: the requests, and a load as figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict

from bench.load import Report
from bench.rows import Figures, Run
from bench.servers import INTERLOCK, Server, Servers


def figures(report: Report) -> Figures:
    """A report, as a row can ask for it."""
    return {name: value for name, value in asdict(report).items() if name not in ("answers", "load_cpu")}


def interlock_body(function: str, **args: object) -> str:
    """What Interlock's HTTP API is sent."""
    return json.dumps({"path": function, "args": args}, separators=(",", ":"))


def calls(kind: str, bodies: Sequence[str], callers: int, *, total: Callable[[Server], float] | None = None, of: str = INTERLOCK) -> Run:
    """Calls of Interlock's functions. `total` is what has to have grown by one with every answer."""

    def run(servers: Servers, seconds: float) -> Figures:
        server = servers.get(of)
        before = total(server) if total is not None else 0.0
        report = server.load(f"/api/{kind}", bodies, callers, seconds, expected='"success"')
        lost = report.answers - (total(server) - before) if total is not None else 0.0
        return {**figures(report), "lost": lost}

    return run


def posts(
    name: str, path: str, bodies: Sequence[str], callers: int, *, total: str = "", method: str = "POST", expected: str = '"value"'
) -> Run:
    """Requests to a peer. `total` is the path of what has to have grown by one with every answer."""

    def run(servers: Servers, seconds: float) -> Figures:
        server = servers.get(name)
        before = _total(server, total)
        report = server.load(path, bodies, callers, seconds, expected=expected, method=method)
        return {**figures(report), "lost": report.answers - (_total(server, total) - before) if total else 0.0}

    return run


def _total(server: Server, path: str) -> float:
    if not path:
        return 0.0
    answer = server.post(path, {})
    assert isinstance(answer, dict)
    return float(answer["value"])
