"""The server: the sync socket and the HTTP API, over which the official clients reach a backend.

Decided here: what a client is told and in which order, who it is, and when it has to go. The room asks a backend for results
through `service.Service` and knows nothing of functions, tables and transactions beyond that.

    asgi.py           the ASGI application; start here
    socket.py         a WebSocket, bound to …
    sync_session.py   … the protocol of one connection, which knows no transport
    http_api.py       /api/query and the like
    auth.py           tokens and admin keys → credentials; identity.py, admin_key.py
    messages.py       the sync messages as types and bytes; decoding.py, function_path.py, client_version.py: other texts from outside
    wire.py           the outgoing half of a socket; socket_front.py: a faster one under the project's own web server
    turns.py          fairness when one commit wakes a thousand sockets
    serve.py          a port and a web server for it
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
