"""Fetches of all instances: whether one may go out, where its redirects may lead, and how many there are at once.

Start at `Fetcher.open`.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import structlog

from interlock.errors import ArgumentError, FetchFailed, LimitExceeded, PermissionDenied
from interlock.functions.fetch import headers as http_headers
from interlock.functions.fetch.decoding import ACCEPTED
from interlock.functions.fetch.fetched import HostFetched
from interlock.functions.fetch.headers import Headers
from interlock.functions.fetch.url import Place, parse
from interlock.functions.fetch.wire import Answering, Check, Hop, Resolve, Responder, Sender, Wire, WireError
from interlock.functions.log_lines import quietly
from interlock.limits import LIMITS
from interlock.mounting import Instance
from interlock.mounting.addresses import Address, is_loopback, is_private, is_public, kind_of
from interlock.mounting.network import Network, is_loopback_name, is_private_name

logger = structlog.get_logger("interlock.functions")

_SECONDS = LIMITS["fetch_wall"].value
_SECONDS_MAX = LIMITS["action_wall"].value
_REQUEST_MAX = int(LIMITS["fetch_request"].value)
_REDIRECTS_MAX = int(LIMITS["fetch_redirects"].value)
_AT_ONCE = int(LIMITS["fetches_running"].value)
_TOLD_MAX, _TOLD_SECONDS = 10, 60.0
"""How many refusals of a mount are told in the log of the server, in how many seconds."""
_METHOD = re.compile(r"[A-Za-z][A-Za-z0-9!#$%&'*+.^_`|~-]{0,31}")
_NO_METHODS = frozenset(("CONNECT", "TRACE", "TRACK"))
_MOVED = frozenset((301, 302, 303, 307, 308))


class Fetcher:
    """The network as the functions of one backend have it. `resolve` looks up names; a `responder` answers in the network's place."""

    def __init__(
        self, env: Mapping[str, str], secret: bytes, *, resolve: Resolve | None = None, responder: Responder | None = None
    ) -> None:
        self._env, self._secret = env, secret
        self._sender: Sender = Wire(resolve) if responder is None else Answering(responder)
        self._turns: dict[str, asyncio.Semaphore] = {}
        self._told: dict[str, tuple[float, int]] = {}  # since when, and how many refusals of a mount are in the log
        self._named = {"accept": "*/*", "accept-encoding": ACCEPTED, "user-agent": f"interlock/{version('interlock')}"}

    async def open(
        self,
        instance: Instance,
        who: str,
        url: Any,
        *,
        method: Any = "GET",
        headers: Any = None,
        body: Any = None,
        timeout: Any = None,
        whole: bool = True,
    ) -> HostFetched:
        """Send a request for a function, named `who`, and give its response when the head is there.

        Nothing that is given is trusted. Raises ArgumentError, PermissionDenied, FetchFailed, LimitExceeded.
        """
        method = _checked_method(method, who)
        seconds = _checked_seconds(timeout)
        given = http_headers.check(headers, who=who)
        content = _checked_body(body, given)
        place = parse(url, who=who)
        request = _Request(self, instance, who, f"{method} {place}"[:500])
        request.check_place(place, f"{who} fetches {place}")
        own_secrets = instance.secrets(self._env, self._secret)
        filled = http_headers.fill({**self._named, **given}, own_secrets)
        if filled.secret and place.scheme != "https" and not _is_near(place):
            raise PermissionDenied(f"{who} sends a secret to {place} unencrypted", "Fetch it by https.")
        turn = self._turns.setdefault(instance.path, asyncio.Semaphore(_AT_ONCE))
        deadline = asyncio.get_running_loop().time() + seconds
        is_over = False

        def give_turn_on() -> None:
            nonlocal is_over
            if not is_over:
                is_over = True
                turn.release()

        try:
            async with asyncio.timeout_at(deadline):
                await turn.acquire()
                try:
                    hop = await request.follow(method, place, filled, content)
                except BaseException:
                    give_turn_on()
                    raise
        except TimeoutError:
            raise FetchFailed(request.title, f"it took longer than {seconds:g} s") from None
        try:
            return HostFetched(request.title, hop, deadline=deadline if whole else None, timeout=seconds, on_close=give_turn_on)
        except BaseException:
            give_turn_on()
            await hop.close()
            raise

    async def send(self, method: str, place: Place, headers: Mapping[str, str], content: bytes, check: Check) -> Hop:
        """One request, without what follows from it."""
        return await self._sender.send(method, place, headers, content, check)

    def tell_refused(self, path: str, who: str, host: str, address: Address) -> None:
        """A line in the log of the server. Of one mount only some a minute: it may ask as often as it likes."""
        now = asyncio.get_running_loop().time()
        began, count = self._told.get(path, (-math.inf, 0))
        if now - began >= _TOLD_SECONDS:
            began, count = now, 0
        self._told[path] = began, count + 1
        if count < _TOLD_MAX:
            last = {"more": f"are not told for {_TOLD_SECONDS:g} s"} if count == _TOLD_MAX - 1 else {}
            quietly(lambda: logger.warning("fetch refused", function=who, host=host, address=str(address), **last))

    def close(self) -> None:
        """Let go of the threads that look up names."""
        self._sender.close()


class _Request:
    """One fetch on its way, through all its redirects."""

    def __init__(self, fetcher: Fetcher, instance: Instance, who: str, title: str) -> None:
        self._fetcher, self._instance, self._who, self.title = fetcher, instance, who, title
        self._network: Network | None = instance.network

    async def follow(self, method: str, place: Place, headers: Headers, content: bytes) -> Hop:
        """The first response that is no redirect."""
        for _ in range(_REDIRECTS_MAX + 1):
            try:
                hop = await self._fetcher.send(method, place, headers.items, content, self._check_address(place))
            except WireError as error:
                raise FetchFailed(self.title, str(error)) from None
            location = hop.headers.get("location")
            if hop.status not in _MOVED or location is None:
                return hop
            await hop.close()
            there = self._redirected(place, location)
            if there.origin != place.origin:
                headers = headers.for_another_origin()
            if (hop.status == 303 and method != "HEAD") or (hop.status in (301, 302) and method == "POST"):
                method, content, headers = "GET", b"", headers.without_body()
            place = there
        raise LimitExceeded("fetch_redirects", _REDIRECTS_MAX + 1, _REDIRECTS_MAX)

    def _redirected(self, place: Place, location: str) -> Place:
        import httpx

        try:
            joined = str(httpx.URL(str(place)).join(location))
            there = parse(joined, who=f"{self._who}, led on by {place},")
        except (httpx.InvalidURL, ValueError, ArgumentError) as error:
            raise FetchFailed(self.title, f"{place} leads on to what is no URL: {error}") from None
        self.check_place(there, f"{self._who} fetches {place}, which leads on to {there}")
        return there

    def check_place(self, place: Place, tried: str) -> None:
        """Raises PermissionDenied where the mount does not allow the host."""
        if self._network is not None and not self._network.allows(place.host, place.port):
            raise PermissionDenied(tried, self._what_allows(place.permission))

    def _check_address(self, place: Place) -> Check:
        def check(address: Address) -> None:
            network = self._network
            if network is None or is_public(address) or network.names_address(address, place.port) or self._is_meant(place, address):
                return
            # The address itself is for the operator: a component that may ask for any name is not to map the network behind us.
            self._fetcher.tell_refused(self._instance.path, self._who, place.host, address)
            tried = f"{self._who} fetches {place}, and {place.host} is {kind_of(address)}"
            if place.address is not None:
                raise PermissionDenied(tried, self._what_allows(place.permission))
            raise PermissionDenied(
                tried, 'If that is meant, allow the address itself, allow=["net:…"], where it is mounted; the log has it.'
            )

        return check

    def _is_meant(self, place: Place, address: Address) -> bool:
        """Whether a name that can lead nowhere but here is allowed as such."""
        network = self._network
        if network is None or place.address is not None or not network.is_by_name(place.host, place.port):
            return False
        if is_loopback_name(place.host):
            return is_loopback(address)
        return is_private_name(place.host) and (is_private(address) or is_loopback(address))

    def _what_allows(self, permission: str) -> str:
        mount = self._instance.mount
        where = f" at {mount.where}" if mount is not None else ""
        asked = permission in self._instance.manifest.permissions
        ask = "" if asked else f'permissions=["{permission}"] in the component, and '
        return f'If that is meant, write {ask}allow=["{permission}"] where it is mounted{where}.'


def _is_near(place: Place) -> bool:
    """Whether what is sent there does not leave this machine's surroundings."""
    address = place.address
    return is_private_name(place.host) if address is None else not is_public(address)


def _checked_method(method: Any, who: str) -> str:
    if not isinstance(method, str) or not _METHOD.fullmatch(method):
        raise ArgumentError("ctx.fetch", ".method", "a method like POST", http_headers.shown(method))
    if method.upper() in _NO_METHODS:
        raise PermissionDenied(f"{who} fetches with {method.upper()}", "Use GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS.")
    return method.upper()


def _checked_seconds(timeout: Any) -> float:
    if timeout is None:
        return _SECONDS
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout < math.inf:
        raise ArgumentError("ctx.fetch", ".timeout", "a number of seconds above 0", _shown_number(timeout))
    return min(float(timeout), _SECONDS_MAX)


def _shown_number(value: Any) -> str:
    return str(value) if isinstance(value, float) or (isinstance(value, int) and abs(value) < 10**9) else http_headers.shown(value)


def _checked_body(body: Any, headers: dict[str, str]) -> bytes:
    """The body as it is sent. A text says what it is, unless the author has."""
    if body is None:
        return b""
    if isinstance(body, str):
        try:
            content = body.encode()
        except UnicodeEncodeError:
            raise ArgumentError("ctx.fetch", ".body", "text that UTF-8 has", "one with half a surrogate pair") from None
        headers.setdefault("content-type", "text/plain; charset=utf-8")
    elif isinstance(body, bytes | bytearray | memoryview):
        content = bytes(body)
    else:
        raise ArgumentError("ctx.fetch", ".body", "bytes or a string; of other data json.dumps(…)", f"a {type(body).__name__}")
    if len(content) > _REQUEST_MAX:
        raise LimitExceeded("fetch_request", len(content), _REQUEST_MAX)
    return content
