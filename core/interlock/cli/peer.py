"""Which backend answers a command: the server that already serves the data, one at a URL, or one that the command opens itself.

A data directory has one process at a time, so a command that finds a server there asks it instead of opening the data.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from interlock.cli.app_directory import data_directory, data_place, find_app
from interlock.cli.console import CommandError, say
from interlock.cli.exits import Exit
from interlock.cli.running import RunningServer
from interlock.errors import AppError, FunctionNotFound, InterlockError, SchemaError

if TYPE_CHECKING:
    import httpx

    from interlock.backend import Backend

Json = dict[str, Any]
_KEY = "Give the server's own: --admin-key KEY, or INTERLOCK_ADMIN_KEY."


class Peer(Protocol):
    """A backend, as a command asks it. Values are wire JSON."""

    async def call(self, function: str, arguments: Json, component: str) -> Any:
        """The value of any function, also an internal one or a component's. What it logs is printed."""

    async def mounts(self) -> list[Json]: ...
    async def tables(self, component: str) -> list[Json]: ...
    async def documents(self, component: str, table: str, limit: int) -> list[Json]: ...


@asynccontextmanager
async def peer_of(app: Path | None, data: str | None) -> AsyncIterator[Peer]:
    """The backend of an app's data."""
    directory = find_app(app)
    data_in = data_directory(directory, data)
    server = RunningServer.of(data_in) if data_in is not None else None
    if server is not None:
        async with server_at(server.url, server.admin_key) as peer:
            yield peer
    else:
        from interlock.backend import Backend
        from interlock.cli.logs import configure_logs

        # What the function logs or raises is printed with its result.
        configure_logs(level=logging.CRITICAL)
        async with Backend(directory, data=data_place(directory, data), dev=True) as backend:
            yield _Opened(backend)


@asynccontextmanager
async def server_at(url: str, admin_key: str | None) -> AsyncIterator[Peer]:
    """A running server. Without its admin key it answers what any client may ask."""
    import httpx

    headers = {"Authorization": f"Convex {admin_key}"} if admin_key else {}
    # An action may take as long as it is allowed to; only the connection has to come quickly.
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=httpx.Timeout(None, connect=5), trust_env=False) as client:
        yield _Server(client)


class _Opened:
    """A backend that this command opened."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def call(self, function: str, arguments: Json, component: str) -> Any:
        from interlock.functions.caller import log_lines_of
        from interlock.functions.redaction import frames_of
        from interlock.values import from_wire, to_wire

        try:
            answer = await self._backend.call_any(function, from_wire(arguments), component, admin=True)
        except Exception as error:
            _print_lines(log_lines_of(error))
            if isinstance(error, InterlockError) and not isinstance(error, SchemaError):
                raise
            places = "\n".join(f"  at {frame}" for frame in frames_of(error))
            raise FunctionRaised(Exit.FAILED, f"{function} raised {type(error).__name__}: {error}\n{places}") from error
        _print_lines(answer.log_lines)
        return to_wire(answer.value)

    async def mounts(self) -> list[Json]:
        from interlock.cli import facts

        return facts.mounts(self._backend)

    async def tables(self, component: str) -> list[Json]:
        from interlock.cli import facts

        return facts.tables(self._backend, component)

    async def documents(self, component: str, table: str, limit: int) -> list[Json]:
        from interlock.cli import facts

        return await facts.documents(self._backend, component, table, limit)


class _Server:
    """A server, by HTTP."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def call(self, function: str, arguments: Json, component: str) -> Any:
        body = {"args": arguments, "format": "convex_encoded_json"}
        if "authorization" in self._client.headers:
            answer = await self._ask("POST", "/api/function", json={**body, "path": function, "componentPath": component})
        elif component:
            raise CommandError(Exit.UNREACHABLE, "A component's functions are for the admin key alone.", _KEY)
        else:
            answer = await self._ask("POST", f"/api/run/{function}", json=body)
        _print_lines(answer.get("logLines", ()))
        if answer["status"] != "success":
            raise _error_of(function, answer)
        return answer["value"]

    async def mounts(self) -> list[Json]:
        found: list[Json] = await self._ask("GET", "/_interlock/mounts")
        return found

    async def tables(self, component: str) -> list[Json]:
        found: list[Json] = await self._ask("GET", "/_interlock/tables", params={"component": component})
        return found

    async def documents(self, component: str, table: str, limit: int) -> list[Json]:
        given = {"component": component, "table": table, "limit": str(limit)}
        found: list[Json] = await self._ask("GET", "/_interlock/documents", params=given)
        return found

    async def _ask(self, method: str, path: str, **options: Any) -> Any:
        import httpx

        url = self._client.base_url
        try:
            response = await self._client.request(method, path, **options)
        except httpx.TransportError as error:
            raise CommandError(Exit.UNREACHABLE, f"No server answers at {url}: {error}", "Start it: interlock serve") from None
        if response.is_success:
            return response.json()
        message = _message_of(response)
        if response.status_code in (401, 403):
            raise CommandError(Exit.UNREACHABLE, f"{url} refuses the key: {message}", _KEY)
        raise CommandError(Exit.FAILED, message)


class FunctionRaised(CommandError):
    """A function that ended with an error, as text: of another process, or of a kind that is not Interlock's."""


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        say(line)


def _error_of(function: str, answer: Json) -> InterlockError:
    """What a function of a server raised: an AppError with its data, of the others the text."""
    # To a server, as to Convex, a module's name alone stands for its function `default`.
    if any(str(FunctionNotFound(name)) in answer["errorMessage"] for name in (function, f"{function}:default")):
        return FunctionNotFound(function)
    if "errorData" in answer:
        from interlock.values import from_wire

        return AppError(from_wire(answer["errorData"]))
    return FunctionRaised(Exit.FAILED, answer["errorMessage"].strip())


def _message_of(response: httpx.Response) -> str:
    try:
        return str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        return f"{response.status_code} {response.text[:200]}".strip()


def hinting(peer: Peer) -> Callable[[str, Json, str], Awaitable[Any]]:
    """How to call a function so that one that is not there is answered with what there is instead."""

    async def call(function: str, arguments: Json, component: str) -> Any:
        try:
            return await peer.call(function, arguments, component)
        except FunctionNotFound as error:
            if error.name != function:
                raise  # one that the function called
            raise FunctionNotFound(error.name, _hint(function, component, await peer.mounts())) from None

    return call


def _hint(function: str, component: str, mounts: list[dict[str, Any]]) -> str:
    """What there is instead: the function that was meant, the mounts, or all functions."""
    functions = {mount["path"]: mount["functions"] for mount in mounts if mount["state"] == "mounted"}
    if component not in functions:
        return f'Nothing is mounted at "{component}". Mounted: {", ".join(path for path in functions if path) or "nothing"}.'
    close = difflib.get_close_matches(function, functions[component], n=1)
    return f"Did you mean {close[0]}?" if close else f"There are: {', '.join(functions[component]) or 'none'}."
