"""Who is calling: tokens and admin keys in, `Credentials` out.

Signatures are PyJWT's business. What is decided here: which provider answers for a token, where its keys come from and how long
they are kept, and which claims become the identity.

Start at `Authenticator`. PyJWT, the cryptography under it and httpx are loaded with the first provider, or token: a third of a second and
10 MB that an app without sign-in has no use for.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from interlock.clock import Clock
from interlock.errors import Unauthenticated
from interlock.hooks import Authenticator as ForeignAuthenticator
from interlock.sdk.auth import JWT, OIDC, AuthProvider
from interlock.server.admin_key import check_admin_key, split_impersonation
from interlock.server.decoding import BadJson, read_json
from interlock.server.identity import from_attributes, from_custom_claims, from_openid_claims
from interlock.server.service import ANONYMOUS, Credentials

if TYPE_CHECKING:
    import httpx

log = logging.getLogger("interlock.server")

_OIDC_ALGORITHMS = ("RS256", "EdDSA", "ES256")
_TOLERANCE_S = 5
_KEYS_KEPT_S = 300.0
_KEYS_KEPT_MAX_S = 86_400.0
_REFETCH_AFTER_S = 30.0
_FETCH_TIMEOUT_S = 10.0
_TOKENS_KEPT = 1024
_TOKEN_KEPT_S = 300.0
_TOKEN_BYTES_MAX = 64 * 1024
_ANSWER_BYTES_MAX = 1024 * 1024
_MAX_AGE = re.compile(r"(?:^|[,\s])max-age=(\d{1,9})")


class ProviderUnreachable(Exception):
    """The keys of a provider could not be had now. It says nothing about the token; the caller should try again."""


@dataclass(slots=True)
class _Keys:
    by_id: dict[str, Any]
    fetched_ms: float
    fresh_until_ms: float


class Authenticator:
    """Checks what callers present. One for a server; its caches are shared by all connections."""

    def __init__(
        self,
        providers: Sequence[AuthProvider],
        *,
        instance_name: str,
        secret: bytes,
        clock: Clock,
        transport: Callable[[], httpx.AsyncBaseTransport] | None = None,
        authenticators: Sequence[ForeignAuthenticator] = (),
    ) -> None:
        """`transport` makes the network that keys are fetched through. `authenticators` are those of plugins, asked after the providers."""
        self._providers = tuple(providers)
        if providers:
            _load()
        self._authenticators = tuple(authenticators)
        self._instance_name = instance_name
        self._secret = secret
        self._clock = clock
        self._transport = transport
        # By id: a provider may hold a key set as a dict, and all of them live as long as this.
        self._keys: dict[int, _Keys] = {}
        self._fetching: dict[int, asyncio.Future[_Keys]] = {}
        self._accepted: OrderedDict[str, tuple[Credentials, float]] = OrderedDict()

    def use(self, providers: Sequence[AuthProvider]) -> None:
        """Go on with other providers. Who was accepted stays so until the end of the token."""
        self._providers = tuple(providers)
        if providers:
            _load()
        self._keys.clear()
        self._accepted.clear()

    def admin(self, key: str, acting_as: Mapping[str, Any] | None) -> Credentials:
        """Of an admin key. Raises Unauthenticated."""
        if not check_admin_key(key, self._instance_name, self._secret):
            raise Unauthenticated("BadAdminKey", "The provided admin key is not one of this instance.")
        return Credentials(identity=None if acting_as is None else from_attributes(acting_as), admin=True)

    def admin_header(self, text: str) -> Credentials:
        """Of `Convex <text>` in an Authorization header. Raises Unauthenticated."""
        return self.admin(*split_impersonation(text))

    async def user(self, token: str) -> Credentials:
        """Of a JWT. Raises Unauthenticated, or ProviderUnreachable."""
        credentials, recheck_ms = self._accepted.get(token, (None, 0.0))
        if credentials is None or self._clock.now_ms() >= recheck_ms:
            self._accepted.pop(token, None)
            credentials = await self._check(token)
            self._accepted[token] = (credentials, self._clock.now_ms() + _TOKEN_KEPT_S * 1000)
            if len(self._accepted) > _TOKENS_KEPT:
                self._accepted.popitem(last=False)
        if is_expired(credentials, self._clock):
            self._accepted.pop(token, None)
            raise Unauthenticated("Unauthenticated", "Could not verify the token: it has expired.")
        return credentials

    async def _check(self, token: str) -> Credentials:
        if len(token) > _TOKEN_BYTES_MAX:
            raise _refused("it is too long")
        try:
            return await self._check_own(token)
        except Unauthenticated:
            for authenticator in self._authenticators:
                attributes = await authenticator.authenticate(token)
                if attributes is not None:
                    return Credentials(identity=from_attributes(attributes))
            raise

    async def _check_own(self, token: str) -> Credentials:
        import jwt

        header, claims = _unverified(token)
        provider = self._provider_of(claims)
        # By what the provider says, never by the token alone: a public key must not pass for the secret of an HMAC.
        algorithms = _OIDC_ALGORITHMS if isinstance(provider, OIDC) else (provider.algorithm,)
        if header.get("alg") not in algorithms:
            raise _refused(f"it must be signed with {' or '.join(algorithms)}")
        key_id = header.get("kid")
        key = await self._key_of(provider, key_id if isinstance(key_id, str) else None)
        try:
            # Time is checked below, by this server's clock and not by the library's.
            verified: dict[str, Any] = jwt.decode(
                token,
                key=key,
                algorithms=list(algorithms),
                options={
                    "verify_aud": False,
                    "verify_iss": False,
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    "verify_sub": False,
                },
            )
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise _refused(str(error)) from None
        for name in ("sub", "iss"):
            if not isinstance(verified.get(name), str) or not verified[name]:
                raise _refused(f"it has no {name}")
        now_s = self._clock.now_ms() / 1000
        expires_s, not_before_s = _seconds(verified, "exp", None), _seconds(verified, "nbf", 0.0)
        if not_before_s > now_s + _TOLERANCE_S:
            raise _refused("it is not valid yet")
        identity = from_openid_claims(verified) if isinstance(provider, OIDC) else from_custom_claims(verified)
        return Credentials(identity=identity, expires_ms=(expires_s + _TOLERANCE_S) * 1000)

    def _provider_of(self, claims: Mapping[str, Any]) -> AuthProvider:
        issuer, audience = claims.get("iss"), claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        for provider in self._providers:
            if (
                isinstance(issuer, str)
                and _same_issuer(provider.issuer, issuer)
                and (provider.audience is None or provider.audience in audiences)
            ):
                if isinstance(provider, OIDC) and len(audiences) != 1:
                    raise _refused("it is made for several audiences")
                return provider
        raise Unauthenticated(
            "NoAuthProvider",
            f"No auth provider found matching the given token: its issuer is {issuer!r} and its audience {audience!r}. "
            "The providers of this app are the `auth` of its App.",
        )

    async def _key_of(self, provider: AuthProvider, key_id: str | None) -> Any:
        if isinstance(provider, JWT) and provider.key is not None:
            return provider.key
        now_ms = self._clock.now_ms()
        keys = self._keys.get(id(provider))
        is_known = keys is not None and (key_id in keys.by_id or key_id is None)
        may_refetch = keys is not None and now_ms - keys.fetched_ms >= _REFETCH_AFTER_S * 1000
        if keys is None or now_ms >= keys.fresh_until_ms or (not is_known and may_refetch):
            try:
                keys = await self._fetch_once(provider)
            except ProviderUnreachable:
                if keys is None or not is_known:
                    raise
                log.warning("the keys of %s could not be fetched again; going on with the old ones", provider.issuer)
        if key_id is not None and key_id in keys.by_id:
            return keys.by_id[key_id]
        # A key set of one needs no name for its key; a token that names another key is not signed with it.
        if len(keys.by_id) == 1 and (key_id is None or "" in keys.by_id):
            return next(iter(keys.by_id.values()))
        raise _refused(f"it is signed with a key (kid {key_id!r}) that its issuer does not list")

    async def _fetch_once(self, provider: AuthProvider) -> _Keys:
        """One request for all who wait; it goes on when one of them gives up."""
        future = self._fetching.get(id(provider))
        if future is None:
            future = asyncio.ensure_future(self._fetch(provider))
            self._fetching[id(provider)] = future
            future.add_done_callback(lambda done: self._fetched(provider, done))
        return await asyncio.shield(future)

    def _fetched(self, provider: AuthProvider, future: asyncio.Future[_Keys]) -> None:
        self._fetching.pop(id(provider), None)
        if not future.cancelled() and future.exception() is None:
            self._keys[id(provider)] = future.result()

    async def _fetch(self, provider: AuthProvider) -> _Keys:
        now_ms = self._clock.now_ms()
        if isinstance(provider, JWT):
            assert provider.jwks is not None
            if not isinstance(provider.jwks, str):
                return _Keys(_read_key_set(provider.jwks), now_ms, float("inf"))
            if provider.jwks.startswith("data:"):
                return _Keys(_read_key_set(_read_data_url(provider.jwks)), now_ms, float("inf"))
            document, kept_s = await self._get(provider.jwks)
        else:
            issuer = _with_scheme(provider.issuer)
            discovered, _ = await self._get(issuer + "/.well-known/openid-configuration")
            if not isinstance(discovered, dict) or not isinstance(discovered.get("jwks_uri"), str):
                raise ProviderUnreachable(f"{issuer} describes itself without a jwks_uri")
            if not _same_issuer(str(discovered.get("issuer")), provider.issuer):
                raise ProviderUnreachable(f"{issuer} describes itself as {discovered.get('issuer')!r}")
            document, kept_s = await self._get(discovered["jwks_uri"])
        return _Keys(_read_key_set(document), now_ms, now_ms + kept_s * 1000)

    async def _get(self, url: str) -> tuple[Any, float]:
        """The JSON at a URL, and for how many seconds it may be kept."""
        import httpx

        try:
            transport = self._transport() if self._transport else None
            async with (
                httpx.AsyncClient(timeout=_FETCH_TIMEOUT_S, follow_redirects=True, max_redirects=3, transport=transport) as client,
                client.stream("GET", url, headers={"accept": "application/json"}) as response,
            ):
                if response.status_code != 200:
                    raise ProviderUnreachable(f"{url} answered {response.status_code}")
                body = bytearray()
                async for part in response.aiter_bytes():
                    body += part
                    if len(body) > _ANSWER_BYTES_MAX:
                        raise ProviderUnreachable(f"{url} answered more than {_ANSWER_BYTES_MAX:,} bytes")
                max_age = _MAX_AGE.search(response.headers.get("cache-control", ""))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ProviderUnreachable(f"{url}: {error or type(error).__name__}") from error
        try:
            document = read_json(bytes(body))
        except BadJson as error:
            raise ProviderUnreachable(f"{url} is not JSON: {error}") from None
        return document, min(max(float(max_age[1]), _REFETCH_AFTER_S) if max_age else _KEYS_KEPT_S, _KEYS_KEPT_MAX_S)


def _load() -> None:
    """Load what checks tokens at a start, rather than when somebody waits."""
    import httpx
    import jwt

    del httpx, jwt


def is_expired(credentials: Credentials, clock: Clock) -> bool:
    """Whether the token behind them has met its end."""
    return credentials.expires_ms is not None and clock.now_ms() >= credentials.expires_ms


async def read_authorization(header: str | None, admin_key: str | None, authenticator: Authenticator) -> Credentials:
    """The credentials of an HTTP request, from its Authorization header or else its `adminKey` parameter.

    Raises Unauthenticated, ProviderUnreachable, and ValueError for a header that is none.
    """
    if header is None:
        return ANONYMOUS if not admin_key else authenticator.admin_header(admin_key)
    if len(header) < 7:
        raise ValueError("The Authorization header is too short. Write `Bearer <token>` or `Convex <admin key>`.")
    scheme, _, rest = header.partition(" ")
    match scheme.lower():
        case "bearer":
            return await authenticator.user(rest.strip())
        case "convex":
            return authenticator.admin_header(rest.strip())
    raise Unauthenticated("InvalidAuthHeader", "The Authorization header must be `Bearer <token>` or `Convex <admin key>`.")


def _refused(reason: str) -> Unauthenticated:
    return Unauthenticated("InvalidAuthHeader", f"Could not verify the token: {reason.rstrip('.')}.")


def _unverified(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the token claims before anybody has looked at its signature: enough to know whose keys to try."""
    import jwt

    try:
        decoded = jwt.decode_complete(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
        raise _refused(str(error)) from None
    return decoded["header"], decoded["payload"]


def _read_key_set(document: Any) -> dict[str, Any]:
    """The usable public keys of a JWKS by their ids. A key of an unknown kind is not an error: others are beside it."""
    import jwt

    listed = document.get("keys") if isinstance(document, Mapping) else None
    if not isinstance(listed, list):
        raise ProviderUnreachable("the key set of the provider has no list of keys")
    keys: dict[str, Any] = {}
    for entry in listed:
        if isinstance(entry, dict) and entry.get("kty") in ("RSA", "EC", "OKP") and entry.get("use", "sig") == "sig":
            try:
                keys[str(entry.get("kid", ""))] = jwt.PyJWK.from_dict(entry).key
            except jwt.PyJWTError as error:
                log.warning("a key of the provider's key set is of no use: %s", error)
    return keys


def _read_data_url(url: str) -> Any:
    head, comma, body = url.removeprefix("data:").partition(",")
    try:
        raw = base64.b64decode(unquote_to_bytes(body), validate=True) if head.endswith(";base64") else unquote_to_bytes(body)
        if comma:
            return read_json(raw)
    except (BadJson, binascii.Error):
        pass
    raise ProviderUnreachable("the keys of the provider are a data: URL that holds no JSON")


def _with_scheme(issuer: str) -> str:
    return (issuer if "://" in issuer else f"https://{issuer}").rstrip("/")


def _same_issuer(one: str, other: str) -> bool:
    return _with_scheme(one) == _with_scheme(other)


def _seconds(claims: Mapping[str, Any], name: str, default: float | None) -> float:
    value = claims.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _refused(f"its {name} is no number" if name in claims else f"it has no {name}")
    try:
        return float(value)
    except OverflowError:
        return float("inf")
