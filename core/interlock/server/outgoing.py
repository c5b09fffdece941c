"""What one client is told, and when; and when it is told to go.

All queries of a client move together to one timestamp, by a Transition. One is on its way at a time, and what happens meanwhile is told
by the next. A client that hears nothing is sent a Ping; one that takes nothing, or whose identity has met its end, is let go of.

Start at `Outgoing._transition`; on a fan-out it is `_tell_as_others` that runs. Knows the messages of a client only by what they have
left: modifications of its query set, versions, credentials.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Iterable

from interlock.clock import Timer
from interlock.errors import FunctionNotFound, InterlockError, LimitExceeded, ValueRefused
from interlock.limits import LIMITS, MIB
from interlock.server import messages
from interlock.server.auth import is_expired
from interlock.server.client_version import ClientVersion
from interlock.server.held import Held
from interlock.server.messages import Add, Remove, StateVersion
from interlock.server.refusals import Refusals
from interlock.server.service import ANONYMOUS, Failure, LiveQuery, QueryResult, Snapshot
from interlock.server.shared import Shared
from interlock.server.subscription import RefusedQuery, Subscriber, Subscription, results_at
from interlock.server.target import read_target
from interlock.server.wire import Wire

log = logging.getLogger("interlock.server")

PING_AFTER_MS = 15_000.0
"""A client that has heard nothing for so long is sent a Ping; the official ones give up after 30 and 60 s."""

STALLED_TICKS = 3
"""A client that has taken nothing of what waits for it in so many looks, 15 s apart, is cut off."""

INTERNAL_ERROR = (1011, "InternalServerError")
NORMAL_CLOSE = (1000, "")
_DAY_MS = 86_400_000.0
_FRAME_MAX = 16 * MIB
_MESSAGE_MAX = 64 * MIB
_NPM_MESSAGE_MAX = 100 * MIB
_SMALL = MIB  # what every client takes as it is


class Outgoing(Subscriber):
    """The side of a connection that sends."""

    # A thousand of them are gone through on a fan-out, and then it is memory that costs.
    __slots__ = (
        "_awaited",
        "_client",
        "_clock",
        "_clock_skew_ms",
        "_credentials",
        "_expiry",
        "_fan_out",
        "_has_turn",
        "_has_waited",
        "_heartbeat",
        "_held",
        "_is_over",
        "_last_sent_ms",
        "_modifications",
        "_modifications_size",
        "_must_tell",
        "_owed",
        "_pumping",
        "_received",
        "_refusals",
        "_sent",
        "_service",
        "_session_id",
        "_spawn",
        "_stale",
        "_stalled_at",
        "_stalled_ticks",
        "_subscriptions",
        "_turns",
        "_wire",
    )

    def __init__(self, shared: Shared, wire: Wire, client: ClientVersion) -> None:
        self._service = shared.service
        self._clock = shared.clock
        self._turns = shared.turns
        self._spawn = shared.spawn
        self._fan_out = shared.fan_out
        self._wire = wire
        self._client = client

        self._session_id: str | None = None
        self._clock_skew_ms: int | None = None
        self._credentials = ANONYMOUS
        self._received = StateVersion()  # versions of what the client asked for; its ts is unused
        self._sent = StateVersion()

        self._modifications: list[Add | Remove] = []
        self._modifications_size = 0
        self._subscriptions: dict[int, Subscription] = {}
        self._stale: list[Subscription] = []

        self._pumping: asyncio.Task[None] | None = None
        self._has_turn = False
        self._has_waited = False
        self._awaited = 0
        self._must_tell = False
        self._owed = b""  # an answer that goes out with the Transition behind it: one write, and the client wakes once
        self._held = Held()
        self._refusals = Refusals()

        self._is_over = False
        self._last_sent_ms = self._clock.now_ms()
        self._stalled_at = 0
        self._stalled_ticks = 0
        self._heartbeat: Timer = self._clock.call_at(self._last_sent_ms + PING_AFTER_MS, self._tick)
        self._expiry: Timer | None = None

    # Transitions

    def _wake_now(self) -> None:
        """The client is owed a Transition."""
        self._must_tell = True
        if self._pumping is None and not self._is_over and not self._tell_at_once():
            self._start_pump()

    def touched(self, subscription: Subscription) -> None:
        """The result of a query has ended."""
        self._stale.append(subscription)
        live = subscription.live
        # A commit has touched what the client looks at; so it has perhaps for many others. It is told in its turn, once that is known.
        if self._pumping is None and live is not None and (self._awaited or not self._has_turn):
            self._has_turn = self._has_waited = True
            self._awaited += 1
            live.when_ready(self._on_ready)

    def _take_turn(self) -> None:
        self._has_turn = False
        if self._tell_as_others():
            return
        if self._pumping is not None or self._is_over or not (self._must_tell or self._stale):
            return
        unknown: list[LiveQuery] = []
        if self._tell_at_once(unknown):
            self._has_waited = False
        elif not unknown or self._has_waited:
            # Waited for once, it has ended again meanwhile: now the snapshot is held on to.
            self._has_waited = False
            self._start_pump()
        else:
            self._has_waited = self._has_turn = True
            self._awaited = len(unknown)
            for live in unknown:
                live.when_ready(self._on_ready)

    def _on_ready(self) -> None:
        self._awaited -= 1
        if not self._awaited:
            self._turns.call_in_turn(self._take_turn)

    def _tell_as_others(self) -> bool:
        """Tell the client of one new result, which is what a fan-out is made of: mostly a message that is there already.

        That nothing else is to be told is known from `_must_tell`: until it is false, there may be a new query set or identity.
        """
        turns, fan_out, stale = self._turns, self._fan_out, self._stale
        if fan_out.go != turns.go:
            fan_out.begin(turns.go)
        if len(stale) != 1 or self._must_tell or self._pumping is not None or self._expiry is not None or self._wire.is_full:
            return False
        subscription = stale[0]
        live = subscription.live
        result = live.peek(fan_out.snapshot.place) if live is not None else None
        if result is None:
            return False
        sent, query_id = self._sent, subscription.add.query_id
        if not (
            result is fan_out.result
            and subscription.last is fan_out.before
            and query_id == fan_out.query_id
            and (sent is fan_out.start or sent == fan_out.start)
        ):
            fan_out.prepare(sent, query_id, subscription.last, result)
        message = fan_out.message
        if message:
            if len(message) > _SMALL:
                return False
            if self._clock_skew_ms is not None:
                message = message[:-2] + messages.transition_end((self._clock_skew_ms, int(fan_out.now_ms * 1e6)))
            self._sent = fan_out.end
            self._last_sent_ms = fan_out.now_ms
            self._wire.send(message)
        subscription.journal = result.journal
        subscription.last = result
        subscription.is_stale = False
        stale.clear()
        self._has_waited = False
        return True

    def _start_pump(self) -> None:
        self._pumping = self._spawn(self._pump())

    def _tell_at_once(self, unknown: list[LiveQuery] | None = None) -> bool:
        """Tell the client what can be told without waiting, task and pin: on a fan-out that is nearly everything.

        False when there is something to wait for; `unknown` are then the queries whose results are not known.
        """
        if self._modifications or self._received.identity != self._sent.identity or self._wire.is_full:
            return False
        if self._check_expiry():
            return True
        snapshot = self._service.newest()
        results: list[tuple[Subscription, QueryResult]] = []
        missing: list[LiveQuery] = []
        for subscription in self._stale:
            live = subscription.live
            if live is not None:
                result = live.peek(snapshot.place)
                if result is None:
                    missing.append(live)
                else:
                    results.append((subscription, result))
        if missing:
            if unknown is not None:
                unknown += missing
            return False
        for subscription in self._stale:
            subscription.is_stale = False
        self._stale.clear()
        told = self._changes(results)
        if told or self._must_tell:
            self._must_tell = False
            self._tell(self._sent._replace(query_set=self._received.query_set, ts=max(snapshot.ts, self._sent.ts)), told)
        return True

    async def _pump(self) -> None:
        """The only sender of Transitions. One is on its way at a time; what happens meanwhile is told by the next."""
        try:
            while (self._must_tell or self._stale) and not self._is_over and not self._check_expiry():
                snapshot = self._service.pin()
                try:
                    await self._transition(snapshot)
                finally:
                    self._service.unpin(snapshot)
                while self._wire.is_full and not self._is_over:
                    await self._wire.wait_drained()
        except Exception:
            if not self._is_over:  # else the queries were closed under it
                log.exception("a client could not be told its results")
                self._end(*INTERNAL_ERROR)
        finally:
            self._pumping = None

    async def _transition(self, snapshot: Snapshot) -> None:
        # No await from the snapshot to the results: versions, modifications, identity and snapshot have to be of one moment.
        must_tell, self._must_tell = self._must_tell, False
        end = StateVersion(self._received.query_set, self._received.identity, max(snapshot.ts, self._sent.ts))
        if end.identity != self._sent.identity:
            for subscription in list(self._subscriptions.values()):
                self._open(subscription)
        removed = self._apply_modifications()
        stale, self._stale = self._stale, []
        for subscription in stale:
            subscription.is_stale = False
        wanted = [subscription for subscription in stale if subscription.live is not None]

        results = await results_at(snapshot.place, wanted) if wanted else []
        if self._is_over:
            return
        told = self._changes(zip(wanted, results, strict=True))
        for query_id in removed:
            told[query_id] = messages.query_removed(query_id)

        if not must_tell:
            if not told:
                return
            await self._turns.wait_turn()
        self._tell(end, told)

    @staticmethod
    def _changes(results: Iterable[tuple[Subscription, QueryResult]]) -> dict[int, list[bytes]]:
        """The modifications, by query, that bring the client from what it has to these results."""
        told: dict[int, list[bytes]] = {}
        for subscription, result in results:
            subscription.journal = result.journal
            if not result.looks_like(subscription.last):
                subscription.last = result
                told[subscription.add.query_id] = messages.query_result(subscription.add.query_id, result)
        return told

    def _apply_modifications(self) -> list[int]:
        """Bring the subscriptions to the query set that was asked for; which of the client's queries are gone by that."""
        modifications, self._modifications = self._modifications, []
        self._held.take_off(self._modifications_size)
        self._modifications_size = 0
        removed = []
        for modification in modifications:
            if isinstance(modification, Add):
                added = self._subscriptions[modification.query_id] = Subscription(self, modification)
                self._open(added)
            else:
                if (subscription := self._subscriptions.pop(modification.query_id, None)) is not None:
                    subscription.close()
                removed.append(modification.query_id)
        return [query_id for query_id in removed if query_id not in self._subscriptions]

    def _open(self, subscription: Subscription) -> None:
        """Subscribe under the identity of now."""
        add, before = subscription.add, subscription.live
        try:
            target = read_target(add, self._credentials)
            subscription.live = self._service.open_query(
                target.path,
                target.args,
                subscription.journal,
                credentials=self._credentials,
                component_path=target.component_path,
                wake=subscription.wake,
            )
        except InterlockError as error:
            request_id = hashlib.sha256(f"{self._session_id}|query|{add.query_id}".encode()).hexdigest()[:16]
            subscription.live = RefusedQuery(self._refuse(error, request_id))
        if before is not None:
            before.close()  # only now: for the same user the query is the same, and its result is still there
        if not subscription.is_stale:
            self._mark_stale(subscription)

    def _mark_stale(self, subscription: Subscription) -> None:
        subscription.is_stale = True
        self._stale.append(subscription)

    def _tell(self, end: StateVersion, told: dict[int, list[bytes]]) -> None:
        clock = None if self._clock_skew_ms is None else (self._clock_skew_ms, int(self._clock.now_ms() * 1e6))
        message = messages.transition(self._sent, end, told.values(), clock)
        if self._client.takes_chunks:
            size = int(LIMITS["transition_chunk"].value)
            parts = [message] if len(message) <= size else messages.chunks(message, size)
        else:
            if len(message) > self._message_max:
                message = messages.transition(self._sent, end, self._shortened(told, len(message) - self._message_max), clock)
            parts = [message]
        self._sent = end
        for part in parts:
            self._send(part)

    def _shortened(self, told: dict[int, list[bytes]], excess: int) -> Iterable[list[bytes]]:
        """The modifications with the largest results turned into failures, until the message is one that the client can take."""
        sizes = {query_id: sum(map(len, modification)) for query_id, modification in told.items()}
        for query_id in sorted(sizes, key=lambda each: -sizes[each]):
            if excess <= 0 or query_id not in self._subscriptions:
                break
            too_large = LimitExceeded("message to this client", self._message_max + excess, self._message_max)
            result = QueryResult(self._service.describe(too_large, "0" * 16))
            told[query_id] = messages.query_result(query_id, result)
            excess -= sizes[query_id] - sum(map(len, told[query_id]))
            self._subscriptions[query_id].last = result
        return told.values()

    def _refuse(self, error: InterlockError, request_id: str) -> Failure:
        """The answer to a call that was not made."""
        if self._refusals.are_too_many(self._clock.now_ms(), one_more=isinstance(error, ValueRefused | FunctionNotFound)):
            self._end(1013, "TooManyMalformedCalls")
        return self._service.describe(error, request_id)

    # Sending

    @property
    def _message_max(self) -> int:
        """The longest message that the client takes."""
        if self._client.name == "npm":
            return _NPM_MESSAGE_MAX
        return _MESSAGE_MAX if self._wire.can_fragment else _FRAME_MAX

    def _send(self, *messages: bytes) -> None:
        if self._owed:
            messages, self._owed = (self._owed, *messages), b""
        if not self._is_over:
            self._last_sent_ms = self._clock.now_ms()
            self._wire.send(*messages)

    # Time

    def _tick(self) -> None:
        """Say something to a client that has heard nothing for long, and let go of one that does not listen."""
        if self._is_over:
            return None
        now_ms = self._clock.now_ms()
        buffered = self._wire.buffered()
        self._stalled_ticks = self._stalled_ticks + 1 if buffered and buffered >= self._stalled_at else 0
        self._stalled_at = buffered
        if self._stalled_ticks >= STALLED_TICKS:
            log.info("a client takes nothing of what it is sent; it is cut off")
            self._wire.abort()
            return self.disconnected()
        if not buffered and not 0 <= now_ms - self._last_sent_ms < PING_AFTER_MS:  # below zero: the clock was set back
            self._send(messages.PING)
        due_ms = now_ms + PING_AFTER_MS if buffered else self._last_sent_ms + PING_AFTER_MS
        self._heartbeat = self._clock.call_at(due_ms, self._tick)
        return None

    def _watch_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        if self._credentials.expires_ms is not None:
            due_ms = min(self._credentials.expires_ms, self._clock.now_ms() + _DAY_MS)
            self._expiry = self._clock.call_at(due_ms, self._on_expiry)

    def _on_expiry(self) -> None:
        if not self._check_expiry() and not self._is_over:
            self._watch_expiry()

    def _check_expiry(self) -> bool:
        """Whether the identity has met its end; the connection ends with it."""
        if self._is_over or not is_expired(self._credentials, self._clock):
            return False
        self._reject_identity("The token of this connection has expired.", update_attempted=False)
        return True

    def _reject_identity(self, reason: str, *, update_attempted: bool) -> None:
        self._send(messages.auth_error(reason, self._sent.identity, update_attempted))
        self._end(*NORMAL_CLOSE)

    # The end

    @property
    def is_over(self) -> bool:
        return self._is_over

    def close_now(self) -> None:
        """Close as a server does that stops."""
        self._end(*INTERNAL_ERROR)

    def disconnected(self) -> None:
        """The connection is gone."""
        self._stop()

    def _end(self, code: int, reason: str) -> None:
        if not self._is_over:
            self._stop()
            self._wire.close(code, reason)

    def _stop(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._heartbeat.cancel()
        if self._expiry is not None:
            self._expiry.cancel()
        self._modifications.clear()
        for subscription in self._subscriptions.values():
            subscription.close()
        self._subscriptions.clear()
        self._stale.clear()
        self._held.close()
