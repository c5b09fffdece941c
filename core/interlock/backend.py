"""A backend: one app with everything it mounts, on one database. Puts the rooms together.

Opening goes from what may refuse the most to what can be undone the least: the tree of mounts is built and checked, then
storage is opened, the tables are made what the schemas say, and only then anything runs.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import structlog

from interlock.clock import Clock, SystemClock
from interlock.engine import Engine, EngineSettings
from interlock.engine.made import arrived
from interlock.errors import CallRefused, InterlockError, MountError, StorageUnavailable
from interlock.functions.caller import Answer, Caller, QueryResult
from interlock.functions.dispatcher import Dispatcher
from interlock.functions.dispatcher import system_tables as function_tables
from interlock.functions.entropy import Entropy
from interlock.functions.fetch import Fetcher, Responder
from interlock.functions.meter import CpuMeter
from interlock.functions.request_ids import request_ids
from interlock.mounting import Tree, build_tree, load_plugins
from interlock.mounting.app_package import undone_if_refused
from interlock.scheduler import Scheduler, check_crons
from interlock.scheduler import system_tables as scheduler_tables
from interlock.sdk.app import App
from interlock.sdk.component import Component
from interlock.sdk.declarations import InTests, Isolation
from interlock.sdk.references import as_target
from interlock.server import ServerApp, ServerSettings, make_admin_key
from interlock.server.asgi import AsgiApp
from interlock.server.binding import DispatcherService
from interlock.storage import open_storage
from interlock.storage.protocol import Storage
from interlock.values import loads

logger = structlog.get_logger("interlock.backend")
_SECRET, _INSTANCE_NAME, _BEGUN = "secret", "instance_name", "begun"
_HOUSEKEEPING_MS = 60_000.0
_GRACE_SECONDS = 5.0
T = TypeVar("T")


class Backend:
    """An app that runs: embedded in your own program (`async with Backend("myapp") as backend:`), or as an ASGI application.

    `app` is an app's directory, an `App`, or a component on its own. `data` is a directory, `:memory:` or a URL; by default
    `.interlock/` beside `app.py`. `settings` are by default what the environment says. With `dev`, callers are told errors whole.
    `plugins` are asked along with the installed ones. `fetch` answers every `ctx.fetch` in the place of the network.
    """

    def __init__(
        self,
        app: str | os.PathLike[str] | App | Component,
        *,
        data: str | os.PathLike[str] | None = None,
        dev: bool = False,
        env: Mapping[str, str] | None = None,
        clock: Clock | None = None,
        seed: int | None = None,
        isolation: Isolation | InTests | None = None,
        settings: EngineSettings | None = None,
        storage: Storage | None = None,
        plugins: Mapping[str, object] | None = None,
        meter: CpuMeter | None = None,
        fetch: Responder | None = None,
    ) -> None:
        self._source = app if isinstance(app, App | Component) else Path(app)
        self._data = os.fspath(data) if data is not None else None
        self.dev = dev
        self._env = os.environ if env is None else env
        self.clock: Clock = clock or SystemClock()
        self._seed = seed
        self._isolation = isolation
        self._settings = settings
        self._storage = storage
        self._plugins = dict(plugins or {})
        self._meter = meter
        self._fetch = fetch
        self._tree: Tree | None = None
        self._engine: Engine | None = None
        self._dispatcher: Dispatcher | None = None
        self._scheduler: Scheduler | None = None
        self._housekeeping: asyncio.Task[None] | None = None
        self._asgi: ServerApp | None = None
        self._new_request_id = request_ids()
        self._changing = asyncio.Lock()
        self._subscribers: set[asyncio.Event] = set()  # set when something may have changed, the end of the backend included
        self._ended_by: InterlockError | None = None
        self._ending: asyncio.Task[None] | None = None
        self.on_fatal: Callable[[BaseException], None] | None = None

    # opening and closing

    async def open(self) -> None:
        """Start. Raises MountError, SchemaError or StorageUnavailable; then nothing runs, and nothing that was stored has changed."""
        async with self._changing:
            if self._engine is None:
                await self._open()

    async def _open(self) -> None:
        keep_secrets_out_of_tracebacks()
        tree = build_tree(self._source, env=self._env, isolation=self._isolation, plugins=self._all_plugins())
        _check_crons(tree)
        self._check_static(tree)
        entropy = random.Random(self._seed) if self._seed is not None else Entropy()
        settings = self._settings or EngineSettings.of_environment(self._env)
        engine = Engine(self._storage or self._open_storage(tree), clock=self.clock, settings=settings, seed=entropy.getrandbits(64))
        try:
            await engine.open()
            facts = _missing_facts(engine, tree, entropy)
            await engine.deploy(_tables(tree), facts=facts, moves=dict(tree.moves))
            secret = bytes.fromhex(engine.facts[_SECRET])
            fetcher = Fetcher(self._env, secret, responder=self._fetch)
            dispatcher = Dispatcher(engine, tree, secret=secret, env=self._env, fetcher=fetcher, entropy=entropy, meter=self._meter)
            scheduler = Scheduler(engine, dev=self.dev)
            dispatcher.attach(scheduling=scheduler.jobs)
            await scheduler.start(dispatcher, tree)
        except BaseException:
            await engine.close()
            raise
        engine.committer.on_fatal = self._on_fatal
        self._ended_by = None
        self._tree, self._engine, self._dispatcher, self._scheduler = tree, engine, dispatcher, scheduler
        self._housekeeping = asyncio.get_running_loop().create_task(self._keep_house())

    def _all_plugins(self) -> dict[str, object]:
        return {**load_plugins(), **self._plugins}

    def _open_storage(self, tree: Tree) -> Storage:
        data = self._data
        if data is None:
            data = os.fspath((tree.directory or Path.cwd()) / ".interlock")
        return tree.hooks.open_storage(data) or open_storage(data, self.clock)

    def _check_static(self, tree: Tree) -> None:
        """Raises MountError where the data lies in what is served to everybody."""
        data = (self._data or "").removeprefix("sqlite:///")
        if data and tree.static is not None and "://" not in data and Path(data).resolve().is_relative_to(tree.static):
            raise MountError(
                data, f"the data would lie in {tree.static}, which is served to everybody.", "Choose another place for the data."
            )

    async def close(self) -> None:
        """Finish what runs, see everything that stands onto the disk, and let the data go. A closed backend raises when it is called."""
        async with self._changing:
            if self._engine is None or self._scheduler is None or self._dispatcher is None:
                return
            if self._housekeeping is not None:
                self._housekeeping.cancel()
                await asyncio.gather(self._housekeeping, return_exceptions=True)
            await self._scheduler.stop(_GRACE_SECONDS if isinstance(self.clock, SystemClock) else 0.0)
            self._dispatcher.close()
            await self._engine.close()
            self._engine = None
            self._wake_subscribers()

    async def __aenter__(self) -> Backend:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def reload(self) -> None:
        """Take over changed code, while sockets stay open. Raises what stands in its way; then the code from before goes on."""
        async with self._changing:
            with undone_if_refused(self._source.resolve().name) if isinstance(self._source, Path) else nullcontext():
                tree = build_tree(self._source, env=self._env, reload=True, isolation=self._isolation, plugins=self._all_plugins())
                _check_crons(tree)
                self._check_static(tree)
                await self.engine.deploy(_tables(tree), moves=dict(tree.moves))
            self.dispatcher.adopt(tree)
            self._tree = tree
            await self.scheduler.reload(tree)
            if self._asgi is not None:
                self._asgi.reconfigure(self._server_settings())

    def _on_fatal(self, error: InterlockError) -> None:
        """What is on disk is not known any more: every call raises from here on, until it is opened anew and has recovered."""
        logger.critical("the backend has to end", error=str(error))
        self._ended_by = error
        self._wake_subscribers()
        if self.on_fatal is not None:
            self.on_fatal(error)
        else:
            self._ending = asyncio.get_running_loop().create_task(self.close())

    def _wake_subscribers(self) -> None:
        for changed in self._subscribers:
            changed.set()

    async def _keep_house(self) -> None:
        while True:
            await self.clock.wait_until(self.clock.now_ms() + _HOUSEKEEPING_MS)
            try:
                await self.engine.forget_history()
                await self.dispatcher.forget_requests()
            except InterlockError as error:
                logger.warning("housekeeping will be tried again", error=str(error))
            except Exception:
                logger.exception("housekeeping failed")

    # what it is made of

    @property
    def tree(self) -> Tree:
        """Everything that is mounted."""
        return _opened(self._tree)

    @property
    def engine(self) -> Engine:
        if self._ended_by is not None:
            raise self._ended_by
        return _opened(self._engine)

    @property
    def dispatcher(self) -> Dispatcher:
        self.engine  # a closed backend has none  # noqa: B018
        return _opened(self._dispatcher)

    @property
    def scheduler(self) -> Scheduler:
        self.engine  # noqa: B018
        return _opened(self._scheduler)

    @property
    def instance_name(self) -> str:
        return self.engine.facts[_INSTANCE_NAME]

    @property
    def secret(self) -> bytes:
        """What signs cursors, handles and admin keys; kept with the data."""
        return bytes.fromhex(self.engine.facts[_SECRET])

    @property
    def admin_key(self) -> str:
        """Whoever has it may call everything."""
        return make_admin_key(self.instance_name, self.secret)

    # calling

    async def query(self, function: Any, /, **args: Any) -> Any:
        """The result of a query, as of the newest state on disk. Of what travels as plain data, such as a `Page`, its dict."""
        return (await self.dispatcher.call("query", args=args, caller=self._caller(), **_called(function))).value

    async def mutation(self, function: Any, /, **args: Any) -> Any:
        """Run a mutation; when this returns, it is on disk."""
        return (await self.dispatcher.call("mutation", args=args, caller=self._caller(), **_called(function))).value

    async def action(self, function: Any, /, **args: Any) -> Any:
        """Run an action."""
        return (await self.dispatcher.call("action", args=args, caller=self._caller(), **_called(function))).value

    async def call_any(self, name: str, args: Mapping[str, Any], component_path: str = "", *, admin: bool = False) -> Answer:
        """Call a function of any kind, as the command line does; with `admin` also an internal one or a component's."""
        caller = Caller(admin=admin, source="cli", request_id=self._new_request_id())
        return await self.dispatcher.call(None, name, args, caller=caller, component_path=component_path)

    def subscribe(self, function: Any, /, **args: Any) -> AsyncIterator[Any]:
        """The result of a query now, and again each time it has changed. Raises what the query raises, and when the backend ends."""
        target = as_target(function)
        if target.handle:
            raise CallRefused(repr(function), "a handle is to call, not to subscribe to: it may be revoked. Name the query itself.")
        return self.subscribe_as(self._caller(), target.mount, target.name, args)

    async def subscribe_as(self, caller: Caller, component_path: str, name: str, args: Mapping[str, Any]) -> AsyncIterator[Any]:
        """`subscribe` for somebody else."""
        changed = asyncio.Event()
        live = self.dispatcher.live_query(name, args, caller=caller, wake=changed.set, component_path=component_path)
        shown: bytes | None = None
        self._subscribers.add(changed)
        try:
            while True:
                changed.clear()
                log = self.engine.log
                place = log.durable
                log.pin(place)
                try:
                    entry = await arrived(live.at(place))
                finally:
                    log.unpin(place)
                if entry.error is not None:
                    raise entry.error
                result: QueryResult = entry.value
                if result.json != shown:
                    shown = result.json
                    callee = self.dispatcher.directory.find(component_path, name, camel_case=False, everything=True)
                    yield callee.check_result(loads(shown))
                await changed.wait()
        finally:
            self._subscribers.discard(changed)
            live.close()

    def _caller(self) -> Caller:
        return Caller(admin=True, source="embedded", request_id=self._new_request_id())

    # serving

    def asgi(self, *, mounts: Mapping[str, AsgiApp] | None = None) -> ServerApp:
        """This backend as an ASGI application. It opens at lifespan start-up or at the first request, unless it is open already.

        `mounts` are more applications by path prefix. There is one application a backend: they count where it is first asked for.
        """
        if self._asgi is None:
            opened_here = False

            async def start() -> DispatcherService:
                nonlocal opened_here
                opened_here = self._engine is None
                await self.open()
                begun_ts = int(self.engine.facts.get(_BEGUN, 0))
                return DispatcherService(self.engine, self.dispatcher, self._server_settings(), dev=self.dev, begun_ts=begun_ts)

            async def stop() -> None:
                if opened_here:
                    await self.close()

            self._asgi = ServerApp(start, stop, clock=self.clock, mounts=mounts, new_request_id=self._new_request_id)
        return self._asgi

    def _server_settings(self) -> ServerSettings:
        tree = self.tree
        static = os.fspath(tree.static) if tree.static is not None else None
        return ServerSettings(
            self.instance_name,
            self.secret,
            auth=tree.auth,
            authenticators=tree.hooks.authenticators(),
            version=version("interlock"),
            static=static,
        )

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """The lifespan for an application that mounts `asgi()` below itself: `FastAPI(lifespan=backend.lifespan)`."""
        async with self.asgi().lifespan(app):
            yield


def _opened(part: T | None) -> T:
    if part is None:
        raise StorageUnavailable("This backend is not open.", "Use it inside `async with Backend(…)`.")
    return part


def _called(function: Any) -> dict[str, Any]:
    """What a caller in Python names by a string, a function, a reference or a handle, as the dispatcher takes it."""
    target = as_target(function)
    return {"name": target.name, "component_path": target.mount, "handle": target.handle or None, "limits": target.limits}


def keep_secrets_out_of_tracebacks() -> None:
    """structlog as it comes prints local variables, and with them what is in `env`. Whoever has configured it knows better."""
    if structlog.is_configured():
        return
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=False),
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
        ]
    )


def _check_crons(tree: Tree) -> None:
    for path, instance in tree.by_path.items():
        check_crons(path, instance.crons)


def _tables(tree: Tree) -> list[Any]:
    specs = [*tree.table_specs(), *function_tables()]
    for path in tree.by_path:
        specs.extend(scheduler_tables(path))
    return specs


def _missing_facts(engine: Engine, tree: Tree, entropy: random.Random) -> dict[str, str]:
    facts, missing = engine.facts, {}
    if _BEGUN not in facts:
        missing[_BEGUN] = str(engine.durable_ts or int(engine.clock.now_ms() * 1e6))
    if _SECRET not in facts:
        missing[_SECRET] = entropy.randbytes(32).hex()
    if _INSTANCE_NAME not in facts:
        missing[_INSTANCE_NAME] = tree.directory.name.replace("_", "-") if tree.directory is not None else "interlock"
    return missing
