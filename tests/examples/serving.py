"""A backend behind a real socket, for pages and other clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from interlock import Backend
from interlock.server import serve


@asynccontextmanager
async def serving(backend: Backend) -> AsyncIterator[str]:
    """Where the backend is served, on a free port."""
    url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    served = asyncio.create_task(serve(backend.asgi(), port=0, ready=url.set_result, stop=stop))
    served.add_done_callback(lambda _: url.done() or url.cancel())  # it did not come to serving: the reason is raised below
    try:
        yield await url
    finally:
        stop.set()
        await served
