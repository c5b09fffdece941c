from __future__ import annotations

import base64
import json
from typing import Any

import jwt
import pytest

from interlock.errors import Unauthenticated
from interlock.sdk.auth import JWT, OIDC, AuthProvider
from interlock.server.admin_key import check_admin_key, make_admin_key, split_impersonation
from interlock.server.auth import Authenticator, ProviderUnreachable, read_authorization
from interlock.testing.virtual_clock import VirtualClock

from .tokens import EC_KEY, ED_KEY, ISSUER, NOW_S, OTHER_RSA_KEY, RSA_KEY, Issuer, jwk, pem, token

SECRET = b"k" * 32


class Door:
    """An authenticator, its clock, and the issuer that it asks."""

    def __init__(self, *providers: AuthProvider) -> None:
        self.issuer = Issuer()
        self.clock = VirtualClock(NOW_S * 1000.0)
        self.check = Authenticator(
            providers or (OIDC(ISSUER, "myapp"),), instance_name="tiny", secret=SECRET, clock=self.clock, transport=self.issuer.transport
        )

    async def identity(self, text: str) -> dict[str, Any]:
        return dict((await self.check.user(text)).identity or {})

    async def refusal(self, text: str) -> Unauthenticated:
        with pytest.raises(Unauthenticated) as caught:
            await self.check.user(text)
        return caught.value


async def test_the_claims_of_an_openid_token_become_the_identity() -> None:
    door = Door()
    found = await door.identity(
        token(
            name="Ada",
            given_name="Ada",
            email="ada@example.com",
            email_verified=True,
            picture="p",
            profile="pr",
            zoneinfo="Europe/Rome",
            locale="it",
            phone_number_verified=False,
            address={"formatted": "Rome"},
            updated_at=0,
            custom={"a": 1},
            jti="1",
            nbf=1,
            fva=[1],
        )
    )
    assert found == {
        "tokenIdentifier": "https://login.example|ada",
        "issuer": "https://login.example",
        "subject": "ada",
        "name": "Ada",
        "givenName": "Ada",
        "email": "ada@example.com",
        "emailVerified": True,
        "pictureUrl": "p",
        "profileUrl": "pr",
        "timezone": "Europe/Rome",
        "language": "it",
        "phoneNumberVerified": False,
        "address": "Rome",
        "updatedAt": "1970-01-01T00:00:00Z",
        "custom": {"a": 1},
    }


async def test_other_claims_of_a_custom_token_keep_their_names_and_nested_ones_are_flattened() -> None:
    door = Door(JWT(ISSUER, key=pem(RSA_KEY)))
    assert await door.identity(token(given_name="Ada", org={"id": 7, "role": {"name": "boss"}}, jti="x")) == {
        "tokenIdentifier": "https://login.example|ada", "issuer": "https://login.example", "subject": "ada",
        "given_name": "Ada", "org.id": 7, "org.role.name": "boss",
    }  # fmt: skip


async def test_claims_that_are_no_values_are_left_out() -> None:
    claims: dict[str, Any] = {"name": "Ada", "$evil": 1, "é": 2, "big": 2**60, "https://claims.example/role": "boss"}
    for door in (Door(), Door(JWT(ISSUER, key=pem(RSA_KEY)))):
        found = await door.identity(token(**claims))
        assert found["name"] == "Ada" and found["https://claims.example/role"] == "boss" and not {"$evil", "é", "big"} & set(found)


@pytest.mark.parametrize(("key", "algorithm"), [(RSA_KEY, "RS256"), (EC_KEY, "ES256"), (ED_KEY, "EdDSA")])
async def test_tokens_of_each_algorithm_are_taken_with_a_static_key_or_a_key_set(key: Any, algorithm: str) -> None:
    key_set = {"keys": [jwk(key, "k1")]}
    encoded = base64.b64encode(json.dumps(key_set).encode()).decode()
    for provider in (
        JWT(ISSUER, key=pem(key), algorithm=algorithm),
        JWT(ISSUER, jwks=key_set, algorithm=algorithm),
        JWT(ISSUER, jwks=f"data:application/json;base64,{encoded}", algorithm=algorithm),
        JWT(ISSUER, jwks="data:application/json," + json.dumps(key_set).replace('"', "%22"), algorithm=algorithm, audience="myapp"),
    ):
        door = Door(provider)
        assert (await door.identity(token(key, algorithm)))["subject"] == "ada"
        assert door.issuer.asked == []


async def test_a_shared_secret_is_taken_where_the_app_says_so_and_nowhere_else() -> None:
    secret = "a secret that is long enough for an HMAC"
    assert (await Door(JWT(ISSUER, key=secret, algorithm="HS256")).identity(token(secret, "HS256")))["subject"] == "ada"
    # The classic confusion: a public key, which everybody has, used as the secret of an HMAC.
    public = pem(RSA_KEY)
    forged = ".".join(
        [
            base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
            for part in ({"alg": "HS256", "kid": "k1"}, {"iss": ISSUER, "sub": "eve", "aud": "myapp", "exp": NOW_S + 9})
        ]
    )
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(forged.encode(), public.encode())
    forged += "." + base64.urlsafe_b64encode(signature).decode().rstrip("=")
    for provider in (OIDC(ISSUER, "myapp"), JWT(ISSUER, key=public)):
        await Door(provider).refusal(forged)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "InvalidAuthHeader"),
        ("nonsense", "InvalidAuthHeader"),
        ("a.b.c", "InvalidAuthHeader"),
        ("x" * 100_000, "InvalidAuthHeader"),
        (jwt.encode({"iss": ISSUER, "sub": "eve", "aud": "myapp", "exp": NOW_S + 9}, "", "none"), "InvalidAuthHeader"),
        (token(OTHER_RSA_KEY), "InvalidAuthHeader"),
        (token(EC_KEY, "ES256"), "InvalidAuthHeader"),
        (token(RSA_KEY, "RS512"), "InvalidAuthHeader"),
        (token(key_id="unknown"), "InvalidAuthHeader"),
        (token(sub=None), "InvalidAuthHeader"),
        (token(sub=""), "InvalidAuthHeader"),
        (token(exp=None), "InvalidAuthHeader"),
        (token(nbf=NOW_S + 6), "InvalidAuthHeader"),
        (token(exp=NOW_S - 6), "Unauthenticated"),
        (token(iss="https://evil.example"), "NoAuthProvider"),
        (token(iss=None), "NoAuthProvider"),
        (token(aud="otherapp"), "NoAuthProvider"),
        (token(aud=None), "NoAuthProvider"),
        (token(aud=["myapp", "otherapp"]), "InvalidAuthHeader"),
    ],
)
async def test_a_token_that_does_not_hold_is_refused(text: str, code: str) -> None:
    refusal = await Door().refusal(text)
    assert refusal.reason_code == code and len(str(refusal)) < 500


async def test_five_seconds_between_clocks_are_forgiven() -> None:
    door = Door()
    assert await door.identity(token(exp=NOW_S - 4, nbf=NOW_S + 4))
    credentials = await door.check.user(token(exp=NOW_S + 10))
    assert credentials.expires_ms == (NOW_S + 15) * 1000


async def test_an_issuer_is_the_same_with_and_without_scheme_and_slash() -> None:
    for written in ("login.example", "https://login.example", "https://login.example/"):
        assert await Door(OIDC(written, "myapp")).identity(token(iss="https://login.example/"))


async def test_keys_are_asked_for_once_and_kept_as_long_as_the_issuer_says() -> None:
    door = Door()
    door.issuer.headers = {"cache-control": "public, max-age=600"}
    for n in range(5):
        await door.identity(token(nonce=n))
    assert len(door.issuer.asked) == 2
    door.clock.move_to(door.clock.now_ms() + 601_000)
    await door.identity(token(nonce=9))
    assert len(door.issuer.asked) == 4


async def test_a_new_key_is_found_and_unknown_ones_do_not_make_the_issuer_a_target() -> None:
    door = Door()
    await door.identity(token())
    door.issuer.keys = [jwk(OTHER_RSA_KEY, "k2")]
    for _ in range(50):
        await door.refusal(token(OTHER_RSA_KEY, key_id="k2"))
    assert len(door.issuer.asked) == 2
    door.clock.move_to(door.clock.now_ms() + 31_000)
    assert await door.identity(token(OTHER_RSA_KEY, key_id="k2"))
    assert len(door.issuer.asked) == 4


async def test_an_issuer_that_is_down_says_nothing_about_a_token() -> None:
    door = Door()
    door.issuer.is_down = True
    with pytest.raises(ProviderUnreachable):
        await door.check.user(token())
    door.issuer.is_down = False
    assert await door.identity(token())
    door.issuer.is_down = True
    door.clock.move_to(door.clock.now_ms() + 400_000)
    assert await door.identity(token(nonce=1)), "with the keys that were there before"


async def test_a_token_that_was_taken_is_refused_when_it_expires() -> None:
    door = Door()
    text = token(exp=NOW_S + 60)
    await door.identity(text)
    door.clock.move_to((NOW_S + 66) * 1000.0)
    assert (await door.refusal(text)).reason_code == "Unauthenticated"


def test_an_admin_key_is_of_one_instance_and_one_secret() -> None:
    key = make_admin_key("tiny", SECRET)
    name, _, proof = key.partition("|")
    assert name == "tiny" and proof.isalnum()
    assert all(check_admin_key(text, "tiny", SECRET) for text in (key, "dev:" + key, "prod:" + key, f"preview:team:project|{proof}"))
    for text in (
        "",
        "tiny",
        "tiny|",
        "tiny|00",
        f"other|{proof}",
        key[:-1],
        key + "0",
        key.upper(),
        make_admin_key("tiny", b"other"),
        "é|é",
    ):
        assert not check_admin_key(text, "tiny", SECRET)


def test_whom_an_admin_stands_for_is_behind_the_key() -> None:
    key = make_admin_key("tiny", SECRET)
    ada = base64.b64encode(json.dumps({"subject": "ada", "name": "Àda"}).encode()).decode()
    assert split_impersonation(key) == (key, None)
    assert split_impersonation(f"prod:{key}:{ada}") == (f"prod:{key}", {"subject": "ada", "name": "Àda"})
    for bad in ("!", "e30x", base64.b64encode(b"[]").decode()):
        with pytest.raises(Unauthenticated):
            split_impersonation(f"{key}:{bad}")


async def test_the_authorization_header_is_read_in_any_case_or_else_the_parameter() -> None:
    door, key = Door(), make_admin_key("tiny", SECRET)
    assert not (await read_authorization(None, None, door.check)).admin
    assert (await read_authorization(None, key, door.check)).admin
    assert (await read_authorization(f"CONVEX {key}", None, door.check)).admin
    assert (await read_authorization(f"bearer {token()}", key, door.check)).identity
    with pytest.raises(ValueError):
        await read_authorization("x", None, door.check)
    for text in ("Digest abcdefg", "Convex nonsense", "Bearer nonsense"):
        with pytest.raises(Unauthenticated):
            await read_authorization(text, None, door.check)


class Guests:
    """An authenticator of a plugin: tokens that begin with "guest:"."""

    async def authenticate(self, token: str) -> dict[str, str] | None:
        name = token.removeprefix("guest:")
        return {"issuer": "guests", "subject": name} if name != token else None


async def test_an_authenticator_of_a_plugin_is_asked_for_what_no_provider_knows() -> None:
    check = Authenticator(
        (OIDC(ISSUER, "myapp"),), instance_name="tiny", secret=SECRET, clock=VirtualClock(NOW_S * 1000.0), authenticators=[Guests()]
    )
    assert dict((await check.user("guest:ada")).identity or {})["tokenIdentifier"] == "guests|ada"
    with pytest.raises(Unauthenticated):
        await check.user("somebody else")
