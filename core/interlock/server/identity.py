"""From the claims of a token to what `ctx.auth.identity()` gives."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from interlock.errors import Unauthenticated, ValueRefused
from interlock.sdk.auth import CLAIMS, Identity
from interlock.values import normalize

# Told by tokenIdentifier, issuer and subject; or other on every refresh of a token, so that no cached result could outlive one.
_LEFT_OUT = {"iss", "sub", "aud", "exp", "iat", "jti", "nbf", "fva"}


def from_openid_claims(claims: Mapping[str, Any]) -> dict[str, Any]:
    """The identity of an OpenID Connect token: standard claims under Interlock's names, others under their own."""
    identity: dict[str, Any] = {}
    for claim, value in claims.items():
        if claim in _LEFT_OUT:
            continue
        if claim == "address":
            if isinstance(value, dict) and isinstance(value.get("formatted"), str):
                identity["address"] = value["formatted"]
        elif claim == "updated_at":
            identity["updatedAt"] = _rfc3339(value)
        else:
            identity[CLAIMS.get(claim, claim)] = value
    return _values_of(identity) | _who(claims)


def from_custom_claims(claims: Mapping[str, Any]) -> dict[str, Any]:
    """The identity of any other JWT: every claim under its own name, nested ones flattened to `a.b`."""
    identity: dict[str, Any] = {}
    for claim, value in claims.items():
        if claim not in _LEFT_OUT:
            _flatten(claim, value, identity)
    return _values_of(identity) | _who(claims)


def from_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The identity that an admin stands in for. Raises Unauthenticated when it is not told who that is."""
    try:
        identity = dict(Identity.of(attributes))
    except TypeError as error:
        raise Unauthenticated("BadAdminKey", f"Cannot act as this user: {error}.") from None
    if not all(isinstance(identity[name], str) for name in ("issuer", "subject", "tokenIdentifier")):
        raise Unauthenticated("BadAdminKey", "Cannot act as this user: issuer, subject and tokenIdentifier are strings.")
    return _values_of(identity)


def _who(claims: Mapping[str, Any]) -> dict[str, Any]:
    return {"tokenIdentifier": f"{claims['iss']}|{claims['sub']}", "issuer": claims["iss"], "subject": claims["sub"]}


def _values_of(identity: Mapping[str, Any]) -> dict[str, Any]:
    """What of it a function can return and a cache key can hold. An issuer may put any JSON into its tokens."""
    values: dict[str, Any] = {}
    for name, value in identity.items():
        try:
            values |= normalize({name: value})
        except ValueRefused:
            continue
    return values


def _flatten(name: str, value: Any, into: dict[str, Any]) -> None:
    if isinstance(value, dict):
        for key, nested in value.items():
            _flatten(f"{name}.{key}", nested, into)
    else:
        into[name] = value


def _rfc3339(value: Any) -> Any:
    """`updated_at` is a number of seconds by the standard, and a text by the habit of some providers."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    try:
        return datetime.fromtimestamp(value, UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return str(value)
