"""What the server asks of a backend, and in which form it gets its answers.

Results come as finished wire JSON: encoded once, where they were made, and spliced as they are into every message that carries
them. Errors come already turned into what a client may read. So the server knows no function, table or transaction.

Start at `Service`. `binding.py` is the one that puts a `functions.Dispatcher` behind it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from interlock.engine.made import Made
from interlock.hooks import Authenticator
from interlock.sdk.auth import AuthProvider
from interlock.server.outcome import Answer as Answer
from interlock.server.outcome import Failure as Failure
from interlock.server.outcome import QueryResult as QueryResult
from interlock.server.outcome import Standing as Standing

Kind = Literal["query", "mutation", "action"]
Source = Literal["client", "http", "cli"]


@dataclass(frozen=True, slots=True)
class Credentials:
    """On whose behalf a call is made, after the token or key was checked. `expires_ms` is the end of the token's life."""

    identity: Mapping[str, Any] | None = None
    admin: bool = False
    expires_ms: float | None = None

    @property
    def may_address_components(self) -> bool:
        """Only an admin who is nobody else at the moment calls into components directly."""
        return self.admin and self.identity is None


ANONYMOUS = Credentials()


class Snapshot(NamedTuple):
    """The newest durable state: its place in the local order, and the timestamp that clients know it by (ns)."""

    place: int
    ts: int


class LiveQuery(Protocol):
    """One subscription. It feeds the journal of its last result to its next run."""

    def at(self, place: int) -> Made[QueryResult] | Awaitable[QueryResult]:
        """The result at a pinned place, which is never below an earlier one. What is not there at once is to be awaited now."""

    def peek(self, place: int) -> QueryResult | None:
        """The result at the newest place, if it can be had without waiting."""

    def when_ready(self, callback: Callable[[], None]) -> None:
        """Have the newest result found, and call back when it is there to peek at, or cannot be had."""

    def close(self) -> None: ...


class OutcomeUnknown(Exception):
    """Nobody knows whether a mutation stands, and this server will not find out. The client has to ask the next one again."""


class SnapshotGone(Exception):
    """A query at a timestamp that lies before the kept history, or in the future."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What the server needs to know beside the calls. `secret` signs admin keys, and is kept with the data. `static` is served at `/`."""

    instance_name: str
    secret: bytes
    auth: Sequence[AuthProvider] = ()
    version: str = "unknown"
    static: str | None = None
    authenticators: Sequence[Authenticator] = ()


class Route(Protocol):
    """The handler of an HTTP route."""

    @property
    def is_of_app(self) -> bool:
        """Whether it may know who asks: a component never does."""

    @property
    def body_max(self) -> int:
        """Bytes that the body of a request may have."""

    async def answer(self, request: dict[str, Any], *, credentials: Credentials, request_id: str) -> dict[str, Any] | Failure:
        """The response {status, headers: [[name, value]], body: bytes} to a request {method, url, headers, body}."""


class Service(Protocol):
    """A backend, as the server sees it."""

    @property
    def settings(self) -> ServerSettings: ...

    async def call(
        self,
        kind: Kind | None,
        path: str,
        args: dict[str, Any],
        *,
        credentials: Credentials,
        request_id: str,
        source: Source,
        component_path: str = "",
        session: tuple[str, int] | None = None,
    ) -> Answer | Failure:
        """Call a function; `kind` None takes it as what it is. `session` is (session id, request id) of a mutation that may come again.

        Raises OutcomeUnknown for a call with a session.
        """

    def begin(
        self,
        kind: Literal["query", "mutation"],
        path: str,
        args: dict[str, Any],
        *,
        credentials: Credentials,
        request_id: str,
        source: Source,
    ) -> Answer | Failure | Standing | Awaitable[Answer | Failure | Standing]:
        """`call` of a function of the app, as far as it goes without waiting. An awaitable has to be awaited.

        To what is standing `then` is to be said at once.
        """

    async def query_at(
        self, ts: int, path: str, args: dict[str, Any], *, credentials: Credentials, request_id: str, component_path: str = ""
    ) -> Answer | Failure:
        """A query at an earlier timestamp. Raises SnapshotGone."""

    def open_query(
        self,
        path: str,
        args: dict[str, Any],
        journal: str | None,
        *,
        credentials: Credentials,
        component_path: str,
        wake: Callable[[], None],
    ) -> LiveQuery:
        """Subscribe. Never raises: what is wrong with the call is its result.

        `wake` is called, without waiting, when a commit may have changed the result, and before `newest` or `pin` show that commit.
        """

    def find_route(self, method: str, path: str) -> Route | None:
        """Who answers requests to this path below `/http`; None for nobody."""

    def pin(self) -> Snapshot:
        """The newest durable state, kept readable until `unpin`."""

    def unpin(self, snapshot: Snapshot) -> None: ...

    def newest(self) -> Snapshot:
        """The same, not kept readable."""

    def offer_ts(self) -> int:
        """Its timestamp, for a client that will query at it: that snapshot stays readable for at least 30 s."""

    def describe(self, error: Exception, request_id: str) -> Failure:
        """What a client may read of an error that the server itself met before the call was made."""
