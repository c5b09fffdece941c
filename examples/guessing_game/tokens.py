"""Guests sign in with a token of this game's own: a JWT, which the official clients send and the engine checks."""

import os
import secrets
import time
from pathlib import Path

import jwt

ISSUER = "https://guessing-game.invalid"
AUDIENCE = "guessing_game"
ALGORITHM = "HS256"
DAYS = 7


def issue(player: str, name: str) -> str:
    """A token that says: this is that player."""
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": player, "name": name, "iat": now, "exp": now + DAYS * 86_400}
    return jwt.encode(claims, KEY, ALGORITHM)


def _key() -> str:
    """The secret that signs: of the variable GUESSING_GAME_KEY, or one that was made for this copy of the game."""
    given = os.environ.get("GUESSING_GAME_KEY")
    if given:
        return given
    kept = Path(__file__).parent / ".interlock" / "guests.key"
    kept.parent.mkdir(exist_ok=True)
    made = kept.with_name(f"guests.{secrets.token_hex(8)}")
    made.touch(mode=0o600)
    made.write_text(secrets.token_urlsafe(48), encoding="ascii")
    try:
        os.link(made, kept)  # whole or not at all, and the first of several is everybody's
    except FileExistsError:
        pass
    finally:
        made.unlink()
    return kept.read_text(encoding="ascii")


KEY = _key()
