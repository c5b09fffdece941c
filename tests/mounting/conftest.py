"""Every test leaves the interpreter as it found it: the packages that it imported are forgotten, the path is as before."""

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def interpreter_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # Other rooms' tests have an app of the same name.
    for name in [name for name in sys.modules if name.startswith(("myapp", "otherapp"))]:
        del sys.modules[name]
    modules, finders = dict(sys.modules), list(sys.meta_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    assert sys.meta_path == finders
    for name in set(sys.modules) - set(modules):
        if name.startswith(("myapp", "otherapp", "interlock_")):
            del sys.modules[name]
