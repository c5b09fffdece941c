"""What a plugin may add, and when it is asked. The engine reaches components through these specs alone.

At start, once a mount:   tables → functions → triggers → crons → http_routes.   They declare: no I/O; raising refuses the start.
At start, once a plugin:  open_storage, open_files, authenticators, dashboard_pages, commands.   Raising refuses the start.
Around every call:        call_started → … → call_finished.                       They observe: quick; raising is logged, never felt.
Around every job:         job_scheduled → … → job_finished.                       The same.

Every mounted instance is a plugin, asked alone and under its component path; `mounting` makes it from a manifest. Other
plugins are distributions with an entry point of the group `interlock.plugins` that names a module or an object:

    from interlock.hooks import hookimpl

    @hookimpl
    def call_finished(call, outcome):        # only the parameters that it wants, without defaults
        print(call.function.name, outcome.duration_ms)

Hooks are plain functions: they say what there is, and the engine calls (and awaits) what they said. With
INTERLOCK_TRACE_HOOKS=1 in the environment every hook call is printed with its answers.
"""

from __future__ import annotations

import difflib
import inspect
import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import pluggy
import structlog

from interlock.errors import InterlockError, MountError

if TYPE_CHECKING:
    import typer

    from interlock.sdk.declarations import CronDeclaration, FunctionDeclaration, RouteDeclaration, TableDeclaration, TriggerDeclaration
    from interlock.sdk.host import FunctionInfo, Job
    from interlock.storage.protocol import Storage

hookspec = pluggy.HookspecMarker("interlock")
hookimpl = pluggy.HookimplMarker("interlock")

ASGI = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[MutableMapping[str, Any]]], Callable[[MutableMapping[str, Any]], Awaitable[None]]],
    Awaitable[None],
]


# What the hooks are given, and what they give back where no room below declares it.


@dataclass(frozen=True, slots=True)
class Call:
    """One run of a function, as observers see it. `source` is who asked: a client, a cron, or "function" for a call inside a call."""

    function: FunctionInfo
    request_id: str
    source: str
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call or job ended. `error` is what it raised; `commit_ts` is set where it wrote."""

    duration_ms: float
    error: BaseException | None = None
    commit_ts: int | None = None

    @property
    def ok(self) -> bool:
        return self.error is None


class Authenticator(Protocol):
    """Turns tokens of one issuer into identities."""

    async def authenticate(self, token: str) -> Mapping[str, Any] | None:
        """The identity, None for a token that is not this one's to judge. Raises Unauthenticated for one that is, and is bad."""


@dataclass(frozen=True, slots=True)
class DashboardPage:
    """A page of the dashboard: `app` answers below `/_dashboard/plugins/<slug>`, to those who may see the dashboard."""

    slug: str
    title: str
    app: ASGI


# Asked of every mounted instance by itself.


@hookspec
def tables() -> Mapping[str, TableDeclaration]:
    """Return the tables of one mount by name. Asked once at start and at every reload, before `functions`. Raising refuses the start."""
    return {}


@hookspec
def functions() -> Mapping[str, FunctionDeclaration]:
    """Return the functions of one mount by name. Asked once at start and at every reload, after `tables`. Raising refuses the start."""
    return {}


@hookspec
def triggers() -> Sequence[TriggerDeclaration]:
    """Return the triggers of one mount, in the order in which they run.

    Asked once at start and at every reload, after `functions`. Raising refuses the start.
    """
    return ()


@hookspec
def crons() -> Sequence[CronDeclaration]:
    """Return the crons of one mount. Asked once at start and at every reload, after `functions`.

    Two of one name, or raising, refuse the start.
    """
    return ()


@hookspec
def http_routes() -> Sequence[RouteDeclaration]:
    """Return the HTTP routes of one mount; they answer below its prefix. Asked once at start and at every reload, last.

    Raising refuses the start.
    """
    return ()


# Asked of every plugin that is no mount.


@hookspec(firstresult=True)
def open_storage(url: str) -> Storage | None:
    """Return a storage for `url`, or None where the scheme is not yours. Asked once at start, before anything is read, until one answers.

    Raising refuses the start. Do not connect yet: the engine calls `load`.
    """


@hookspec(firstresult=True)
def open_files(url: str) -> object | None:
    """Return a file store for `url`, or None where the scheme is not yours. Asked once at start, until one answers.

    Raising refuses the start.
    """


@hookspec
def authenticators() -> Sequence[Authenticator]:
    """Return further ways to tell who a token belongs to; they are tried after the app's own. Asked once at start.

    Raising refuses the start.
    """
    return ()


@hookspec
def commands(cli: typer.Typer) -> None:
    """Add commands to `cli`. Called once when the command line starts, before it is parsed.

    Raising ends the command with the plugin's name.
    """


@hookspec
def dashboard_pages() -> Sequence[DashboardPage]:
    """Return pages for the dashboard. Asked once at start. Two of one slug, or raising, refuse the start."""
    return ()


# Told to every plugin that is no mount: a mount hears nothing of what others do.


@hookspec
def call_started(call: Call) -> None:
    """Called once a call, nested ones too, before its function runs, and again when it runs again after a conflict.

    Raising is logged, never felt.
    """


@hookspec
def call_finished(call: Call, outcome: Outcome) -> None:
    """Called once for each `call_started`, after its transaction committed or was undone; for a nested call when it returned.

    Raising is logged, never felt.
    """


@hookspec
def job_scheduled(job: Job) -> None:
    """Called once a job, when the transaction that scheduled it is durable. `job.name` begins with the component path.

    Raising is logged, never felt.
    """


@hookspec
def job_finished(job: Job, outcome: Outcome) -> None:
    """Called once a job, when it succeeded, failed or was cancelled, and that is durable. Raising is logged, never felt."""


OF_MOUNTS = frozenset({"tables", "functions", "triggers", "crons", "http_routes"})
OBSERVERS = frozenset({"call_started", "call_finished", "job_scheduled", "job_finished"})
OF_PLUGINS = OBSERVERS | {"open_storage", "open_files", "authenticators", "commands", "dashboard_pages"}

_log = structlog.get_logger("interlock.hooks")


class Hooks:
    """The plugins of one backend, typed; pluggy's own calls are all `Any`.

    Each plugin has a caller of its own: one that raises stops no other, and the order is that of the mappings.
    """

    def __init__(self, mounts: Mapping[str, object], plugins: Mapping[str, object] | None = None) -> None:
        self._mounts = {path: _caller(plugin, f'the mount "{path}"' if path else "the app", OF_MOUNTS) for path, plugin in mounts.items()}
        self._plugins = {name: _caller(plugin, f'the plugin "{name}"', OF_PLUGINS) for name, plugin in (plugins or {}).items()}
        self._call_started = self._observers("call_started")
        self._call_finished = self._observers("call_finished")
        self._job_scheduled = self._observers("job_scheduled")
        self._job_finished = self._observers("job_finished")
        self.observes_calls = bool(self._call_started or self._call_finished)
        self.observes_jobs = bool(self._job_scheduled or self._job_finished)

    # Of one mount, by its component path.

    def tables(self, path: str) -> dict[str, TableDeclaration]:
        return {name: table for answer in self._ask(path, "tables") for name, table in answer.items()}

    def functions(self, path: str) -> dict[str, FunctionDeclaration]:
        return {name: function for answer in self._ask(path, "functions") for name, function in answer.items()}

    def triggers(self, path: str) -> list[TriggerDeclaration]:
        return [trigger for answer in self._ask(path, "triggers") for trigger in answer]

    def crons(self, path: str) -> list[CronDeclaration]:
        return [cron for answer in self._ask(path, "crons") for cron in answer]

    def http_routes(self, path: str) -> list[RouteDeclaration]:
        return [route for answer in self._ask(path, "http_routes") for route in answer]

    # Of all plugins that are no mount.

    def open_storage(self, url: str) -> Storage | None:
        answers: Iterable[Storage] = self._first("open_storage", url=url)
        return next(iter(answers), None)

    def open_files(self, url: str) -> object | None:
        return next(iter(self._first("open_files", url=url)), None)

    def authenticators(self) -> list[Authenticator]:
        return [one for answer in self._ask_plugins("authenticators") for one in answer]

    def commands(self, cli: typer.Typer) -> None:
        list(self._ask_plugins("commands", cli=cli))

    def dashboard_pages(self) -> list[DashboardPage]:
        pages: dict[str, DashboardPage] = {}
        for page in (page for answer in self._ask_plugins("dashboard_pages") for page in answer):
            if page.slug in pages:
                raise MountError("dashboard", f'two plugins have a page "{page.slug}".', "Uninstall one of them.")
            pages[page.slug] = page
        return list(pages.values())

    # Observers. Where nobody listens, callers ask `observes_calls` first and make no `Call` at all.

    def call_started(self, call: Call) -> None:
        _tell(self._call_started, call=call)

    def call_finished(self, call: Call, outcome: Outcome) -> None:
        _tell(self._call_finished, call=call, outcome=outcome)

    def job_scheduled(self, job: Job) -> None:
        _tell(self._job_scheduled, job=job)

    def job_finished(self, job: Job, outcome: Outcome) -> None:
        _tell(self._job_finished, job=job, outcome=outcome)

    def _ask(self, path: str, hook: str) -> Iterable[Any]:
        answers: list[Any] = self._mounts[path].ask(hook)
        return answers

    def _ask_plugins(self, hook: str, **arguments: Any) -> Iterable[Any]:
        return [answer for caller in self._plugins.values() for answer in caller.ask(hook, **arguments)]

    def _first(self, hook: str, **arguments: Any) -> Iterable[Any]:
        return (answer for caller in self._plugins.values() if (answer := caller.ask(hook, **arguments)) is not None)

    def _observers(self, hook: str) -> tuple[tuple[str, pluggy.HookCaller], ...]:
        callers = ((caller.name, getattr(caller.manager.hook, hook)) for caller in self._plugins.values())
        return tuple((name, caller) for name, caller in callers if caller.get_hookimpls())


@dataclass(frozen=True, slots=True)
class _Caller:
    """One plugin and the manager that knows it alone. `name` is for people."""

    name: str
    manager: pluggy.PluginManager

    def ask(self, hook: str, **arguments: Any) -> Any:
        try:
            return getattr(self.manager.hook, hook)(**arguments)
        except InterlockError:
            raise
        except Exception as error:
            raise MountError(self.name, f"its hook {hook} raised {type(error).__name__}: {error}") from error


def _caller(plugin: object, name: str, allowed: frozenset[str]) -> _Caller:
    manager = pluggy.PluginManager("interlock")
    manager.add_hookspecs(sys.modules[__name__])
    try:
        manager.register(plugin, name)
    except pluggy.PluginValidationError as error:
        raise MountError(name, f"a hook of it does not fit its spec: {error}", "interlock/hooks.py has the parameters of each.") from error
    for caller in manager.get_hookcallers(plugin) or ():
        _check(caller, name, allowed)
    # Without it a misspelt hook is silently never called. _check has named them already; this holds for what it may not know of.
    manager.check_pending()
    if os.environ.get("INTERLOCK_TRACE_HOOKS") == "1":
        manager.add_hookcall_monitoring(lambda *_: None, lambda outcome, hook, _, arguments: _print_call(name, hook, arguments, outcome))
    return _Caller(name, manager)


def _check(caller: pluggy.HookCaller, name: str, allowed: frozenset[str]) -> None:
    for implementation in caller.get_hookimpls():
        if caller.name in allowed and not inspect.iscoroutinefunction(implementation.function):
            continue
        if caller.name in allowed:
            raise MountError(name, f"its hook {caller.name} is async.", "Hooks are plain functions: return what is to be awaited.")
        if caller.name in OF_MOUNTS | OF_PLUGINS:
            kind = "a mounted component" if caller.name in OF_MOUNTS else "a plugin of the backend, not of a component,"
            raise MountError(name, f"it implements the hook {caller.name}, which only {kind} is asked for.", "Remove it.")
        if not implementation.optionalhook:
            close = difflib.get_close_matches(caller.name, allowed, n=1)
            remedy = f"Did you mean {close[0]}?" if close else f"There are: {', '.join(sorted(allowed))}."
            raise MountError(name, f'it implements "{caller.name}", which is no hook.', remedy)


def _tell(observers: Iterable[tuple[str, pluggy.HookCaller]], **facts: Any) -> None:
    for name, observer in observers:
        try:
            observer(**facts)
        except Exception:
            _log.exception("an observer raised", plugin=name, hook=observer.name)


def _print_call(plugin: str, hook: str, arguments: Mapping[str, object], outcome: pluggy.Result[Any]) -> None:
    given = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    answer: object = outcome.exception if outcome.exception is not None else outcome.get_result()
    verb: Literal["raised", "→"] = "raised" if outcome.exception is not None else "→"
    print(f"hook of {plugin}: {hook}({given}) {verb} {answer!r}", file=sys.stderr)
