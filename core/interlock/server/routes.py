"""The HTTP routes of the app and of its components, under `/http`.

Start at `Routes.__call__`: which route it is, is known before the body is read.
"""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import quote

import orjson

from interlock.errors import Unauthenticated
from interlock.server.auth import ProviderUnreachable, read_authorization
from interlock.server.http_api import JSON, TEXT, Receive, Scope, Send
from interlock.server.service import ANONYMOUS, Credentials, Failure
from interlock.server.shared import Shared
from interlock.values import loads, to_json

log = logging.getLogger("interlock.server")

PREFIX = "/http"
_OWN = frozenset({"connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"})
"""Headers that speak of the connection, which is the server's."""
_EMPTY = frozenset({204, 304})


def answers(path: str) -> bool:
    """Whether a request for this path is for a route."""
    return path.startswith(PREFIX) and (len(path) == len(PREFIX) or path[len(PREFIX)] == "/")


class Routes:
    """Answers requests to routes. It holds nothing: a reload is seen by the next request."""

    def __init__(self, shared: Shared) -> None:
        self._service, self._authenticator, self._new_request_id = shared.service, shared.authenticator, shared.new_request_id

    async def __call__(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = self._new_request_id()
        try:
            status, headers, body = await self._answer(path, scope, receive, request_id)
        except _Gone:
            return
        except Exception:
            log.exception("%s %s failed (request %s)", scope["method"], path[:200], request_id)
            status, headers, body = _told(500, "InternalServerError", f"[Request ID: {request_id}] Server Error", None)
        if status in _EMPTY:
            body = b""
        else:
            headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _answer(self, path: str, scope: Scope, receive: Receive, request_id: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        method: str = scope["method"]
        below = path[len(PREFIX) :] or "/"
        route = self._service.find_route("GET" if method == "HEAD" else method, below)
        if route is None:
            return _text(404, f"There is no HTTP route for {method} {below[:200]}.\n")
        headers = _joined(scope["headers"])
        credentials = ANONYMOUS
        if route.is_of_app:
            try:
                credentials = await self._credentials(headers.get("authorization"))
            except ProviderUnreachable as error:
                log.warning("a token could not be checked: %s", error)
                return _text(503, "The keys of the auth provider cannot be had now. Try again.\n")
        else:
            # The cookies are those of the app's site, and an admin key opens all of it: neither is a component's business.
            headers.pop("cookie", None)
            if headers.get("authorization", "").lower().startswith("convex "):
                del headers["authorization"]
        body = await _read_body(headers, receive, route.body_max)
        if body is None:
            status, told, text = _text(413, f"The body of a request may have {route.body_max:,} bytes.\n")
            return status, [*told, (b"connection", b"close")], text
        request = {"method": method, "url": _url(scope, headers), "headers": [list(pair) for pair in headers.items()], "body": body}
        made = await route.answer(request, credentials=credentials, request_id=request_id)
        if isinstance(made, Failure):
            status = 503 if made.code == "StorageUnavailable" else 500
            return _told(status, made.code or "HandlerFailed", made.message, made.data)
        pairs = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in made["headers"] if name.lower() not in _OWN]
        return made["status"], pairs, made["body"]

    async def _credentials(self, header: str | None) -> Credentials:
        """Who signed in. A header that is no token of a user is the handler's to read, like a webhook's shared secret."""
        if header is None:
            return ANONYMOUS
        try:
            known = await read_authorization(header.strip(), None, self._authenticator)
        except (ValueError, Unauthenticated):
            return ANONYMOUS
        return Credentials(known.identity)


class _Gone(Exception):
    """Nobody waits for the answer any more."""


def _joined(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by name; one that came several times is one."""
    made: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        made[name] = f"{made[name]}{'; ' if name == 'cookie' else ', '}{value}" if name in made else value
    return made


def _url(scope: Scope, headers: dict[str, str]) -> str:
    """The whole URL as it was asked for, as far as it can be told behind a proxy."""
    host = headers.get("host")
    if host is None:
        server = scope.get("server") or ("localhost", None)
        host = server[0] if server[1] is None else f"{server[0]}:{server[1]}"
    raw = scope.get("raw_path")
    path = raw.partition(b"?")[0].decode("latin-1") if raw else quote(scope["path"])
    query: bytes = scope.get("query_string", b"")
    return f"{scope.get('scheme', 'http')}://{host}{path}" + (f"?{query.decode('latin-1')}" if query else "")


async def _read_body(headers: dict[str, str], receive: Receive, maximum: int) -> bytes | None:
    """None when it is too long."""
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > maximum:
        return None
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        body += message.get("body", b"")
        if len(body) > maximum:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def _text(status: int, text: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    return status, [(b"content-type", TEXT)], text.encode()


def _told(status: int, code: str, trace: str, data: bytes | None) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """What went wrong, for programs and people. `data` is that of an AppError, in the encoding of the wire."""
    told: dict[str, Any] = {"code": code, "trace": trace}
    if data is not None:
        told["data"] = to_json(loads(data), "json")
    return status, [(b"content-type", JSON)], orjson.dumps(told)
