"""What an app and a component share: they mount components, plan crons and route HTTP requests."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from keyword import iskeyword
from typing import TYPE_CHECKING, Any, TypeVar

from interlock.errors import MountError
from interlock.limits import Limits
from interlock.sdk.declarations import CatchUp, CronDeclaration, Isolation, Mount, RouteDeclaration
from interlock.sdk.env import Env, EnvReference, EnvValue, Secret, env_declarations
from interlock.sdk.http import Request, Response
from interlock.sdk.references import Reference, as_target
from interlock.sdk.registry import here
from interlock.sdk.route import RouteFunction
from interlock.values import Json
from interlock.values.types import is_identifier

if TYPE_CHECKING:
    from interlock.sdk.component import Component
    from interlock.sdk.contexts import ActionCtx

Called = TypeVar("Called", bound="Reference | str")
Handler = Callable[["ActionCtx", Request], Awaitable[Response]]
HandlerT = TypeVar("HandlerT", bound=Handler)

ISOLATIONS = ("sandbox", "process", "inline")
CATCH_UPS = ("skip", "once", "all")
EVERY_MIN = 0.001
METHODS = ("GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")


@dataclass(frozen=True, slots=True)
class Cron:
    """A rule that plans calls of `ref`, which may get its name after the rule is made."""

    name: str
    every: float | None
    cron: str | None
    timezone: str
    catch_up: CatchUp
    args: dict[str, Any]
    ref: Reference | str
    where: str = ""

    def declaration(self) -> CronDeclaration:
        target = as_target(self.ref)
        if target.handle:
            raise MountError(self.where, f'cron "{self.name}" calls a handle.', "A cron calls a function by its reference or name.")
        return CronDeclaration(
            self.name, self.every, self.cron, self.timezone, self.catch_up, self.args, function=target.name, mount=target.mount
        )


@dataclass(frozen=True, slots=True)
class Route:
    """An HTTP route and its handler."""

    method: str
    path: str
    handler: Handler = field(repr=False)
    where: str = ""

    def declaration(self) -> RouteDeclaration:
        return RouteDeclaration(self.method, self.path, str(getattr(self.handler, "__qualname__", "")))


class Assembly:
    """The base of `App` and `Component`."""

    def __init__(self, title: str, env: Mapping[str, Any] | None, where: str) -> None:
        self.where = where
        self.env = Env(title, env or {}, where)
        self.mounts: list[Mount] = []
        self.crons: list[Cron] = []
        self.http_routes: list[Route] = []

    def env_declarations(self) -> dict[str, Json]:
        """The validators of the declared variables. Raises MountError for an annotation that is no string's."""
        return env_declarations(self.env)

    def use(
        self,
        component: str | Component,
        /,
        *,
        name: str | None = None,
        isolation: Isolation = "sandbox",
        env: Mapping[str, EnvValue] | None = None,
        allow: Sequence[str] = (),
        http_prefix: str | None = None,
        workers: int = 1,
        limits: Limits | None = None,
        was: str | None = None,
    ) -> None:
        """Mount a component: an entry-point name, or the object of a local one. Nothing is imported, and all of it is checked at start."""
        from interlock.sdk.component import Component

        where = here()
        if not isinstance(component, str | Component):
            raise MountError(where, f"mounts {component!r}.", 'Give a name, use("sharded_counter"), or a Component object.')
        mount = name if name is not None else component if isinstance(component, str) else component.name
        title = f'mounts "{mount}"'
        if not isinstance(mount, str) or not is_identifier(mount) or mount.startswith("_") or iskeyword(mount):
            raise MountError(where, f"{title}, which is no name for a mount.", 'Give it an identifier that begins with a letter: name="…".')
        if isolation not in ISOLATIONS:
            raise MountError(where, f"{title} with isolation={isolation!r}.", 'Write "sandbox", "process" or "inline".')
        if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
            raise MountError(where, f"{title} with workers={workers!r}.", "Write how many worker processes it has, at least 1.")
        if isinstance(allow, str) or not all(isinstance(permission, str) for permission in allow):
            raise MountError(where, f"{title} with allow={allow!r}.", f"Write a list: allow=[{allow!r}]." if isinstance(allow, str) else "")
        for variable, value in (env or {}).items():
            if not isinstance(value, str | EnvReference | Secret):
                raise MountError(
                    where,
                    f"{title} with {variable}={value!r}.",
                    "Give a string, a variable of the app like app.env.NAME, or secret(…) of either.",
                )
        if http_prefix is not None and (not isinstance(http_prefix, str) or not http_prefix.startswith("/")):
            raise MountError(where, f"{title} with http_prefix={http_prefix!r}.", 'A prefix begins with a slash: http_prefix="/mail".')
        if limits is not None and not isinstance(limits, Limits):
            raise MountError(where, f"{title} with limits={limits!r}.", "Write limits=Limits(deadline=…, documents_read=…).")
        if was is not None and (not isinstance(was, str) or not is_identifier(was)):
            raise MountError(where, f"{title} with was={was!r}.", "Write the name that the mount had before.")
        self.mounts.append(
            Mount(
                component=component,
                name=mount,
                isolation=isolation,
                env=dict(env or {}),
                allow=tuple(allow),
                http_prefix=http_prefix,
                workers=workers,
                limits=limits,
                was=was,
                where=where,
            )
        )

    def cron(
        self,
        name: str,
        /,
        *,
        every: float | timedelta | None = None,
        cron: str | None = None,
        timezone: str = "UTC",
        catch_up: CatchUp = "once",
        args: Mapping[str, Any] | None = None,
    ) -> Callable[[Called], Called]:
        """Plan calls of a function: `every` so many seconds, or by a cron expression of five fields in `timezone`.

        `catch_up` says what becomes of times that were missed: none of them is run, the last one, or all.
        """
        where = here()
        title = f'cron "{name}"'
        if not isinstance(name, str) or not name or not name.isascii() or not name.isprintable():
            raise MountError(where, f"{name!r} is no name for a cron.", "Names are printable ASCII.")
        if any(planned.name == name for planned in self.crons):
            raise MountError(where, f"{title} is declared twice.", "Give one of them another name.")
        if (every is None) == (cron is None):
            raise MountError(
                where, f"{title} has {'no schedule' if every is None else 'two schedules'}.", 'Give one of every=60 and cron="0 3 * * *".'
            )
        seconds = every.total_seconds() if isinstance(every, timedelta) else every
        if seconds is not None and (
            isinstance(seconds, bool) or not isinstance(seconds, int | float) or not EVERY_MIN <= seconds < math.inf
        ):
            raise MountError(where, f"{title} runs every {every!r} seconds.", f"Give a number of seconds, {EVERY_MIN} or more.")
        if cron is not None and (not isinstance(cron, str) or len(cron.split()) != 5):
            raise MountError(where, f"{title} has the schedule {cron!r}.", 'Write five fields, minute hour day month weekday: "0 3 * * *".')
        if not isinstance(timezone, str) or not timezone:
            raise MountError(where, f"{title} has the time zone {timezone!r}.", 'Write a name like "Europe/Berlin".')
        if catch_up not in CATCH_UPS:
            raise MountError(where, f"{title} has catch_up={catch_up!r}.", 'Write "skip", "once" or "all".')
        if args is not None and not isinstance(args, Mapping):
            raise MountError(where, f"{title} has args={args!r}.", 'Give the arguments by name: args={"count": 3}.')

        def plan(ref: Called) -> Called:
            if not isinstance(ref, Reference | str):
                raise MountError(where, f"{title} calls {ref!r}.", "Give it a function made by @mutation or @action, or a function's name.")
            self.crons.append(
                Cron(name, None if seconds is None else float(seconds), cron, timezone, catch_up, dict(args or {}), ref, where)
            )
            return ref

        return plan

    def http(self, method: str, path: str, /) -> Callable[[HandlerT], HandlerT]:
        """Answer HTTP requests of `method` to exactly `path` with the decorated `async (ctx: ActionCtx, request: Request) -> Response`."""
        where = here()
        if method not in METHODS:
            raise MountError(where, f"routes {method!r} {path}.", f"The method is one of {', '.join(METHODS)}.")
        if not isinstance(path, str) or not path.startswith("/"):
            raise MountError(where, f"routes {method} {path!r}.", "A path begins with a slash.")
        if any(route.method == method and route.path == path for route in self.http_routes):
            raise MountError(where, f"routes {method} {path} twice.", "Remove one of the two handlers.")

        def register(handler: HandlerT) -> HandlerT:
            RouteFunction(method, path, handler)  # refuses what could not be called
            self.http_routes.append(Route(method, path, handler, where))
            return handler

        return register
