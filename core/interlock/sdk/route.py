"""A handler of an HTTP route as a function: an action whose one argument is the request, and whose result is the response.

Both cross into a worker and back as plain values. Start at `RouteFunction`; `route_declaration` is all that the host knows of one
whose code is elsewhere.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from interlock.errors import LimitExceeded, MountError, ReturnError
from interlock.limits import LIMITS
from interlock.sdk.declarations import FunctionDeclaration
from interlock.sdk.functions import Function
from interlock.sdk.http import Request, Response
from interlock.values import Json

ARGUMENT = "request"
_ANY: Json = {"type": "any"}
_BODY_MAX = int(LIMITS["http_message"].value)


def route_name(method: str, path: str) -> str:
    """How a route is called in logs and errors: `POST /webhook`. No function has such a name."""
    return f"{method} {path}"


def route_declaration(method: str, path: str, *, plain: bool = False) -> FunctionDeclaration:
    """A route as a function that only the server calls."""
    return FunctionDeclaration(route_name(method, path), "action", True, _ANY, _ANY, plain=plain)


class RouteFunction(Function[..., Any]):
    """The function of one route. Raises MountError for a handler that does not take a context and a request."""

    def __init__(self, method: str, path: str, handler: Callable[..., Any]) -> None:
        super().__init__(handler, "action", internal=True, name="route")
        self._route = route_name(method, path)
        taken = list(self._signature.parameters.values())[1:]
        if not taken or any(one.default is one.empty and one.kind is not one.VAR_KEYWORD for one in taken[1:]):
            shape = "async def webhook(ctx: ActionCtx, request: Request) -> Response"
            raise MountError(self.where, f"the handler of {self._route} does not take a context and a request.", f"Write it like {shape}.")
        self._takes = taken[0].name
        self._plain = not inspect.iscoroutinefunction(handler)
        self._at = (method, path)

    def declaration(self) -> FunctionDeclaration:
        return route_declaration(*self._at, plain=self._plain)

    @property
    def makes_instances(self) -> bool:
        return True

    @property
    def returns_instances(self) -> bool:
        return True

    def arguments(self, validated: dict[str, Any]) -> dict[str, Any]:
        told = validated[ARGUMENT]
        return {self._takes: Request(told["method"], told["url"], dict(told["headers"]), told["body"])}

    def result(self, returned: Any) -> Any:
        if not isinstance(returned, Response):
            raise ReturnError(self._route, "", 'a Response, like Response("hello")', f"a {type(returned).__name__}: {returned!r:.100}")
        body, headers = returned.body, returned.headers
        if not isinstance(headers, Mapping):
            raise ReturnError(self._route, ".headers", "a mapping of names to texts", f"a {type(headers).__name__}")
        pairs = [[name, value] for name, value in headers.items()]
        if isinstance(body, str):
            body = body.encode("utf-8")
            if not any(isinstance(name, str) and name.lower() == "content-type" for name in headers):
                pairs.append(["content-type", "text/plain; charset=utf-8"])
        elif isinstance(body, bytearray | memoryview):
            body = bytes(body)
        if isinstance(body, bytes) and len(body) > _BODY_MAX:  # it need not cross to be refused
            raise LimitExceeded("http_message", len(body), _BODY_MAX)
        return {"status": returned.status, "headers": pairs, "body": body}
