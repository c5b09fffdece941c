"""Which tests run in which isolation. Where the subject is a component's function a test runs both ways, or says why it does not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

BOTH_WAYS = {"functions", "scheduler", "conformance", "fetch", "plugins"}
"""Folders of tests whose subject is a component's function."""
WHAT_TO_DO = (
    "These tests run in one isolation only. Give them the fixture `both_isolations` (tests/placed.py says how a worker finds their "
    'components), or say why not: @pytest.mark.one_isolation("inline", "the reason").'
)
_FIXTURES = ("both_isolations", "isolation")


def of(item: pytest.Item) -> str | None:
    """The isolation that a test is run in, where it has a choice."""
    parameters = getattr(item, "callspec", None)
    if parameters is None:
        return None
    return next((parameters.params[name] for name in _FIXTURES if name in parameters.params), None)


def sorted_out(items: Iterable[pytest.Item]) -> tuple[list[pytest.Item], list[pytest.Item]]:
    """What is run, and what is not because its test is for the other isolation."""
    kept: list[pytest.Item] = []
    dropped: list[pytest.Item] = []
    for item in items:
        marker = item.get_closest_marker("one_isolation")
        (kept if marker is None or of(item) in (None, marker.args[0]) else dropped).append(item)
    return kept, dropped


def strays(items: Sequence[pytest.Item]) -> list[str]:
    """Tests that run one way only and do not say why, or with no reason worth the name."""
    return sorted({item.nodeid for item in items if _is_stray(item)})


def _is_stray(item: pytest.Item) -> bool:
    path = Path(item.path).relative_to(Path(__file__).parent)
    if path.parts[0] not in BOTH_WAYS:
        return False
    marker = item.get_closest_marker("one_isolation")
    if marker is None:
        return of(item) is None
    return len(marker.args) != 2 or marker.args[0] not in ("inline", "sandbox") or len(marker.args[1].split()) < 3
