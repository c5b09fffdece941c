"""Files beside a component's modules: the same ways to read them work however it is isolated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.mounting.distributions import install

from interlock import App
from interlock.sandbox.confinement import available
from interlock.sdk.declarations import Isolation
from interlock.testing import TestBackend

COMPONENT = """
import importlib.resources as resources
import pkgutil
from typing import Any

from interlock import Component, QueryCtx

component = Component("words")


@component.query
async def data(ctx: QueryCtx) -> str:
    return pkgutil.get_data("interlock_words", "lists/short.txt").decode()


@component.query
async def text(ctx: QueryCtx) -> list[str]:
    root = resources.files("interlock_words")
    with root.joinpath("lists", "short.txt").open() as file:
        return [file.read(), (root / "lists" / "short.txt").read_text(encoding="utf-8"), (root / "lists/short.txt").read_bytes().decode()]


@component.query
async def of_a_folder(ctx: QueryCtx) -> str:
    return resources.files("interlock_words.lists").joinpath("../words.json").read_text(encoding="utf-8")


@component.query
async def listing(ctx: QueryCtx) -> dict[str, Any]:
    root = resources.files("interlock_words")
    def listed(folder: Any) -> list[Any]:
        return [found for found in folder.iterdir() if found.name != "__pycache__"]

    return {
        found.name: [found.is_dir(), found.is_file(), sorted(one.name for one in listed(found)) if found.is_dir() else []]
        for found in [*listed(root), root / "nothing"]
    }


@component.query
async def modules(ctx: QueryCtx) -> list[Any]:
    import interlock_words

    found = [[one.name, one.ispkg] for one in pkgutil.walk_packages(interlock_words.__path__, "interlock_words.")]
    return [found, interlock_words.__path__[0].endswith("interlock_words"), [one.name for one in pkgutil.iter_modules(["nothing"])]]


@component.query
async def error(ctx: QueryCtx, path: str, lists: bool = False) -> str:
    found = resources.files("interlock_words").joinpath(path)
    try:
        list(found.iterdir()) if lists else found.read_text()
    except OSError as error:
        return type(error).__name__
    return "none"
"""
FILES = {
    "interlock_words/__init__.py": "",
    "interlock_words/component.py": COMPONENT,
    "interlock_words/words.json": "[]",
    "interlock_words/more/__init__.py": "LOADED = True",
    "interlock_words/more/deep.py": "",
    "interlock_words/lists/short.txt": "één",
}


@pytest.mark.parametrize("isolation", ["inline", "sandbox"])
async def test_they_are_found_and_read(isolation: Isolation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if isolation == "sandbox" and available().missing:
        pytest.skip(f"not here: {available().missing}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    install(tmp_path / "site", "interlock-words", components={"words": "interlock_words.component:component"}, files=FILES)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    app = App()
    app.use("words", isolation=isolation)
    async with TestBackend(app, isolation=isolation) as backend:

        async def told(function: str, **args: Any) -> Any:
            return await backend.component("words").query(function, **args)

        assert await told("data") == "één"
        assert await told("text") == ["één"] * 3
        assert await told("of_a_folder") == "[]"
        assert await told("listing") == {
            "__init__.py": [False, True, []],
            "component.py": [False, True, []],
            "words.json": [False, True, []],
            "more": [True, False, ["__init__.py", "deep.py"]],
            "lists": [True, False, ["short.txt"]],
            "nothing": [False, False, []],
        }
        names = [["interlock_words.component", False], ["interlock_words.more", True], ["interlock_words.more.deep", False]]
        assert await told("modules") == [names, True, []]
        assert await told("error", path="nothing") == "FileNotFoundError"
        assert await told("error", path="lists") == "IsADirectoryError"
        assert await told("error", path="nothing", lists=True) == "FileNotFoundError"
        assert await told("error", path="words.json", lists=True) == "NotADirectoryError"
