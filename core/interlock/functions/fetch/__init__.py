"""Fetching: what `ctx.fetch` does, for the app, for inline mounts and for sandboxed ones alike.

Decides alone what goes out: which scheme, host and address (`url`, `connecting`), with which headers and secrets (`headers`), how
much comes back (`decoding`, `fetched`). The address that was looked at is the one that is connected to. What a mount may reach is
said by `mounting.network`.

Start at `fetcher.Fetcher.open`. `wire` and what it needs of httpx are imported by the first fetch.
"""

from interlock.functions.fetch.fetcher import Fetcher
from interlock.functions.fetch.wire import Resolve, Responder

__all__ = ["Fetcher", "Resolve", "Responder"]
