"""What modules of a component compile to: told with the manifest, kept with it, and loaded by its workers instead of the text."""

from __future__ import annotations

import base64
import marshal
import os
from pathlib import Path

import orjson
import pytest
from tests.mounting.distributions import install

from interlock import App, MountError
from interlock.sandbox import manifests
from interlock.sandbox.confinement import available
from interlock.sandbox.manifests import manifest_bytes
from interlock.sandbox.plan import Plan
from interlock.sandbox.sources import Source, installed_files
from interlock.sandbox.worker.modules import ComponentFiles
from interlock.testing import TestBackend

pytestmark = pytest.mark.skipif(bool(available().missing), reason=f"not here: {available().missing}")
SEALED = Plan()
PLACE = "interlock_said.component:component"
PATH = "interlock_said/component.py"
HELPER = "interlock_said/helper.py"
CODE = marshal.dumps(compile("word = 'code'", HELPER, "exec"))
LATER = "interlock_said/later.py"
NO_BASE64 = b'{"manifest": {}, "code": {"interlock_said/helper.py": "no base64"}}'
COMPONENT = """
from interlock import Component, QueryCtx
from interlock_said.helper import word

component = Component("said")


@component.query
async def say(ctx: QueryCtx) -> str | float:
    return word


@component.query
async def say_later(ctx: QueryCtx) -> str:
    from interlock_said.later import other

    return other
"""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(manifests, "_known", {})
    files = {"interlock_said/__init__.py": "", PATH: COMPONENT, HELPER: 'word = "text"\n', LATER: f'other = "later"  # {tmp_path}\n'}
    install(tmp_path / "site", "interlock-said", components={"said": PLACE}, files=files)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return installed_files(PLACE, (), where="here")


def asked(source: Source, plan: Plan = SEALED) -> bytes:
    return manifest_bytes(source, plan, where="here", title="mounts it", version="")


async def told(function: str) -> object:
    app = App()
    app.use("said", isolation="sandbox")
    async with TestBackend(app, isolation="sandbox") as backend:
        return await backend.component("said").query(function)


def test_what_was_imported_is_told_as_the_text_compiles(source: Source) -> None:
    assert source.code == {}
    asked(source)
    assert set(source.code) == {"interlock_said/__init__.py", PATH, HELPER}
    for path, code in source.code.items():
        assert marshal.loads(code) == compile(source.files[path], path, "exec", dont_inherit=True)


def test_it_is_kept_with_the_manifest(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = asked(source)
    code = dict(source.code)
    source.code.clear()
    monkeypatch.setattr(manifests, "_known", {})
    monkeypatch.setattr(manifests, "shared", lambda: pytest.fail("a worker was asked"))
    assert asked(source) == manifest
    assert source.code == code


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"manifest": {}, "code": 1}', b'{"manifest": {}, "code": {"a": ""}}', NO_BASE64])
def test_what_is_kept_and_broken_is_asked_for_again(source: Source, text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = asked(source)
    (kept,) = manifests._folder().iterdir()
    kept.write_bytes(text)
    monkeypatch.setattr(manifests, "_known", {})
    assert asked(source) == manifest
    assert kept.read_bytes() != text


def put_instead(path: str, code: bytes) -> None:
    """What is kept of a file's code is something else from now on."""
    (file,) = manifests._folder().iterdir()
    kept = orjson.loads(file.read_bytes())
    kept["code"][path] = base64.b64encode(code).decode()
    file.write_bytes(orjson.dumps(kept))
    manifests._known.clear()


async def test_a_worker_loads_it_and_compiles_what_is_imported_later(source: Source) -> None:
    assert await told("say") == "text"
    put_instead(HELPER, marshal.dumps(compile('word = "code"', HELPER, "exec", dont_inherit=True)))
    assert await told("say") == "code"
    assert await told("say_later") == "later"


@pytest.mark.parametrize("code", [b"", b"none", b"(\xff\xff\xff\x7f", marshal.dumps(5), CODE[:-9]])
async def test_code_that_is_broken_is_compiled_again(source: Source, code: bytes) -> None:
    assert await told("say") == "text"
    put_instead(HELPER, code)
    assert await told("say") == "text"


async def test_code_beyond_the_room_is_compiled_by_each_worker(source: Source, tmp_path: Path) -> None:
    """Two modules of which only one is kept."""
    long = f'word = 0.5\ntext = "{"x" * 2_500_000}"\n'
    (tmp_path / "site" / LATER).write_text(long)
    (tmp_path / "site" / HELPER).write_text("from interlock_said.later import word\n")
    larger = installed_files(PLACE, (), where="here")
    asked(larger)
    assert set(larger.code) == {"interlock_said/__init__.py", PATH, HELPER}
    assert await told("say") == 0.5


@pytest.mark.parametrize("plan", [Plan(isolation="process"), Plan(files=(str(Path(__file__).parent),))], ids=["process", "native"])
def test_code_of_a_worker_that_may_know_more_than_the_files_is_not_kept(source: Source, plan: Plan) -> None:
    if available().missing_for(plan):
        pytest.skip(f"not here: {available().missing_for(plan)}")
    manifest = asked(source, plan)
    assert source.code == {}
    manifests._known.clear()
    assert asked(source, plan) == manifest
    assert source.code == {}


def test_a_sealed_worker_is_asked_whatever_another_one_has_told(source: Source, tmp_path: Path) -> None:
    """What is declared may depend on what can be looked at, and whether anything is."""
    (tmp_path / "site" / HELPER).write_text("import os\n\nword = str(os.stat('/'))\n")
    curious = installed_files(PLACE, (), where="here")
    asked(curious, Plan(isolation="process"))
    with pytest.raises(MountError, match="looking at a file"):
        asked(curious)


def test_what_was_told_of_many_sources_is_forgotten(source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked(source)
    monkeypatch.setattr(manifests, "_KNOWN_BYTES_MAX", sum(map(len, source.code.values())))
    for number in range(2):
        (tmp_path / "site" / LATER).write_text(f"other = {number}\n")
        asked(installed_files(PLACE, (), where="here"))
        assert len(manifests._known) == 1


def test_the_folder_keeps_what_was_written_last(source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked(source)
    (first,) = manifests._folder().iterdir()
    monkeypatch.setattr(manifests, "_FOLDER_BYTES_MAX", int(first.stat().st_size * 2.5))
    os.utime(first, (0, 0))
    for number in range(2):
        (tmp_path / "site" / LATER).write_text(f"other = {number}\n")
        asked(installed_files(PLACE, (), where="here"))
    left = list(manifests._folder().iterdir())
    assert len(left) == 2
    assert first not in left


async def test_a_file_in_another_encoding_is_shown_as_it_was_written(source: Source, tmp_path: Path) -> None:
    (tmp_path / "site" / HELPER).write_bytes(
        "# coding: latin-1\nimport inspect\n\ndef été(): pass\n\nword = inspect.getsource(été)".encode("latin-1")
    )
    assert await told("say") == "def été(): pass\n"


def test_a_set_has_one_order_whether_its_code_was_kept_or_not() -> None:
    files = {"m.py": b"order = [number for number in {16, 8, 0}]"}

    def order(loader: ComponentFiles) -> list[int]:
        made: dict[str, list[int]] = {}
        exec(loader.get_code("m"), made)
        return made["order"]

    keeps = ComponentFiles(files, {}, keeps=True)
    first = order(keeps)
    assert order(ComponentFiles(files, keeps.compiled)) == first
    assert order(ComponentFiles(files, {})) == first
    plain: dict[str, list[int]] = {}
    exec(compile(files["m.py"], "m.py", "exec"), plain)
    assert plain["order"] != first  # else this says nothing
