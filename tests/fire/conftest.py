"""What is the same for all histories: little is kept, so that what is kept is given up and asked for again, as in a large app."""

from __future__ import annotations

import pytest

from interlock.engine import unpacked


@pytest.fixture(autouse=True)
def few_documents_kept_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacked, "_MOST", 2)
