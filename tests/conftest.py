"""Settings of all tests. Async tests are run by the plugin of `interlock.testing`, which authors get too."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from tests import isolations

from interlock.backend import keep_secrets_out_of_tracebacks
from interlock.mounting import tree
from interlock.mounting.sealing import ask_manifest
from interlock.sandbox.confinement import available
from interlock.testing.isolation import default

# How long an example takes says nothing here: the machine has other work.
settings.register_profile("interlock", deadline=None)
settings.load_profile("interlock")

NOT_HERE = pytest.mark.skipif(bool(available().missing), reason=f"no process can be confined here: {available().missing}")


_SETTINGS = "_hypothesis_internal_use_settings"
_FEWER = 5
"""Operations take ten times as long where each crosses to another process: one in so many examples is tried there."""


_sealed = pytest.StashKey[list[object]]()


@pytest.fixture(autouse=True)
def sealed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Notes what a test that is run in the sandbox mounts there."""
    if isolations.of(request.node) == "sandbox":
        mounted = request.node.stash[_sealed] = []

        def noted(*args: Any) -> Any:
            mounted.append(args)
            return ask_manifest(*args)

        monkeypatch.setattr(tree, "ask_manifest", noted)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    if isolations.of(item) != "sandbox":
        return (yield)
    function = getattr(item, "function", None)
    whole = getattr(function, _SETTINGS, None)
    if whole is not None:
        setattr(function, _SETTINGS, settings(whole, max_examples=max(5, whole.max_examples // _FEWER)))
    try:
        result = yield
    finally:
        if whole is not None:
            setattr(function, _SETTINGS, whole)
    # Without this a test may be the same as inline, in another name.
    if not item.stash[_sealed] and item.get_closest_marker("sealed_elsewhere") is None:
        pytest.fail(isolations.IN_NAME_ONLY)
    return result


def pytest_configure(config: pytest.Config) -> None:
    keep_secrets_out_of_tracebacks()  # plain ones: what structlog would print by itself takes a second each
    config.addinivalue_line("markers", "sealed_elsewhere: a test that runs its mounts in the sandbox of a process of its own")
    config.addinivalue_line("markers", "canary(test): the test in which the attack of this one gets through")
    config.addinivalue_line("markers", "one_isolation(isolation, reason): a test that runs in one way only, and why")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    kept, dropped = isolations.sorted_out(items)
    strays = isolations.strays(kept)
    if strays:
        raise pytest.UsageError(isolations.WHAT_TO_DO + "".join(f"\n  {name}" for name in strays))
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = kept


def pytest_collection_finish() -> None:
    """What has been collected stays to the end: the collector need not go through it again and again while tests run."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def mypy_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make check` knows of Interlock, so that a test does not check all of it anew. A copy: two that write into one would clash."""
    folder = tmp_path_factory.mktemp("mypy")
    known = Path(__file__).parents[1] / ".mypy_cache"
    return shutil.copytree(known, folder, dirs_exist_ok=True) if known.is_dir() else folder


@pytest.fixture(autouse=True)
def one_isolation(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that is for one isolation runs in it, also between others of its module that run in the other."""
    marker = request.node.get_closest_marker("one_isolation")
    before = default.isolation
    if marker is not None:
        default.isolation = marker.args[0]
    yield
    default.isolation = before


@pytest.fixture(scope="module", params=["inline", pytest.param("sandbox", marks=NOT_HERE)])
def both_isolations(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs a test twice: its mounts in this process, and sealed. Those that no worker could find stay here; see `tests.placed`."""
    before, default.isolation = default.isolation, request.param
    yield request.param
    default.isolation = before
