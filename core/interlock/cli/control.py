"""What a served backend answers to the command line beside the public API: facts, below `/_interlock/`, for the admin key alone."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from interlock.cli import facts
from interlock.errors import InterlockError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from interlock.backend import Backend

PREFIX = "/_interlock/"


class Control:
    """The app of a backend with the control routes in front. Every other request passes untouched."""

    def __init__(self, app: ASGIApp, backend: Backend) -> None:
        self._app, self._backend = app, backend

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(PREFIX):
            response = await self._answer(Request(scope, receive))
            await response(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if not hmac.compare_digest(request.headers.get("authorization", "").encode(), f"Convex {self._backend.admin_key}".encode()):
            return JSONResponse({"code": "BadAdminKey", "message": "This needs the admin key."}, 401)
        try:
            return JSONResponse(await self._facts(request.url.path.removeprefix(PREFIX), dict(request.query_params)))
        except InterlockError as error:
            return JSONResponse({"code": error.code, "message": str(error)}, 400)

    async def _facts(self, asked: str, given: dict[str, str]) -> Any:
        match asked:
            case "mounts":
                return facts.mounts(self._backend)
            case "tables":
                return facts.tables(self._backend, given.get("component", ""))
            case "documents":
                return await facts.documents(
                    self._backend, given.get("component", ""), given.get("table", ""), int(given.get("limit", 100))
                )
        raise InterlockError(f"There is no {PREFIX}{asked}.")
