"""Every test of a plugin runs twice: with its component in this process, and in the sandbox. The results are to be the same."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest
from hypothesis import settings

from interlock.testing.isolation import default

_SETTINGS = "_hypothesis_internal_use_settings"
_FEWER = 5
"""Operations take ten times as long where each crosses to another process: one in so many examples is tried there."""


@pytest.fixture(scope="module", autouse=True, params=["inline", "sandbox"])
def isolation(request: pytest.FixtureRequest) -> Iterator[None]:
    before, default.isolation = default.isolation, request.param
    yield
    default.isolation = before


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    function = getattr(item, "function", None)
    whole = getattr(function, _SETTINGS, None)
    parameters = getattr(item, "callspec", None)
    if whole is None or parameters is None or parameters.params.get("isolation") != "sandbox":
        return (yield)
    setattr(function, _SETTINGS, settings(whole, max_examples=max(5, whole.max_examples // _FEWER)))
    try:
        return (yield)
    finally:
        setattr(function, _SETTINGS, whole)
