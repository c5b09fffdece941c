"""Who is calling: the issuers whose tokens an app accepts, and the identity that a token proves.

Checking tokens is the server's work; here is what an app declares and what a function reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

_HUMP = re.compile(r"_([a-z0-9])")

CLAIMS = {
    "name": "name",
    "given_name": "givenName",
    "family_name": "familyName",
    "nickname": "nickname",
    "preferred_username": "preferredUsername",
    "profile": "profileUrl",
    "picture": "pictureUrl",
    "website": "websiteUrl",
    "email": "email",
    "email_verified": "emailVerified",
    "gender": "gender",
    "birthdate": "birthday",
    "zoneinfo": "timezone",
    "locale": "language",
    "phone_number": "phoneNumber",
    "phone_number_verified": "phoneNumberVerified",
    "address": "address",
    "updated_at": "updatedAt",
}
"""OIDC claims, and the fields of an identity that they become. Other claims keep their own names."""

_SPELLINGS = {_HUMP.sub(lambda hump: hump[1].upper(), claim): field for claim, field in CLAIMS.items()} | CLAIMS


def _issuer(text: str) -> str:
    if not isinstance(text, str) or not text:
        raise TypeError(f"an issuer is a URL, not {text!r}")
    return (text if "://" in text else f"https://{text}").rstrip("/")


@dataclass(frozen=True, slots=True)
class OIDC:
    """An OpenID Connect issuer: its keys are found by discovery. A token must be meant for `audience`."""

    issuer: str
    audience: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "issuer", _issuer(self.issuer))
        if not isinstance(self.audience, str) or not self.audience:
            raise TypeError(f"OIDC needs the audience that tokens are issued for, not {self.audience!r}")


@dataclass(frozen=True, slots=True)
class JWT:
    """An issuer with a known key: `key` is a public key in PEM (or the secret of HS256), `jwks` the URL of a key set, or the set itself.

    Without an `audience` every token of the issuer is accepted, also one that was issued for another app.
    """

    issuer: str
    key: str | None = None
    jwks: str | Mapping[str, Any] | None = None
    algorithm: str = "RS256"
    audience: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "issuer", _issuer(self.issuer))
        if (self.key is None) == (self.jwks is None):
            raise TypeError("JWT takes one of key=… and jwks=…")
        if self.algorithm not in ("RS256", "ES256", "EdDSA", "HS256"):
            raise TypeError(f"JWT takes the algorithm RS256, ES256, EdDSA or HS256, not {self.algorithm!r}")

    def __repr__(self) -> str:
        return f"JWT({self.issuer!r}, algorithm={self.algorithm!r}, audience={self.audience!r})"


AuthProvider = OIDC | JWT


class Identity(Mapping[str, Any]):
    """The user that a call is made for: a mapping of its fields (`identity["tokenIdentifier"]`).

    The fields of the standard are attributes too (`identity.token_identifier`, `identity.given_name`), None where the token
    has them not, and are found under the names of their claims (`identity["given_name"]`). Other claims keep their own names.
    """

    __slots__ = ("_fields",)

    def __init__(self, fields: Mapping[str, Any]) -> None:
        """`fields` in the spelling of the wire: camelCase, with `tokenIdentifier`, `issuer` and `subject` among them."""
        self._fields = dict(fields)

    @classmethod
    def of(cls, attributes: Mapping[str, Any]) -> Self:
        """An identity of attributes in either spelling. The token identifier is made of issuer and subject, or gives them."""
        fields = {_field(name): value for name, value in attributes.items() if value is not None}
        token = fields.get("tokenIdentifier")
        if token is None:
            if "issuer" not in fields or "subject" not in fields:
                raise TypeError("an identity needs its issuer and subject, or its token_identifier")
            fields["tokenIdentifier"] = f"{fields['issuer']}|{fields['subject']}"
        elif isinstance(token, str):
            issuer, _, subject = token.rpartition("|")
            fields.setdefault("issuer", issuer)
            fields.setdefault("subject", subject)
        return cls(fields)

    @property
    def subject(self) -> str:
        return str(self._fields["subject"])

    @property
    def issuer(self) -> str:
        return str(self._fields["issuer"])

    @property
    def token_identifier(self) -> str:
        """Unique over all issuers: `issuer|subject`."""
        return str(self._fields["tokenIdentifier"])

    @property
    def name(self) -> str | None:
        return self._fields.get("name")

    @property
    def given_name(self) -> str | None:
        return self._fields.get("givenName")

    @property
    def family_name(self) -> str | None:
        return self._fields.get("familyName")

    @property
    def nickname(self) -> str | None:
        return self._fields.get("nickname")

    @property
    def preferred_username(self) -> str | None:
        return self._fields.get("preferredUsername")

    @property
    def profile_url(self) -> str | None:
        return self._fields.get("profileUrl")

    @property
    def picture_url(self) -> str | None:
        return self._fields.get("pictureUrl")

    @property
    def website_url(self) -> str | None:
        return self._fields.get("websiteUrl")

    @property
    def email(self) -> str | None:
        return self._fields.get("email")

    @property
    def email_verified(self) -> bool | None:
        return self._fields.get("emailVerified")

    @property
    def gender(self) -> str | None:
        return self._fields.get("gender")

    @property
    def birthday(self) -> str | None:
        return self._fields.get("birthday")

    @property
    def timezone(self) -> str | None:
        return self._fields.get("timezone")

    @property
    def language(self) -> str | None:
        return self._fields.get("language")

    @property
    def phone_number(self) -> str | None:
        return self._fields.get("phoneNumber")

    @property
    def phone_number_verified(self) -> bool | None:
        return self._fields.get("phoneNumberVerified")

    @property
    def address(self) -> str | None:
        return self._fields.get("address")

    @property
    def updated_at(self) -> str | None:
        """As RFC 3339 text."""
        return self._fields.get("updatedAt")

    def __getitem__(self, name: str) -> Any:
        if name in self._fields:
            return self._fields[name]
        return self._fields[_field(name)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        return f"Identity({self.token_identifier})"


def _field(name: str) -> str:
    """The field that a name in any spelling means; an unknown one means itself."""
    if name == "token_identifier":
        return "tokenIdentifier"
    return name if name in _FIELDS else _SPELLINGS.get(name) or _SNAKE_FIELDS.get(name, name)


_FIELDS = frozenset(CLAIMS.values()) | {"tokenIdentifier", "issuer", "subject"}
_SNAKE_FIELDS = {re.sub(r"([A-Z])", lambda hump: f"_{hump[1].lower()}", field): field for field in _FIELDS}
