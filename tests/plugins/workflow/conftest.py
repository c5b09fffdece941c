"""Most tests run twice: with the mounts in the test's own process, and in workers of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .lab import ISOLATION, Isolation


@pytest.fixture(params=["inline", "sandbox"])
def isolation(request: pytest.FixtureRequest) -> Iterator[Isolation]:
    ISOLATION.append(request.param)
    yield request.param
    ISOLATION.pop()
