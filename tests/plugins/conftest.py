"""Every test of a plugin runs twice: with its component in this process, and in the sandbox. The results are to be the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from interlock.testing.isolation import default


@pytest.fixture(scope="module", autouse=True, params=["inline", "sandbox"])
def isolation(request: pytest.FixtureRequest) -> Iterator[None]:
    before, default.isolation = default.isolation, request.param
    yield
    default.isolation = before
