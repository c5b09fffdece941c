"""The server: the sync socket and the HTTP API, over which the official clients reach a backend.

Decided here: what a client is told and in which order, who it is, and when it has to go. The room asks a backend for results
through `service.Service` and knows nothing of functions, tables and transactions beyond that.

    asgi.py           the ASGI application; start here
    socket.py         a WebSocket, bound to …
    sync_session.py   … the protocol of one connection, which knows no transport: what comes in; outgoing.py: what goes out
    subscription.py   one query of it; fan_out.py: one message for many of them
    messages.py       the sync messages as types and bytes
    decoding.py       other texts from outside; target.py, function_path.py, client_version.py
    turns.py          fairness when one commit wakes a thousand sockets
    http_api.py       /api/query and the like
    auth.py           tokens and admin keys → credentials; identity.py, admin_key.py
    binding.py        the backend as a `Service`; shared_query.py, kept_results.py: one result for all who look at the same
    serve.py          a port and uvicorn on it; http_front.py, socket_front.py (a wire.py `Wire`): short ways past ASGI
"""

from interlock.server.admin_key import check_admin_key, make_admin_key
from interlock.server.asgi import ServerApp
from interlock.server.serve import run, serve
from interlock.server.service import Answer, Credentials, Failure, LiveQuery, QueryResult, ServerSettings, Service, Snapshot, SnapshotGone

__all__ = [
    "Answer",
    "Credentials",
    "Failure",
    "LiveQuery",
    "QueryResult",
    "ServerApp",
    "ServerSettings",
    "Service",
    "Snapshot",
    "SnapshotGone",
    "check_admin_key",
    "make_admin_key",
    "run",
    "serve",
]
