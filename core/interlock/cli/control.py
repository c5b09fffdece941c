"""What a served backend answers to the command line beside the public API: facts, below `/_interlock`, for the admin key alone."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from interlock.cli import facts
from interlock.errors import InterlockError

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from interlock.backend import Backend

PREFIX = "/_interlock"


class Control:
    """The control routes, as an ASGI app. The answers are those of `facts`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        response = await self._answer(Request(scope, receive))
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if not hmac.compare_digest(request.headers.get("authorization", "").encode(), f"Convex {self._backend.admin_key}".encode()):
            return JSONResponse({"code": "BadAdminKey", "message": "This needs the admin key."}, 401)
        try:
            return JSONResponse(await self._facts(request.url.path.removeprefix(f"{PREFIX}/"), dict(request.query_params)))
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
        raise InterlockError(f"There is no {PREFIX}/{asked}.")
