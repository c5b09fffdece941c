"""Which tests run in which isolation. Where the subject is a component's function a test runs both ways, or says why it does not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

BOTH_WAYS = {"functions", "scheduler", "conformance", "fetch", "plugins", "contract", "testing"}
"""Rooms of tests whose subject is, or may be, what a component's function does."""
ONE_WAY = {
    "cli": "commands, in processes of their own, whose mounts run as they say",
    "clients": "the original clients, against a server whose mounts run as they say",
    "docs": "what the pages say, as it is written there",
    "engine": "below functions: transactions alone",
    "examples": "apps as they are written, whose mounts run as they say",
    "fire": "servers and simulations as a whole, whose mounts run as they say",
    "mounting": "what is mounted, and what a manifest says: no function is called",
    "sandbox": "the sandbox itself; what is to be the same inline is compared within a test",
    "sdk": "what authors import, against a host of the test's",
    "server": "the app's own functions, as clients are answered",
    "storage": "below functions: what is on disk",
    "typing": "what type checkers say: nothing runs",
    "values": "below functions: values alone",
}
"""The other rooms, and why their tests have no isolation to choose."""
WHAT_TO_DO = (
    "These tests run in one isolation only. Give them the fixture `both_isolations` (tests/placed.py says how a worker finds their "
    'components), or say why not: @pytest.mark.one_isolation("inline", "the reason").'
)
IN_NAME_ONLY = (
    "It was to run in the sandbox, and nothing in it was mounted there. Place its components where a worker finds them (tests/placed.py), "
    'or say why it runs one way: @pytest.mark.one_isolation("inline", "the reason").'
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
