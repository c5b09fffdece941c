"""Admin keys: `<instance name>|<hex>`, where the hex part can only be made with the secret that is kept with the data.

A key is the same after every start, so it may stand in a developer's environment. Another secret makes all old keys worthless.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

from interlock.errors import Unauthenticated
from interlock.server.decoding import BadJson, read_json

_VERSION = "01"
_NAMED_ONLY_BY_PREFIX = ("preview:", "project:")


def make_admin_key(instance_name: str, secret: bytes) -> str:
    """The admin key of an instance."""
    mac = hmac.new(secret, b"interlock admin key\x00" + instance_name.encode(), hashlib.sha256).hexdigest()
    return f"{instance_name}|{_VERSION}{mac}"


def check_admin_key(key: str, instance_name: str, secret: bytes) -> bool:
    """Whether the key is this instance's. A deployment prefix (`dev:`, `prod:`, `preview:…`) is ignored."""
    name, bar, proof = key.partition("|")
    if not bar:
        return False
    if name.startswith(_NAMED_ONLY_BY_PREFIX):
        name = instance_name
    name = name.rpartition(":")[2]
    own = make_admin_key(instance_name, secret)
    # One comparison in constant time, whichever part is wrong.
    return hmac.compare_digest(f"{name}|{proof}".encode(errors="surrogatepass"), own.encode())


def split_impersonation(text: str) -> tuple[str, dict[str, Any] | None]:
    """`<key>:<base64 of JSON attributes>`, as the Authorization header has it. Raises Unauthenticated."""
    name, bar, rest = text.partition("|")
    proof, colon, encoded = rest.partition(":")
    if not colon:
        return text, None
    try:
        attributes = read_json(base64.b64decode(encoded, validate=True))
    except (ValueError, BadJson):
        raise Unauthenticated("BadAdminKey", "What follows the admin key is not the base64 of a JSON object of user attributes.") from None
    if not isinstance(attributes, dict):
        raise Unauthenticated("BadAdminKey", "The user attributes behind the admin key must be a JSON object.")
    return f"{name}{bar}{proof}", attributes
