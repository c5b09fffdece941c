"""Keys and tokens for tests, and an issuer that is reached without a network."""

from __future__ import annotations

import json
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()

ISSUER = "https://login.example"
NOW_S = 1_800_000_000


def jwk(key: Key, key_id: str) -> dict[str, Any]:
    """The public half, as a key set lists it."""
    algorithm: Any = {rsa.RSAPrivateKey: RSAAlgorithm, ec.EllipticCurvePrivateKey: ECAlgorithm, ed25519.Ed25519PrivateKey: OKPAlgorithm}[
        next(kind for kind in (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey) if isinstance(key, kind))
    ]
    text = algorithm.to_jwk(key.public_key())
    return {**(json.loads(text) if isinstance(text, str) else text), "kid": key_id, "use": "sig"}


def pem(key: Key) -> str:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def token(key: Any = RSA_KEY, algorithm: str = "RS256", key_id: str | None = "k1", **claims: Any) -> str:
    """A token of Ada, good for an hour. A claim of None is left out."""
    whole = {"iss": ISSUER, "sub": "ada", "aud": "myapp", "iat": NOW_S, "exp": NOW_S + 3600, **claims}
    payload = {name: value for name, value in whole.items() if value is not None}
    return jwt.encode(payload, key, algorithm, headers=None if key_id is None else {"kid": key_id})


class Issuer:
    """Answers discovery and key set requests, and counts them. `keys` may be changed, `is_down` makes it fail."""

    def __init__(self) -> None:
        self.keys = [jwk(RSA_KEY, "k1")]
        self.asked: list[str] = []
        self.is_down = False
        self.headers: dict[str, str] = {}

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(str(request.url))
        if self.is_down:
            raise httpx.ConnectError("nobody there")
        match str(request.url):
            case "https://login.example/.well-known/openid-configuration":
                return httpx.Response(200, json={"issuer": ISSUER + "/", "jwks_uri": "https://keys.example/set"})
            case "https://keys.example/set":
                return httpx.Response(200, json={"keys": self.keys}, headers=self.headers)
        return httpx.Response(404)
