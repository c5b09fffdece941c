"""The sync protocol of one connection, without its transport: client messages in, server messages out.

Decided here: the order in which a connection's messages take effect. Mutations run one at a time in the order sent, actions at once.
Every answer is followed by a Transition.

Start at `SyncSession.receive`; what goes out is in `outgoing`. Time, the socket and the backend are parameters, so a session runs as
well on a simulated loop.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import deque

from interlock.errors import InterlockError, LimitExceeded, Unauthenticated
from interlock.limits import LIMITS
from interlock.server import messages
from interlock.server.auth import ProviderUnreachable
from interlock.server.client_version import ClientVersion
from interlock.server.messages import Add, Authenticate, BadMessage, Call, Connect, ModifyQuerySet
from interlock.server.outgoing import INTERNAL_ERROR, NORMAL_CLOSE, Outgoing
from interlock.server.service import ANONYMOUS, Answer, Credentials, Failure, OutcomeUnknown
from interlock.server.shared import Shared
from interlock.server.target import read_target
from interlock.server.wire import Wire

log = logging.getLogger("interlock.server")


class _Closed(Exception):
    """The connection has to end, with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code, self.reason = code, reason


class SyncSession(Outgoing):
    """One connection of a client."""

    __slots__ = ("_actions", "_authenticator", "_is_finishing", "_mutating", "_mutations", "_query_ids")

    def __init__(self, shared: Shared, wire: Wire, client: ClientVersion) -> None:
        super().__init__(shared, wire, client)
        self._authenticator = shared.authenticator
        self._query_ids: set[int] = set()
        self._mutations: deque[tuple[Call, Credentials, int]] = deque()
        self._mutating: asyncio.Task[None] | None = None
        self._actions: set[asyncio.Task[None]] = set()
        self._is_finishing = False

    # What comes in

    async def receive(self, text: str | bytes) -> None:
        """Take one message of the client. Messages must be handed in one after the other. Never raises."""
        if self._is_over or self._is_finishing:
            return
        size = len(text)
        try:
            await self._held.wait_room(size)
            await self._take(messages.read_message(text), size)
        except BadMessage as error:
            self._send(messages.fatal_error(f"Received an invalid message: {error}"))
            self._end(*NORMAL_CLOSE)
        except _Closed as closed:
            self._end(closed.code, closed.reason)
        except Exception:
            log.exception("a message of a client could not be handled")
            self._end(*INTERNAL_ERROR)

    async def _take(self, message: messages.ClientMessage, size: int) -> None:
        if isinstance(message, Connect):
            return self._connect(message)
        if self._session_id is None:
            raise BadMessage("the first message must be Connect")
        if isinstance(message, Call):
            if not self._check_expiry():
                self._held.add(size)
                self._take_mutation(message, size) if message.is_mutation else self._take_action(message, size)
        elif isinstance(message, ModifyQuerySet):
            self._modify_query_set(message, size)
        elif isinstance(message, Authenticate):
            await self._authenticate(message)
        return None

    def _connect(self, message: Connect) -> None:
        if self._session_id is not None:
            raise BadMessage("Connect was sent twice")
        if message.max_observed_ts > self._service.newest().ts:
            # It has seen commits that are not here (another database, a lost one): serving it would take back what it was shown.
            log.warning("a client has seen commits that are not in this database; it is turned away")
            raise _Closed(*INTERNAL_ERROR)
        self._session_id = message.session_id
        if message.client_ts is not None:
            self._clock_skew_ms = message.client_ts - int(self._clock.now_ms())

    def _modify_query_set(self, message: ModifyQuerySet, size: int) -> None:
        if message.base_version != self._received.query_set or message.new_version <= message.base_version:
            raise BadMessage(
                f"BaseVersionMismatch: a query set of version {message.base_version} cannot become {message.new_version}, "
                f"it is at version {self._received.query_set}"
            )
        for modification in message.modifications:
            if isinstance(modification, Add) == (modification.query_id in self._query_ids):
                raise _Closed(*INTERNAL_ERROR)  # an Add of a live id, or a Remove of an unknown one: the two sides no longer agree
            self._query_ids ^= {modification.query_id}
        if len(self._query_ids) > LIMITS["socket_queries"].value:
            raise _Closed(1013, "TooManyQueries")
        self._modifications += message.modifications
        self._modifications_size += size
        self._held.add(size)
        self._received = self._received._replace(query_set=message.new_version)
        self._wake_now()

    async def _authenticate(self, message: Authenticate) -> None:
        if message.base_version != self._received.identity:
            raise _Closed(*INTERNAL_ERROR)
        try:
            if message.token is None:
                credentials = ANONYMOUS
            elif message.is_admin:
                credentials = self._authenticator.admin(message.token, message.acting_as)
            else:
                credentials = await self._authenticator.user(message.token)
        except Unauthenticated as error:
            return self._reject_identity(str(error), update_attempted=True)
        except ProviderUnreachable as error:
            log.warning("a token could not be checked: %s", error)
            raise _Closed(*INTERNAL_ERROR) from None
        self._credentials = credentials
        self._received = self._received._replace(identity=self._received.identity + 1)
        self._watch_expiry()
        self._wake_now()
        return None

    # Calls

    def _take_mutation(self, call: Call, size: int) -> None:
        if len(self._mutations) >= LIMITS["socket_mutations"].value:
            raise _Closed(1013, "TooManyConcurrentMutations")
        self._mutations.append((call, self._credentials, size))
        if self._mutating is None:
            self._mutating = self._spawn(self._run_mutations())

    async def _run_mutations(self) -> None:
        try:
            # When the connection has ended, what waits is left to the client to send again; what runs is let run.
            while self._mutations and not self._is_over:
                call, credentials, size = self._mutations.popleft()
                await self._answer(call, credentials, size)
        finally:
            self._mutating = None

    def _take_action(self, call: Call, size: int) -> None:
        if len(self._actions) >= LIMITS["socket_actions"].value:
            raise _Closed(1013, "TooManyConcurrentActions")
        action = self._spawn(self._answer(call, self._credentials, size))
        self._actions.add(action)
        action.add_done_callback(self._actions.discard)

    async def _answer(self, call: Call, credentials: Credentials, size: int) -> None:
        assert self._session_id is not None
        request_id = hashlib.sha256(f"{self._session_id}|{call.request_id}".encode()).hexdigest()[:16]
        try:
            target = read_target(call, credentials)
            outcome = await self._service.call(
                "mutation" if call.is_mutation else "action",
                target.path,
                target.args,
                credentials=credentials,
                request_id=request_id,
                source="client",
                component_path=target.component_path,
                session=(self._session_id, call.request_id) if call.is_mutation else None,
            )
            message = self._response(call, outcome, request_id)
        except InterlockError as error:
            message = self._response(call, self._refuse(error, request_id), request_id)
        except OutcomeUnknown:
            return self._end(*INTERNAL_ERROR)  # told nothing, the client sends it again, and the kept answer says what became of it
        except Exception:
            log.exception("%r could not be called", call.path[:200])
            return self._end(*INTERNAL_ERROR)
        finally:
            self._held.take_off(size)
        while self._wire.is_full and not self._is_over:
            await self._wire.wait_drained()
        self._owed = message
        self._wake_now()
        if self._owed:
            self._send()
        return None

    def _response(self, call: Call, outcome: Answer | Failure, request_id: str) -> bytes:
        message = messages.response(call.request_id, outcome, is_mutation=call.is_mutation)
        if len(message) <= self._message_max:
            return message
        too_large = LimitExceeded("message to this client", len(message), self._message_max)
        return messages.response(call.request_id, self._service.describe(too_large, request_id), is_mutation=call.is_mutation)

    # The end

    async def finish(self) -> None:
        """Take nothing more, answer what was taken, then close: for a server that stops."""
        self._is_finishing = True
        while not self._is_over and (busy := [task for task in (self._mutating, self._pumping, *self._actions) if task is not None]):
            await asyncio.wait(busy, return_when=asyncio.FIRST_COMPLETED)
        self.close_now()

    def _stop(self) -> None:
        super()._stop()
        self._mutations.clear()
