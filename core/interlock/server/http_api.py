"""The HTTP API: one-shot calls for clients that hold no socket, and the few facts that tools ask for.

Without router or middleware: a call's way from the server's parser to the backend is one dictionary look-up.

Start at `HttpApi.answer`. A handler returns a `Reply` or raises `_Refusal`; what a *function* raised is a reply like any other.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from functools import lru_cache, partial
from typing import Any, Literal
from urllib.parse import parse_qs

import orjson

from interlock.errors import Unauthenticated, ValueRefused
from interlock.limits import LIMITS
from interlock.server.auth import ProviderUnreachable, read_authorization
from interlock.server.client_version import from_header
from interlock.server.decoding import BadJson, read_arguments, read_json
from interlock.server.function_path import BadFunctionPath, from_url, read_component, read_function
from interlock.server.messages import decode_ts, encode_ts
from interlock.server.service import ANONYMOUS, Answer, Credentials, Failure, Kind, SnapshotGone, Standing
from interlock.server.shared import Shared
from interlock.server.spare_task import SpareTask
from interlock.values import loads, to_json

log = logging.getLogger("interlock.server")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = Mapping[bytes, bytes]
Format = Literal["convex_encoded_json", "json", "export_json"]

_FORMATS: dict[object, Format] = {
    "convex_encoded_json": "convex_encoded_json",
    "convex_json": "convex_encoded_json",
    "json": "json",
    "convex_clean_json": "json",
    "export_json": "export_json",
}
_QUERIES_PER_BATCH = 1000
_AT_ONCE: dict[str, Literal["query", "mutation"]] = {"/api/query": "query", "/api/mutation": "mutation"}
_REQUEST_ID = re.compile(rb"[A-Za-z0-9_-]{1,64}")
_REQUESTED_HEADERS = b"access-control-request-headers"
_WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS"})
JSON = b"application/json"
TEXT = b"text/plain; charset=utf-8"
BODY_MAX = int(LIMITS["http_body"].value)
_PREFLIGHT = [
    (b"access-control-allow-methods", b"GET, POST, OPTIONS, PATCH, DELETE, PUT"),
    (b"access-control-max-age", b"86400"),
]


class Reply:
    """What goes back. `headers` are those beside the type and length of the body, mostly none."""

    __slots__ = ("body", "content_type", "headers", "status")

    def __init__(
        self, body: bytes, status: int = 200, content_type: bytes = JSON, headers: list[tuple[bytes, bytes]] | None = None
    ) -> None:
        self.body, self.status, self.content_type, self.headers = body, status, content_type, headers


class _Refusal(Exception):
    """The request itself cannot be served. `code` is for programs, `message` for people."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(status, code, message)
        self.status, self.code, self.message = status, code, message


class _Request:
    """`rest` is what follows the prefix of a route that has one."""

    __slots__ = ("body", "headers", "method", "query_string", "request_id", "rest")

    def __init__(self, method: str, headers: Headers, query_string: bytes, body: bytes, request_id: str) -> None:
        self.method, self.headers, self.query_string = method, headers, query_string
        self.body, self.request_id = body, request_id
        self.rest = ""

    def parameter(self, name: str) -> str | None:
        if not self.query_string:
            return None
        try:
            return parse_qs(self.query_string.decode("latin-1"), max_num_fields=100).get(name, [None])[-1]
        except ValueError:
            raise _Refusal(400, "BadQueryArgs", "The URL has too many parameters.") from None

    def json(self) -> dict[str, Any]:
        content_type = self.headers.get(b"content-type", b"")
        if content_type != JSON and not content_type.lower().startswith(JSON):
            raise _Refusal(400, "BadJsonBody", "Send the request with the header `Content-Type: application/json`.")
        try:
            document = read_json(self.body)
        except BadJson as error:
            raise _Refusal(400, "BadJsonBody", f"The body is not JSON: {error}.") from None
        if not isinstance(document, dict):
            raise _Refusal(400, "BadJsonBody", "The body must be a JSON object.")
        return document


Handler = Callable[[_Request], Awaitable[Reply]]
Begun = Answer | Failure | Standing | Awaitable[Answer | Failure | Standing]


class HttpApi:
    """All routes of the server but the socket, the static folder and the app's own."""

    def __init__(self, shared: Shared, *, has_static: bool, spare: SpareTask | None = None) -> None:
        self.spare = spare if spare is not None else SpareTask()
        self._service = shared.service
        self._authenticator = shared.authenticator
        self._new_request_id = shared.new_request_id
        self._routes: dict[str, dict[str, Handler]] = {
            "/api/query": {"POST": partial(self._call, "query"), "GET": self._query_by_url},
            "/api/mutation": {"POST": partial(self._call, "mutation")},
            "/api/action": {"POST": partial(self._call, "action")},
            "/api/function": {"POST": self._any_function},
            "/api/query_ts": {"POST": self._query_ts},
            "/api/query_at_ts": {"POST": self._query_at_ts},
            "/api/query_batch": {"POST": self._query_batch},
            "/api/check_admin_key": {"GET": self._check_admin_key},
            "/version": {"GET": self._version},
            "/instance_name": {"GET": self._instance_name},
            "/instance_version": {"GET": self._version},
            "/echo": {"POST": self._echo},
        }
        if not has_static:
            self._routes["/"] = {"GET": self._root}
        self._run_route: dict[str, Handler] = {"POST": self._run}

    def answers(self, path: str) -> bool:
        """Whether a request for this path is the API's."""
        return path in self._routes or path.startswith("/api/") or path == "/api"

    async def __call__(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        method, headers = scope["method"], dict(scope["headers"])
        body: bytes | None = b""
        if method not in _WITHOUT_BODY:
            try:
                body = await _read_body(receive)
            except _ClientGone:
                return
        reply = await self.answer(method, path, headers, scope["query_string"], body)
        length = (b"content-length", b"%d" % len(reply.body))
        head = [(b"content-type", reply.content_type), length, *(reply.headers or ())]
        await send({"type": "http.response.start", "status": reply.status, "headers": head})
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else reply.body})

    def is_plain(self, path: str, query_string: bytes, headers: Headers) -> bool:
        """Whether a POST is the plainest of calls, of a query or mutation by nobody: those may `begin`."""
        return path in _AT_ONCE and not query_string and b"authorization" not in headers

    def begin(self, path: str, headers: Headers, body: bytes) -> tuple[_Request, Format, Begun] | Reply:
        """What `answer` does with the plainest of calls, as far as it goes without waiting; what is left is for `reply` or `end`."""
        request = _Request("POST", headers, b"", body, self._request_id(headers))
        try:
            document = request.json()
            format = _format(document.get("format"), headers)
            name, args, _ = _read_call(document, ANONYMOUS)
            outcome = self._service.begin(_AT_ONCE[path], name, args, credentials=ANONYMOUS, request_id=request.request_id, source="http")
        except Exception as error:
            return self._dressed(self._refusal(error, request, path), headers)
        return request, format, outcome

    def reply(self, outcome: Answer | Failure, format: Format, headers: Headers) -> Reply:
        """The reply to what `begin` has begun."""
        return self._dressed(_result(outcome, format), headers)

    def failed(self, error: Exception, request: _Request, path: str) -> Reply:
        """The same, where waiting for it has failed."""
        return self._dressed(self._refusal(error, request, path), request.headers)

    def _request_id(self, headers: Headers) -> str:
        given = headers.get(b"convex-request-id")
        return self._new_request_id() if given is None or not _REQUEST_ID.fullmatch(given) else given.decode()

    async def answer(self, method: str, path: str, headers: Headers, query_string: bytes, body: bytes | None) -> Reply:
        """The reply to a request, whatever it is. A `body` of None was too long to be read."""
        request = _Request(method, headers, query_string, body or b"", "")
        try:
            if method == "OPTIONS" and b"access-control-request-method" in headers:
                reply = Reply(b"", 200, TEXT, [*_PREFLIGHT, (b"access-control-allow-headers", headers.get(_REQUESTED_HEADERS, b"*"))])
            elif body is None:
                raise _Refusal(413, "BodyTooLarge", f"The body is longer than {BODY_MAX:,} bytes.")
            else:
                request.request_id = self._request_id(headers)
                route = self._routes.get(path)
                handler = route.get(method) if route is not None else None
                reply = await (handler or self._handler(path, request))(request)
        except Exception as error:
            reply = self._refusal(error, request, path)
        return self._dressed(reply, headers)

    @staticmethod
    def _refusal(error: Exception, request: _Request, path: str) -> Reply:
        """The reply to a request that could not be served."""
        if isinstance(error, _Refusal):
            return _refused(error.status, error.code, error.message)
        if isinstance(error, Unauthenticated):
            return _refused(401, error.reason_code, str(error))
        if isinstance(error, ProviderUnreachable):
            log.warning("a token could not be checked: %s", error)
            return _refused(503, "AuthProviderUnreachable", "The keys of the auth provider cannot be had now. Try again.")
        log.error("%s %s failed (request %s)", request.method, path[:200], request.request_id, exc_info=error)
        apology = f"Your request couldn't be completed. Try again later. [Request ID: {request.request_id}]"
        return _refused(500, "InternalServerError", apology)

    @staticmethod
    def _dressed(reply: Reply, headers: Headers) -> Reply:
        """With what browsers of other origins ask for."""
        origin = headers.get(b"origin")
        if origin is not None:
            allowed = [(b"access-control-allow-origin", origin), (b"access-control-allow-credentials", b"true"), (b"vary", b"Origin")]
            reply.headers = [*(reply.headers or ()), *allowed]
        if reply.status == 413:
            reply.headers = [*(reply.headers or ()), (b"connection", b"close")]
        return reply

    def _handler(self, path: str, request: _Request) -> Handler:
        route = self._routes.get(path)
        if route is None and path.startswith("/api/run/"):
            route, request.rest = self._run_route, path[len("/api/run/") :]
        if route is None:
            raise _Refusal(404, "NotFound", f"There is nothing at {path[:200]}.")
        handler = route.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            raise _Refusal(405, "MethodNotAllowed", f"{path[:200]} answers {', '.join(route)}.")
        return handler

    # Calls

    def _call(self, kind: Kind, request: _Request) -> Awaitable[Reply]:
        document = request.json()
        if b"authorization" not in request.headers and not request.query_string:
            return self._run_call(kind, request, document, ANONYMOUS)
        return self._call_as(kind, request, document)

    async def _call_as(self, kind: Kind, request: _Request, document: dict[str, Any]) -> Reply:
        return await self._run_call(kind, request, document, await self._credentials(request))

    async def _any_function(self, request: _Request) -> Reply:
        document = request.json()
        credentials = await self._credentials(request)
        _require_admin(credentials)
        return await self._run_call(None, request, document, credentials)

    async def _run(self, request: _Request) -> Reply:
        body = request.json()
        try:
            path = from_url(request.rest)
        except BadFunctionPath as error:
            raise _Refusal(400, "BadConvexFunctionIdentifier", str(error)) from None
        document = {"path": path, "args": body.get("args", {}), "format": body.get("format", "json")}
        return await self._run_call(None, request, document, await self._credentials(request))

    async def _run_call(self, kind: Kind | None, request: _Request, document: dict[str, Any], credentials: Credentials) -> Reply:
        format = _format(document.get("format"), request.headers)
        path, args, component_path = _read_call(document, credentials)
        outcome = await self._service.call(
            kind, path, args, credentials=credentials, request_id=request.request_id, source="http", component_path=component_path
        )
        return _result(outcome, format)

    async def _query_by_url(self, request: _Request) -> Reply:
        document: dict[str, Any] = {name: value for name in ("path", "format") if (value := request.parameter(name)) is not None}
        try:
            document["args"] = read_json(request.parameter("args") or "{}")
        except BadJson as error:
            raise _Refusal(400, "BadQueryArgs", f"The parameter args is not JSON: {error}.") from None
        return await self._run_call("query", request, document, await self._credentials(request))

    async def _query_ts(self, request: _Request) -> Reply:
        return Reply(b'{"ts":"%b"}' % encode_ts(self._service.offer_ts()))

    async def _query_at_ts(self, request: _Request) -> Reply:
        document = request.json()
        try:
            ts = decode_ts(document.get("ts"))
        except ValueError as error:
            raise _Refusal(400, "BadJsonBody", f"ts {error}.") from None
        format = _format(document.get("format"), request.headers)
        credentials = await self._credentials(request)
        return _result(await self._query_at(ts, request, document, credentials), format)

    async def _query_batch(self, request: _Request) -> Reply:
        document = request.json()
        queries = document.get("queries")
        if not isinstance(queries, list) or not all(isinstance(each, dict) for each in queries) or len(queries) > _QUERIES_PER_BATCH:
            raise _Refusal(400, "BadJsonBody", f"queries must be an array of at most {_QUERIES_PER_BATCH} objects.")
        credentials = await self._credentials(request)
        formats = [_format(each.get("format"), request.headers) for each in queries]
        snapshot = self._service.pin()
        try:
            outcomes = [await self._query_at(snapshot.ts, request, each, credentials) for each in queries]
        finally:
            self._service.unpin(snapshot)
        results = [_result(outcome, format).body for outcome, format in zip(outcomes, formats, strict=True)]
        return Reply(b'{"results":[' + b",".join(results) + b"]}")

    async def _query_at(self, ts: int, request: _Request, document: dict[str, Any], credentials: Credentials) -> Answer | Failure:
        path, args, component_path = _read_call(document, credentials)
        try:
            return await self._service.query_at(
                ts, path, args, credentials=credentials, request_id=request.request_id, component_path=component_path
            )
        except SnapshotGone:
            raise _Refusal(
                400, "SnapshotTooOld", "This timestamp is not kept any more, or lies ahead. Take a new one from /api/query_ts."
            ) from None

    # Facts

    async def _check_admin_key(self, request: _Request) -> Reply:
        _require_admin(await self._credentials(request))
        return Reply(b'{"success":true,"allowedOps":[],"isReadOnly":false}')

    async def _version(self, request: _Request) -> Reply:
        return Reply(self._service.settings.version.encode(), content_type=TEXT)

    async def _instance_name(self, request: _Request) -> Reply:
        return Reply(self._service.settings.instance_name.encode(), content_type=TEXT)

    async def _root(self, request: _Request) -> Reply:
        return Reply(b"This Interlock deployment is running.\n", content_type=TEXT)

    async def _echo(self, request: _Request) -> Reply:
        return Reply(request.body, content_type=TEXT)

    async def _credentials(self, request: _Request) -> Credentials:
        header = request.headers.get(b"authorization")
        if header is None and not request.query_string:
            return ANONYMOUS
        text = None if header is None else header.decode("latin-1").strip()
        try:
            return await read_authorization(text, request.parameter("adminKey"), self._authenticator)
        except ValueError as error:
            raise _Refusal(400, "InvalidHeaderFailure", str(error)) from None


def _require_admin(credentials: Credentials) -> None:
    if not credentials.admin:
        raise _Refusal(403, "BadDeployKey", "This needs the admin key: send the header `Authorization: Convex <admin key>`.")


def _read_call(document: Mapping[str, Any], credentials: Credentials) -> tuple[str, dict[str, Any], str]:
    """Function, arguments and component path of a request."""
    path = document.get("path")
    if not isinstance(path, str):
        raise _Refusal(400, "BadJsonBody", "path must be the name of a function, like messages:list.")
    if "args" not in document:
        raise _Refusal(400, "BadJsonBody", "args is missing. Send the named arguments as an object.")
    try:
        component_path = read_component(document["componentPath"]) if "componentPath" in document else ""
    except BadFunctionPath as bad:  # another name than below: compiled, a name has one type
        raise _Refusal(400, "InvalidComponentPath", str(bad)) from None
    if component_path and not credentials.may_address_components:
        raise _Refusal(403, "BadDeployKey", "Only an admin calls into a component directly.")
    try:
        return read_function(path, component_path), read_arguments(document["args"]), component_path
    except BadFunctionPath as bad:
        raise _Refusal(400, "BadConvexFunctionIdentifier", str(bad)) from None
    except ValueRefused as error:
        raise _Refusal(400, "BadQueryArgs", f"The arguments are no values: {error}.") from None


def _format(name: object, headers: Headers) -> Format:
    if name is None:
        client = headers.get(b"convex-client")
        return "json" if client is None else _format_of(client)
    format = _FORMATS.get(name) if isinstance(name, str) else None
    if format is None:
        raise _Refusal(400, "BadFormat", f"format must be one of {', '.join(map(str, _FORMATS))}.")
    return format


@lru_cache(maxsize=256)
def _format_of(client: bytes) -> Format:
    """What a client expects that names no format."""
    return "convex_encoded_json" if from_header(client.decode("latin-1")).defaults_to_encoded else "json"


def _result(outcome: Answer | Failure, format: Format) -> Reply:
    # Most bytes hold no "$" (36) at all, which is sooner seen. `find`: with bytes on its left, `in` first tries them as a number, and
    # that costs an exception.
    if type(outcome) is Answer and not outcome.log_lines and (36 not in outcome.json or outcome.json.find(b'{"$') < 0):
        # Without tokens all formats are the same, and no string holds these bytes: a quote in one is escaped.
        return Reply(b'{"status":"success","value":%b}' % outcome.json)
    logs = b',"logLines":' + orjson.dumps(list(outcome.log_lines)) if outcome.log_lines else b""
    if isinstance(outcome, Answer):
        return Reply(b"".join([b'{"status":"success","value":', _formatted(outcome.json, format), logs, b"}"]))
    if outcome.code == "StorageUnavailable":
        return _refused(503, outcome.code, outcome.message)
    data = b"" if outcome.data is None else b',"errorData":' + _formatted(outcome.data, format)
    return Reply(b"".join([b'{"status":"error","errorMessage":', orjson.dumps(outcome.message), data, logs, b"}"]))


def _formatted(json: bytes, format: Format) -> bytes:
    return json if format == "convex_encoded_json" else orjson.dumps(to_json(loads(json), format))


def _refused(status: int, code: str, message: str) -> Reply:
    return Reply(orjson.dumps({"code": code, "message": message}), status)


class _ClientGone(Exception):
    """Nobody waits for the answer any more."""


async def _read_body(receive: Receive) -> bytes | None:
    """None when it is too long."""
    message = await receive()
    body = message.get("body", b"")
    if message.get("more_body", False):
        body = bytearray(body)
        while message.get("more_body", False) and len(body) <= BODY_MAX:
            message = await receive()
            body += message.get("body", b"")
    if message["type"] == "http.disconnect":
        raise _ClientGone
    return None if len(body) > BODY_MAX else bytes(body)
