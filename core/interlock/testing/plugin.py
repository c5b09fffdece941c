"""The pytest plugin: `async def` tests and fixtures run by themselves, and a test that fails says from which seed.

Each async test has an event loop of its own, and its async fixtures run in it. Tests that pytest-asyncio or anyio are asked
to run are theirs. Kept light: pytest loads it in every project in whose environment Interlock is installed.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from interlock.sdk.declarations import IN_TESTS
from interlock.testing.isolation import default
from interlock.testing.seeds import seeds

if TYPE_CHECKING:
    from interlock.testing.backend import TestBackend

_OTHERS_MARKERS = ("asyncio", "anyio", "trio")
_RUNNER = pytest.StashKey[asyncio.Runner]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("interlock_app", "the app of the fixture `interlock`: its directory, seen from the one with the configuration")
    parser.addoption(
        "--interlock-seed", type=int, default=0, metavar="N", help="the seed of every TestBackend that is not given one (default: 0)"
    )
    parser.addoption(
        "--interlock-isolation",
        choices=("inline", "process", "sandbox"),
        help="where all components run of every TestBackend that is not told (default: inline where the test has imported them, "
        "and as the mount says where an app mounts them by name)",
    )
    parser.addoption(
        "--interlock-simulations",
        type=int,
        default=0,
        metavar="N",
        help="how many seeds each `simulate` of interlock.testing runs (default: as many as its test says)",
    )


def pytest_configure(config: pytest.Config) -> None:
    default.isolation = config.getoption("--interlock-isolation") or IN_TESTS
    seeds.session = int(config.getoption("--interlock-seed") or 0)
    seeds.simulations = int(config.getoption("--interlock-simulations") or 0)


@pytest.fixture
def interlock(request: pytest.FixtureRequest) -> Iterator[TestBackend]:
    """A `TestBackend` of the app that `interlock_app` names in the pytest configuration."""
    from interlock.testing.backend import TestBackend

    named = request.config.getini("interlock_app")
    if not named:
        pytest.fail("the fixture interlock needs its app: write interlock_app = <directory> into the pytest configuration", pytrace=False)
    backend = TestBackend(Path(request.config.rootpath, named))
    yield backend
    runner = request.node.stash.get(_RUNNER, None)
    if runner is not None:  # else it lived in the loop of another plugin, and ended with it
        runner.run(backend.close())


# running


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not _is_ours(pyfuncitem):
        return None
    function = pyfuncitem.obj
    inner = getattr(getattr(function, "hypothesis", None), "inner_test", None)
    if inner is not None:
        if inspect.iscoroutinefunction(inner):
            # Every example in a loop of its own, so that nothing of one is left in the next.
            function.hypothesis.inner_test = _in_new_loop(inner)
        return None
    if not inspect.iscoroutinefunction(function):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    _runner(pyfuncitem).run(function(**arguments))
    return True


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> Generator[None, Any, Any]:
    """An async fixture of a test of ours runs in the loop of the test."""
    function: Any = fixturedef.func
    item = request.node
    is_async = inspect.isasyncgenfunction(function) or inspect.iscoroutinefunction(function)
    if not is_async or not isinstance(item, pytest.Function) or not _is_ours(item) or hasattr(function, "_force_asyncio_fixture"):
        return (yield)
    replaced: Any = fixturedef  # its func is declared final: it is put back as soon as it has run
    replaced.func = (_yielding if inspect.isasyncgenfunction(function) else _returning)(function, _runner(item))
    try:
        return (yield)
    finally:
        replaced.func = function


def _returning(function: Callable[..., Coroutine[Any, Any, Any]], runner: asyncio.Runner) -> Callable[..., Any]:
    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        return runner.run(function(*args, **kwargs))

    return _plain(run)


def _yielding(function: Callable[..., AsyncIterator[Any]], runner: asyncio.Runner) -> Callable[..., Any]:
    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Iterator[Any]:
        steps = function(*args, **kwargs)
        yield runner.run(_next(steps))
        try:
            runner.run(_next(steps))
        except StopAsyncIteration:
            return
        raise RuntimeError(f"the fixture {function.__name__} yields more than once")

    return _plain(run)


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """`wraps` leaves a trace to the async function, which pytest would follow."""
    del function.__wrapped__  # type: ignore[attr-defined]
    return function


async def _next(steps: AsyncIterator[Any]) -> Any:
    return await anext(steps)


def _in_new_loop(function: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(function(*args, **kwargs))

    return _plain(run)


def _is_ours(item: pytest.Item) -> bool:
    if _asyncio_takes_all(item.config) or any(item.get_closest_marker(name) for name in _OTHERS_MARKERS):
        return False
    return "anyio_backend" not in getattr(item, "fixturenames", ())


def _asyncio_takes_all(config: pytest.Config) -> bool:
    """Whether pytest-asyncio is there, and in the mode in which every async test is its own."""
    if not config.pluginmanager.hasplugin("asyncio"):
        return False
    mode = config.getoption("asyncio_mode", None) or config.getini("asyncio_mode")
    return str(getattr(mode, "value", mode)) == "auto"


def _runner(item: pytest.Item) -> asyncio.Runner:
    runner = item.stash.get(_RUNNER, None)
    if runner is None:
        runner = item.stash[_RUNNER] = asyncio.Runner()
    return runner


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    """The loop of a test ends when its fixtures are torn down."""
    try:
        return (yield)
    finally:
        runner = item.stash.get(_RUNNER, None)
        if runner is not None:
            del item.stash[_RUNNER]
            runner.close()


# telling the seed


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    seeds.taken.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and seeds.taken:
        taken = ", ".join(map(str, seeds.taken))
        report.sections.append(("interlock", f"TestBackend was made from seed {taken}. The same again: --interlock-seed={seeds.taken[0]}"))
    return report
