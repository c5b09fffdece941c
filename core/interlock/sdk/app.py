"""App: the config file's one object, which says what is mounted, who may sign in, and what is served."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from interlock.errors import MountError
from interlock.sdk.assembly import Assembly
from interlock.sdk.auth import JWT, OIDC, AuthProvider
from interlock.sdk.registry import here


class App(Assembly):
    """An app. `env` declares its variables, `auth` lists who signs its users' tokens, `static` is a folder served at /."""

    def __init__(self, *, env: Mapping[str, Any] | None = None, auth: Iterable[AuthProvider] = (), static: str | None = None) -> None:
        super().__init__("the app", env, here())
        self.auth: tuple[AuthProvider, ...] = tuple(auth)
        self.static = static
        for provider in self.auth:
            if not isinstance(provider, OIDC | JWT):
                raise MountError(self.where, f"auth holds {provider!r}.", 'Write OIDC("https://issuer", audience="…") or JWT(…).')

    def __repr__(self) -> str:
        return f"<App of {self.where}>"
