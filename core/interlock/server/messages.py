"""The messages of the sync socket: client messages read into types that cannot be wrong, server messages written as bytes.

Knows the wire and nothing else. What a message means is decided in `sync_session`.
"""

from __future__ import annotations

import base64
import binascii
import struct
import uuid
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from interlock.server.decoding import BadJson, read_json
from interlock.server.service import Answer, Failure, QueryResult

_U32 = 2**32
_MAX_TS = 2**63 - 1


class BadMessage(Exception):
    """A client message that no client of the protocol sends."""


class StateVersion(NamedTuple):
    """What a client has seen: the version of its query set, of its identity, and the timestamp of its results."""

    query_set: int = 0
    identity: int = 0
    ts: int = 0

    def encode(self) -> bytes:
        return b'{"querySet":%d,"identity":%d,"ts":"%b"}' % (self.query_set, self.identity, encode_ts(self.ts))


class Connect(NamedTuple):
    session_id: str
    max_observed_ts: int
    client_ts: int | None


class Add(NamedTuple):
    """`args` is what the client sent; it may be anything that JSON can say."""

    query_id: int
    path: str
    args: Any
    journal: str | None
    component_path: Any


class Remove(NamedTuple):
    query_id: int


class ModifyQuerySet(NamedTuple):
    base_version: int
    new_version: int
    modifications: tuple[Add | Remove, ...]


class Call(NamedTuple):
    """A Mutation or an Action."""

    request_id: int
    path: str
    args: Any
    component_path: Any
    is_mutation: bool


class Authenticate(NamedTuple):
    """`token` is None for a log-out. `acting_as` are the attributes of the user that an admin stands in for."""

    base_version: int
    token: str | None
    is_admin: bool
    acting_as: dict[str, Any] | None


class Event(NamedTuple):
    """Telemetry. Nothing depends on it."""


ClientMessage = Connect | ModifyQuerySet | Call | Authenticate | Event


def read_message(text: str | bytes) -> ClientMessage:
    """Raises BadMessage."""
    try:
        message = read_json(text)
    except BadJson as error:
        raise BadMessage(f"the message is not JSON: {error}") from None
    if not isinstance(message, dict):
        raise BadMessage("the message is not a JSON object")
    match message.get("type"):
        case "Connect":
            return _read_connect(message)
        case "ModifyQuerySet":
            modifications = message.get("modifications")
            if not isinstance(modifications, list):
                raise BadMessage("modifications must be an array")
            return ModifyQuerySet(_u32(message, "baseVersion"), _u32(message, "newVersion"), tuple(map(_read_modification, modifications)))
        case "Mutation" | "Action":
            return Call(
                _u32(message, "requestId"),
                _text(message, "udfPath"),
                message.get("args"),
                message.get("componentPath"),
                message["type"] == "Mutation",
            )
        case "Authenticate":
            return _read_authenticate(message)
        case "Event":
            return Event()
    raise BadMessage("type is none of Connect, ModifyQuerySet, Mutation, Action, Authenticate, Event")


def _read_connect(message: dict[str, Any]) -> Connect:
    try:
        session_id = str(uuid.UUID(_text(message, "sessionId")))
    except ValueError:
        raise BadMessage("sessionId must be a UUID") from None
    observed = message.get("maxObservedTimestamp")
    try:
        max_observed_ts = 0 if observed is None else decode_ts(observed)
    except ValueError as error:
        raise BadMessage(f"maxObservedTimestamp {error}") from None
    client_ts = message.get("clientTs")
    return Connect(session_id, max_observed_ts, client_ts if type(client_ts) is int and 0 < client_ts < 2**53 else None)


def _read_modification(modification: object) -> Add | Remove:
    if not isinstance(modification, dict):
        raise BadMessage("a modification must be an object")
    match modification.get("type"):
        case "Add":
            journal = modification.get("journal")
            if journal is not None and not isinstance(journal, str):
                raise BadMessage("journal must be a string or null")
            return Add(
                _u32(modification, "queryId"),
                _text(modification, "udfPath"),
                modification.get("args"),
                journal,
                modification.get("componentPath"),
            )
        case "Remove":
            return Remove(_u32(modification, "queryId"))
    raise BadMessage("a modification must be an Add or a Remove")


def _read_authenticate(message: dict[str, Any]) -> Authenticate:
    base_version = _u32(message, "baseVersion")
    match message.get("tokenType"):
        case "None":
            return Authenticate(base_version, None, False, None)
        case "User":
            return Authenticate(base_version, _text(message, "value"), False, None)
        case "Admin":
            acting_as = message.get("impersonating", message.get("acting_as"))
            if acting_as is not None and not isinstance(acting_as, dict):
                raise BadMessage("impersonating must be an object")
            return Authenticate(base_version, _text(message, "value"), True, acting_as)
    raise BadMessage("tokenType is none of User, Admin, None")


def _u32(message: dict[str, Any], name: str) -> int:
    value = message.get(name)
    if type(value) is not int or not 0 <= value < _U32:
        raise BadMessage(f"{name} must be a whole number below 2^32")
    return value


def _text(message: dict[str, Any], name: str) -> str:
    value = message.get(name)
    if not isinstance(value, str):
        raise BadMessage(f"{name} must be a string")
    return value


@lru_cache(maxsize=256)
def encode_ts(ts: int) -> bytes:
    """Cached: one commit is told to many clients."""
    return base64.b64encode(struct.pack("<Q", ts))


def decode_ts(text: object) -> int:
    """Raises ValueError, whose text reads on from the name of the field."""
    try:
        if not isinstance(text, str) or len(text) != 12:
            raise ValueError
        (ts,) = struct.unpack("<Q", base64.b64decode(text, validate=True))
    except (ValueError, binascii.Error, struct.error):
        raise ValueError("must be the base64 of a little-endian 64-bit number") from None
    if ts > _MAX_TS:
        raise ValueError("must be below 2^63")
    return int(ts)


PING = b'{"type":"Ping"}'


def fatal_error(reason: str) -> bytes:
    return orjson.dumps({"type": "FatalError", "error": reason})


def auth_error(reason: str, base_version: int, update_attempted: bool) -> bytes:
    return orjson.dumps({"type": "AuthError", "error": reason, "baseVersion": base_version, "authUpdateAttempted": update_attempted})


def response(request_id: int, outcome: Answer | Failure, *, is_mutation: bool) -> bytes:
    """A MutationResponse or an ActionResponse."""
    kind = b"MutationResponse" if is_mutation else b"ActionResponse"
    logs = orjson.dumps(list(outcome.log_lines)) if outcome.log_lines else b"[]"
    head = b'{"type":"%b","requestId":%d' % (kind, request_id)
    if isinstance(outcome, Answer):
        ts = b',"ts":"%b"' % encode_ts(outcome.ts) if is_mutation else b""
        return b"".join([head, b',"success":true,"result":', outcome.json, ts, b',"logLines":', logs, b"}"])
    data = b"" if outcome.data is None else b',"errorData":' + outcome.data
    return b"".join([head, b',"success":false,"result":', orjson.dumps(outcome.message), b',"logLines":', logs, data, b"}"])


def query_removed(query_id: int) -> list[bytes]:
    """A modification, in parts: a result that many clients get is not copied before it lies in each one's message."""
    return [b'{"type":"QueryRemoved","queryId":%d}' % query_id]


def query_result(query_id: int, result: QueryResult) -> list[bytes]:
    """A QueryUpdated or QueryFailed, in parts."""
    outcome = result.outcome
    logs = orjson.dumps(list(outcome.log_lines)) if outcome.log_lines else b"[]"
    journal = b"null" if result.journal is None else orjson.dumps(result.journal)
    tail = b',"logLines":%b,"journal":%b}' % (logs, journal)
    if isinstance(outcome, Answer):
        return [b'{"type":"QueryUpdated","queryId":%d,"value":' % query_id, outcome.json, tail]
    data = [] if outcome.data is None else [b',"errorData":', outcome.data]
    return [b'{"type":"QueryFailed","queryId":%d,"errorMessage":' % query_id, orjson.dumps(outcome.message), *data, tail]


def transition(start: StateVersion, end: StateVersion, modifications: Iterable[list[bytes]], clock: tuple[int, int] | None) -> bytes:
    """`clock` is (clientClockSkew ms, serverTs ns). Both or neither: a client takes one alone for an absurd latency."""
    parts = [b'{"type":"Transition","startVersion":', start.encode(), b',"endVersion":', end.encode(), b',"modifications":[']
    comma = False
    for modification in modifications:
        if comma:
            parts.append(b",")
        parts += modification
        comma = True
    parts.append(transition_end(clock))
    return b"".join(parts)


def transition_end(clock: tuple[int, int] | None) -> bytes:
    """The last part of a Transition."""
    return b"]}" if clock is None else b'],"clientClockSkew":%d,"serverTs":%d}' % clock


def chunks(message: bytes, size: int) -> list[bytes]:
    """A Transition in parts, cut between characters."""
    pieces: list[str] = []
    start = 0
    while start < len(message):
        end = min(start + size, len(message))
        while end < len(message) and message[end] & 0xC0 == 0x80:
            end -= 1
        pieces.append(message[start:end].decode())
        start = end
    total, transition_id = len(pieces), str(len(message))
    return [
        orjson.dumps({"type": "TransitionChunk", "chunk": piece, "partNumber": number, "totalParts": total, "transitionId": transition_id})
        for number, piece in enumerate(pieces)
    ]
