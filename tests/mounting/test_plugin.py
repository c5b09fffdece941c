import sys
from pathlib import Path

import pytest

from interlock.errors import MountError
from interlock.hooks import Hooks
from interlock.mounting import Manifest, build_tree, load_plugins
from interlock.mounting.plugin import PLUGINS, InstancePlugin
from interlock.sdk import App
from interlock.sdk.declarations import CronDeclaration, FunctionDeclaration, RouteDeclaration, TableDeclaration, TriggerDeclaration

from .distributions import install

SOURCE = """
from interlock.hooks import hookimpl

heard = []

@hookimpl
def call_started(call):
    heard.append(call)
"""


def test_an_instance_is_stood_for_by_its_manifest() -> None:
    manifest = Manifest(
        "tally",
        tables={"counters": TableDeclaration({"type": "any"})},
        functions={"add": FunctionDeclaration("add", "mutation", False, {"type": "object", "value": {}}, {"type": "any"})},
        triggers=(TriggerDeclaration("counters"), TriggerDeclaration("counters", takes_list=True)),
        crons=(CronDeclaration("tick", 5.0, None, "UTC", "once", {}, "add"),),
        http_routes=(RouteDeclaration("GET", "/x"),),
    )
    found = Hooks({"tally": InstancePlugin(manifest)})
    assert found.tables("tally") == manifest.tables
    assert found.functions("tally") == manifest.functions
    assert found.triggers("tally") == list(manifest.triggers)
    assert found.crons("tally") == list(manifest.crons)
    assert found.http_routes("tally") == list(manifest.http_routes)


def test_the_backends_own_plugins_are_loaded_when_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "interlock-ears", components={"ears": "interlock_ears"}, group=PLUGINS, files={"interlock_ears.py": SOURCE})
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "interlock_ears" not in sys.modules
    assert not build_tree(App(), env={}).hooks.observes_calls
    plugins = load_plugins()
    assert plugins == {"ears": sys.modules["interlock_ears"]}
    assert build_tree(App(), env={}, plugins=plugins).hooks.observes_calls


def test_a_plugin_that_cannot_be_imported_refuses_the_start_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "interlock-bad", components={"bad": "interlock_bad"}, group=PLUGINS, files={"interlock_bad.py": "1 / 0"})
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(MountError, match=r'the plugin "bad" of interlock-bad 0\.1\.0: its import failed: ZeroDivisionError'):
        load_plugins()


def test_two_plugins_of_one_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("interlock-ears", "ears-too"):
        install(tmp_path, name, components={"ears": "interlock_ears"}, group=PLUGINS, files={"interlock_ears.py": SOURCE})
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(MountError, match="has one of the same name"):
        load_plugins()
