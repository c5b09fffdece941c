"""`_generated.py`: what an editor and a type checker learn from it, and that it is nothing at run time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from interlock import Component, MutationCtx, QueryCtx
from interlock.cli.generated import generated_source, write_generated
from interlock.values import Int64

tally = Component("tally")


@tally.mutation
async def add(ctx: MutationCtx, name: str, count: float = 1, tags: list[str] | None = None) -> float:
    """Add to \"a count\"."""
    return count


@tally.query
async def of(ctx: QueryCtx, /, name: str, *, big: Int64 | None = None, **rest: Any) -> dict[str, int]:
    return {}


@tally.mutation(internal=True)
async def sweep(ctx: MutationCtx) -> None: ...


def root_of(**mounts: Component) -> Any:
    """The tree of an app, as far as it is asked for here."""
    children = {}
    for name, component in mounts.items():
        declared = {key: function.declaration() for key, function in component.functions.items()}
        manifest = SimpleNamespace(name=component.name, version="1.2.3")
        children[name] = SimpleNamespace(manifest=manifest, functions=declared)
    return SimpleNamespace(children=children)


USE = """
from interlock import Function, MutationCtx, Reference, mutation
from ._generated import components


@mutation
async def use(ctx: MutationCtx) -> float:
    added: Reference = components.votes.add
    await components.votes.add(ctx, name="beans", count=2, tags=["x"])
    total: float = await components.votes.add(ctx, name="beans")
    found: dict[str, int] = await ctx.run_query(components.votes.of, name="beans")
    return total + len(found)
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    directory = tmp_path / "typedapp"
    directory.mkdir()
    (directory / "__init__.py").touch()
    write_generated(directory, root_of(votes=tally, _other=tally))
    (directory / "use.py").write_text(USE)
    return directory


def checked(tool: list[str], app: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *tool], cwd=app.parent, capture_output=True, text=True)


def test_components_are_typed_for_mypy_in_its_strictest(app: Path, mypy_cache: Path) -> None:
    mypy = ["mypy", "--strict", f"--cache-dir={mypy_cache}", "typedapp"]
    fine = checked(mypy, app)
    assert fine.returncode == 0, fine.stdout

    with (app / "use.py").open("a") as file:
        file.write("\nwrong = components.vote\n\nasync def bad(ctx: MutationCtx) -> None:\n    await components.votes.add(ctx, nme=1)\n")
    refused = checked(mypy, app)
    assert '"Components" has no attribute "vote"' in refused.stdout
    assert "nme" in refused.stdout


def test_components_are_typed_for_pyright(app: Path) -> None:
    fine = checked(["pyright", "--pythonpath", sys.executable, "typedapp"], app)
    assert "0 errors" in fine.stdout, fine.stdout


def test_at_run_time_they_are_the_components_of_interlock(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import interlock

    names: dict[str, Any] = {}
    exec(compile((app / "_generated.py").read_text(), "_generated.py", "exec"), names)
    assert names["components"] is interlock.components


def test_the_file_is_written_again_only_when_it_changes(tmp_path: Path) -> None:
    assert write_generated(tmp_path, root_of(votes=tally))
    assert not write_generated(tmp_path, root_of(votes=tally))
    assert write_generated(tmp_path, root_of(votes=tally, more=tally))


def test_internal_functions_and_names_that_python_cannot_write_are_left_out() -> None:
    source = generated_source(root_of(votes=tally, **{"import": tally}))
    assert "sweep" not in source
    assert "import:" not in source


def test_an_app_without_mounts_is_fine(tmp_path: Path) -> None:
    compile(generated_source(root_of()), "_generated.py", "exec")
