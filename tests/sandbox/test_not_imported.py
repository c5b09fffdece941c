"""The process of the app never imports a component that it mounts isolated, whichever way it learns what it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.mounting.distributions import install

from interlock import App, Limits, MountError
from interlock.mounting import build_tree, manifest_of, sealing
from interlock.mounting.manifest_reader import manifest_from_json
from interlock.mounting.tree import Tree
from interlock.sandbox.manifests import manifest_bytes
from interlock.sandbox.plan import Plan
from interlock.sandbox.sources import Source, installed_files

from .installed import install_ledger

TRAP = """
import sys
from pathlib import Path

(Path(__file__).parent / "imported").write_text(" ".join(sys.argv)) if "site" in __file__ else None
"""


def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, dict[str, str]]:
    """An app that mounts the ledger, and the environment in which a command finds both. Importing any of it in the command's own
    process would leave a file behind, or meet the face's error."""
    install_ledger(tmp_path / "site", monkeypatch)
    component = tmp_path / "site" / "interlock_ledger" / "component.py"
    component.write_text(component.read_text().replace("import asyncio\n", TRAP + "import asyncio\n", 1))
    app = tmp_path / "bank"
    app.mkdir()
    (app / "app.py").write_text('from interlock import App\n\napp = App()\napp.use("ledger")\n')
    (app / "calls.py").write_text(
        "from interlock import MutationCtx, components, mutation\n\n\n"
        "@mutation\nasync def write(ctx: MutationCtx) -> str:\n"
        '    return await ctx.run_mutation(components.ledger.write, n=1, text="x")\n'
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    return app, env


@pytest.mark.parametrize(
    "command", [["check"], ["components"], ["dev", "--once"], ["run", "calls:write"], ["new"]], ids=lambda command: command[0]
)
def test_no_command_imports_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    app, env = project(tmp_path, monkeypatch)
    name, *more = command
    if name == "new":
        app = tmp_path / "another"
    program = [sys.executable, "-m", "interlock.cli", name, *(more if name == "run" else [str(app), *more])]
    if name == "run":
        program += ["--app", str(app)]
    done = subprocess.run(program, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (tmp_path / "site" / "interlock_ledger" / "imported").exists()
    if name == "components":
        assert "sandbox: seccomp" in done.stdout


def test_no_test_of_the_app_imports_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app, env = project(tmp_path, monkeypatch)
    (app / "test_calls.py").write_text(
        "from interlock.testing import TestBackend\n\n\n"
        f"async def test_writes():\n    assert isinstance(await TestBackend({str(app)!r}).mutation('calls:write'), str)\n"
    )

    def tested(*options: str) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, str(app / "test_calls.py")]
        return subprocess.run(program, env=env, cwd=app, capture_output=True, text=True, timeout=60)

    done = tested()
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (tmp_path / "site" / "interlock_ledger" / "imported").exists()
    assert "the face is the app's half" in tested("--interlock-isolation=inline").stdout


def test_a_component_project_is_checked_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "tally"
    (package / "interlock_tally").mkdir(parents=True)
    (package / "pyproject.toml").write_text(
        '[project]\nname = "interlock-tally"\nversion = "1"\n'
        '[project.entry-points."interlock.components"]\ntally = "interlock_tally.component:component"\n'
    )
    (package / "interlock_tally" / "__init__.py").write_text("")
    half = package / "interlock_tally" / "component.py"
    half.write_text('from interlock import Component\n\nif "pytest" in __import__("sys").modules:\n    raise ImportError("here")\n')
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}

    def check() -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-m", "interlock.cli", "check", str(package)]
        return subprocess.run(program, env=env, capture_output=True, text=True, timeout=60)

    assert "has no attribute 'component'" in check().stderr
    half.write_text('from interlock import Component\n\ncomponent = Component("tally")\n')
    assert check().returncode == 0, check().stderr
    half.write_text("component = 1\n")
    assert "is a int and no Component" in check().stderr


def test_a_manifest_is_asked_for_once_for_the_same_files(ledger_installed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from interlock.sandbox import manifests

    app = App()
    app.use("ledger")
    manifests._known.clear()
    first = build_tree(app, env={})
    asked: list[str] = []
    monkeypatch.setattr(manifests, "_ask", lambda *args: asked.append("again"))
    assert build_tree(app, env={}).fingerprint == first.fingerprint
    manifests._known.clear()
    assert build_tree(app, env={}).fingerprint == first.fingerprint
    assert asked == []


@pytest.mark.parametrize("required", ["!!", "nothing ; os_name ~= 'abc'", "nothing-of-that-name"])
def test_what_cannot_be_required_is_left_out(required: str) -> None:
    place = "interlock_sharded_counter.component:component"
    assert installed_files(place, [required], where="here").key == installed_files(place, (), where="here").key


@pytest.mark.parametrize("plugin", ["sharded_counter", "aggregate", "workpool", "migrations"])
def test_a_worker_says_of_a_component_what_its_own_process_would(plugin: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    place = f"interlock_{plugin}.component:component"
    told = manifest_bytes(installed_files(place, (), where="here"), Plan("sandbox"), where="here", title="mounts it", version="")
    import orjson

    component = importlib.import_module(f"interlock_{plugin}.component").component
    assert manifest_from_json(orjson.loads(told), where="here") == manifest_from_json(
        orjson.loads(orjson.dumps(manifest_of(component).to_json())), where="here"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import does_not_exist", "ModuleNotFoundError: No module named 'does_not_exist'"),
        ("import does_not_exist", "Add what it imports there"),
        ("raise ImportError('ModuleNotFoundError: no')", "Mend that if the component is yours"),
        ("1 +", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit"),
        ("import os; os._exit(3)", "its process ended while it was imported"),
        ("component = 1", "is a int and no Component"),
        ("from interlock import Component\ncomponent = Component('1x')", "is no name for a component"),
    ],
)
def test_what_is_wrong_with_a_component_is_said_at_start(text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files = {"interlock_odd/__init__.py": "", "interlock_odd/component.py": text}
    install(tmp_path / "site", "interlock-odd", "1.0", components={"odd": "interlock_odd.component:component"}, files=files)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    app = App()
    app.use("odd")
    with pytest.raises(MountError) as refused:
        build_tree(app, env={})
    assert said in str(refused.value)


def test_what_a_sealed_component_mounts_is_sealed_too_and_allowed_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    inner = "from interlock import Component\ncomponent = Component('inner')\n"
    outer = "from interlock import Component\ncomponent = Component('outer')\ncomponent.use('inner', isolation='inline'{})\n"
    for name, text in (("inner", inner), ("outer", outer.format("")), ("greedy", outer.format(", allow=['net:evil.example']"))):
        files = {f"interlock_{name}/__init__.py": "", f"interlock_{name}/component.py": text}
        components = {name: f"interlock_{name}.component:component"}
        install(tmp_path / "site", f"interlock-{name}", "1.0", components=components, files=files)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    app = App()
    app.use("outer")
    tree = build_tree(app, env={})
    assert [tree.get(path).isolation for path in ("outer", "outer/inner")] == ["sandbox", "sandbox"]
    assert "interlock_inner.component" not in sys.modules
    greedy = App()
    greedy.use("greedy")
    with pytest.raises(MountError, match=r'allows "net:evil\.example", which "greedy" is not allowed itself'):
        build_tree(greedy, env={})


OUTER = """
from interlock import Component, Limits, QueryCtx

inner = Component("inner")

@inner.query
async def nothing(ctx: QueryCtx) -> None: ...

component = Component("outer")
for number in range({count}):
    component.use(inner, name=f"inner_{{number}}", workers=900, limits={limits})
"""


def with_outer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, count: int = 1, limits: str = "None", share: Limits | None = None, workers: int = 1
) -> Tree:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files = {"interlock_outer/__init__.py": "", "interlock_outer/component.py": OUTER.format(count=count, limits=limits)}
    install(tmp_path / "site", "interlock-outer", "1.0", components={"outer": "interlock_outer.component:component"}, files=files)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    app = App()
    app.use("outer", limits=share, workers=workers)
    return build_tree(app, env={})


@pytest.mark.parametrize(
    ("asked", "given", "has"),
    [
        ("Limits(memory=1 << 50, cpu=9)", None, Limits(memory=256 << 20, cpu=9)),
        ("Limits(memory=1 << 50, cpu=9)", Limits(memory=64 << 20, logs=3), Limits(memory=64 << 20, cpu=9, logs=3)),
        ("Limits(memory=32 << 20)", Limits(memory=64 << 20, cpu=2), Limits(memory=32 << 20, cpu=2)),
        ("None", Limits(memory=1 << 30), Limits(memory=1 << 30)),
        ("None", None, None),
    ],
)
def test_what_a_sealed_component_mounts_has_no_larger_share_than_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, given: Limits | None, has: Limits | None
) -> None:
    inner = with_outer(tmp_path, monkeypatch, limits=asked, share=given, workers=3).get("outer/inner_0")
    assert inner.limits == has
    assert inner.workers == 3


def test_a_sealed_component_brings_so_many_instances_with_it_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "_BELOW_MAX", 5)
    assert len(with_outer(tmp_path, monkeypatch, count=5).by_path) == 7
    with pytest.raises(MountError, match=r'mounts "outer", which brings more than 5 instances with it'):
        with_outer(tmp_path / "more", monkeypatch, count=6)


def test_where_nothing_can_be_confined_a_start_says_what_is_missing(ledger_installed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from interlock.sandbox.confinement import available

    without = replace(available(), seccomp="the kernel refused it")
    monkeypatch.setattr(sealing, "available", lambda: without)
    app = App()
    app.use("ledger")
    with pytest.raises(MountError, match=r'mounts "ledger" isolated, and .* there is no seccomp \(the kernel refused it\)') as refused:
        build_tree(app, env={})
    assert 'isolation="process"' in str(refused.value)
    assert build_tree(app, env={}, isolation="process").get("ledger").isolation == "process"


def test_a_start_says_aloud_what_is_not_confined_or_by_less(ledger_installed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from interlock.sandbox.confinement import available

    app = App()
    app.use("ledger")
    app.use("ledger", name="other")
    here = available()
    monkeypatch.setattr(sealing, "available", lambda: replace(here, landlock=7))
    assert build_tree(app, env={}).warnings == ()
    monkeypatch.setattr(sealing, "available", lambda: replace(here, landlock=0))
    assert build_tree(app, env={}).warnings == ("This kernel has no Landlock: sandboxed components are held by seccomp alone.",)
    warnings = build_tree(app, env={}, isolation="process").warnings
    assert [warning.split('"')[1] for warning in warnings] == ["ledger", "child", "other", "child"]
    assert all("NOT confined" in warning for warning in warnings)


def test_the_name_of_a_source_is_that_of_its_bytes() -> None:
    one = Source.of("a.b:c", {"a/b.py": b"1", "a/c.py": b"2"})
    assert one.key == Source.of("a.b:c", {"a/c.py": b"2", "a/b.py": b"1"}).key
    others = [
        Source.of("a.b:d", dict(one.files)),
        Source.of("a.b:c", {"a/b.py": b"12", "a/c.py": b""}),
        Source.of("a.b:c", {"a/b.py": b"1"}),
    ]
    assert len({one.key, *[other.key for other in others]}) == 4
