"""One request and the head of its response, over the network or from a test's responder. Follows nothing and fills in nothing.

Every request has a connection of its own, which is never anybody else's, and goes through no proxy. The name is looked up once;
each address that it has is looked at; and one of those very addresses is connected to.
"""

from __future__ import annotations

import asyncio
import inspect
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from interlock.functions.fetch.url import Place
from interlock.mounting.addresses import Address, address_in
from interlock.sandbox.failures import cleaned
from interlock.sdk.http import Request, Response

if TYPE_CHECKING:
    import ssl

    import httpcore

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a name. Raises OSError."""

Responder = Callable[[Request], "Response | Awaitable[Response]"]
"""Answers fetches in the place of the network."""

Check = Callable[[Address], None]
"""Raises PermissionDenied for an address that must not be connected to."""

_LOOKUPS_AT_ONCE = 64  # more than one mount has fetches
_HEAD_MAX = 128 * 1024
_HEAD_READ = 4 * 1024
"""What is read of a head at once: heads before the head (1xx) are read without a break."""
_ADDRESSES_MAX = 8
_PATIENCE_SECONDS = 5.0
"""How long one of several addresses is tried."""


class WireError(Exception):
    """There is no response; the text says why."""


@dataclass(slots=True)
class Hop:
    """The head of a response, and the way to its body. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: AsyncIterator[bytes]
    close: Callable[[], Awaitable[None]]


class Sender(Protocol):
    """Whoever brings a request to its place."""

    async def send(self, method: str, place: Place, headers: Mapping[str, str], body: bytes, check: Check) -> Hop:
        """Raises WireError, and what `check` raises."""

    def close(self) -> None: ...


class Wire:
    """The network."""

    def __init__(self, resolve: Resolve | None = None) -> None:
        self._resolve = resolve or self._look_up
        self._threads: ThreadPoolExecutor | None = None
        self._tls: ssl.SSLContext | None = None

    async def send(self, method: str, place: Place, headers: Mapping[str, str], body: bytes, check: Check) -> Hop:
        import httpcore

        addresses = await self._addresses(place, check)
        heads = _Heads()
        pool = httpcore.AsyncConnectionPool(
            ssl_context=self._trust() if place.scheme == "https" else None,
            max_connections=1,
            max_keepalive_connections=0,
            network_backend=_to(addresses, heads),
        )
        url = httpcore.URL(scheme=place.scheme, host=place.host, port=place.port, target=place.target)
        sent = [("Host", place.authority), *headers.items()]
        if body or method in ("POST", "PUT", "PATCH"):
            sent.append(("Content-Length", str(len(body))))
        request = httpcore.Request(
            method, url, headers=[(name.encode("ascii"), value.encode("latin-1")) for name, value in sent], content=body
        )
        try:
            response = await pool.handle_async_request(request)
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError) as error:
            await pool.aclose()
            raise WireError(_told(error)) from None
        except BaseException:
            await pool.aclose()
            raise
        heads.are_read = True

        async def read() -> AsyncIterator[bytes]:
            try:
                async for data in response.aiter_stream():
                    yield data
            except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError) as error:
                raise WireError(_told(error)) from None

        async def close() -> None:
            await response.aclose()
            await pool.aclose()

        return Hop(response.status, _joined(response.headers), read(), close)

    def close(self) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None

    async def _addresses(self, place: Place, check: Check) -> list[Address]:
        """Where to connect to. One that must not be refuses all: a name that leads to strangers and to us at once is a trick."""
        own = place.address
        if own is not None:
            check(own)
            return [own]
        try:
            answers = await self._resolve(place.host, place.port)
        except (OSError, UnicodeError) as error:
            raise WireError(f"{place.host} has no address: {_told(error)}") from None
        addresses: dict[Address, None] = {}
        for answer in answers:
            address = address_in(answer)
            if address is None:
                raise WireError(f"{place.host} has an address that is none")
            check(address)
            addresses[address] = None
        if not addresses:
            raise WireError(f"{place.host} has no address")
        return list(addresses)[:_ADDRESSES_MAX]

    async def _look_up(self, host: str, port: int) -> Sequence[str]:
        if self._threads is None:
            # Their own: names that are slow to look up hold up nothing but other fetches.
            self._threads = ThreadPoolExecutor(_LOOKUPS_AT_ONCE, "interlock-lookup")
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return [str(address[0]) for *_, address in found]

    def _trust(self) -> ssl.SSLContext:
        if self._tls is None:
            import httpx

            self._tls = httpx.create_ssl_context()
        return self._tls


class _Heads:
    """How much has come before the body."""

    def __init__(self) -> None:
        self.size = 0
        self.are_read = False


def _to(addresses: Iterable[Address], heads: _Heads) -> httpcore.AsyncNetworkBackend:
    """Connects to these addresses, whatever it is asked for: they have been looked at. What comes before a body is counted."""
    import httpcore

    real = httpcore.AnyIOBackend()
    at = list(addresses)

    class Counted(httpcore.AsyncNetworkStream):
        def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
            self._stream = stream

        async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            if heads.are_read:
                return await self._stream.read(max_bytes, timeout)
            data = await self._stream.read(min(max_bytes, _HEAD_READ), timeout)
            heads.size += len(data)
            if heads.size > _HEAD_MAX:
                raise httpcore.RemoteProtocolError(f"its head has more than {_HEAD_MAX:,} bytes")
            return data

        async def write(self, buffer: bytes, timeout: float | None = None) -> None:
            await self._stream.write(buffer, timeout)

        async def aclose(self) -> None:
            await self._stream.aclose()

        async def start_tls(
            self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
        ) -> httpcore.AsyncNetworkStream:
            return Counted(await self._stream.start_tls(ssl_context, server_hostname, timeout))

        def get_extra_info(self, info: str) -> Any:
            return self._stream.get_extra_info(info)

    class ToChecked(httpcore.AsyncNetworkBackend):
        async def connect_tcp(
            self,
            host: str,
            port: int,
            timeout: float | None = None,
            local_address: str | None = None,
            socket_options: Any = None,
        ) -> httpcore.AsyncNetworkStream:
            for address in at[:-1]:
                try:
                    async with asyncio.timeout(_PATIENCE_SECONDS):
                        return Counted(await real.connect_tcp(str(address), port))
                except (httpcore.ConnectError, TimeoutError):
                    continue
            return Counted(await real.connect_tcp(str(at[-1]), port))

        async def sleep(self, seconds: float) -> None:
            await real.sleep(seconds)

    return ToChecked()


class Answering:
    """A responder of a test. No address is looked up: what the mount allows by name is all that is looked at, and addresses in URLs."""

    def __init__(self, responder: Responder) -> None:
        self._responder = responder

    async def send(self, method: str, place: Place, headers: Mapping[str, str], body: bytes, check: Check) -> Hop:
        if place.address is not None:
            check(place.address)
        answered = self._responder(Request(method, str(place), {"host": place.authority, **headers}, body))
        response = await answered if inspect.isawaitable(answered) else answered
        if not isinstance(response, Response):
            raise TypeError(f"a responder of fetches gives a Response, not {type(response).__name__}")
        content = response.body.encode() if isinstance(response.body, str) else bytes(response.body)

        async def read() -> AsyncIterator[bytes]:
            if content:
                yield content

        async def close() -> None:
            pass

        return Hop(response.status, {name.lower(): value for name, value in response.headers.items()}, read(), close)

    def close(self) -> None:
        pass


def _joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for name, value in headers:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return {name: ", ".join(values) for name, values in found.items()}


def _told(error: Exception) -> str:
    said = cleaned(str(error))[:500]
    return said or type(error).__name__
