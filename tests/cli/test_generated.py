"""`_generated.py`: what an editor and a type checker learn from it, and that it is nothing at run time."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock import Component, MutationCtx, QueryCtx
from interlock.cli.generated import generated_source, write_generated
from interlock.sdk.declarations import FunctionDeclaration
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


TEXT = st.text(st.sampled_from("\"'\\ \n\r\x0c\u2028\x00;#:)ab"), max_size=12) | st.text(max_size=8)
NAMES = st.sampled_from(["class", "None", "__debug__", "ctx", "rest", "x): pass #", "", "ä", "mro", "a"])


@given(doc=TEXT, version=TEXT, names=st.lists(NAMES, unique=True), function=st.sampled_from(["class", "__debug__", "f"]), literal=TEXT)
def test_no_text_of_a_component_is_code_of_the_app(doc: str, version: str, names: list[str], function: str, literal: str) -> None:
    """What is not a stub of it is the same whatever it says of itself; and the file is one that Python reads."""
    fields = {name: {"fieldType": {"type": "literal", "value": literal}, "optional": number % 2 == 1} for number, name in enumerate(names)}
    args = {"type": "object", "value": fields}
    declared = FunctionDeclaration(function, "query", internal=False, args=args, returns={"type": "any"}, doc=doc)
    manifest = SimpleNamespace(name="evil", version=version)
    root: Any = SimpleNamespace(children={"evil": SimpleNamespace(manifest=manifest, functions={function: declared})})
    head, stubs, components = shape_of(generated_source(root))
    assert (head, components) == shape_of(generated_source(root_of()))[::2]
    assert [type(stub).__name__ for stub in stubs] == (["AsyncFunctionDef"] if function == "f" else []) + ["ClassDef", "ClassDef"]
    for stub in stubs[:-2]:
        assert [ast.unparse(line) for line in stub.body[-1:]] == ["raise AssertionError"] and len(stub.body) <= 2


def shape_of(text: str) -> tuple[str, list[Any], str]:
    """What stands before, in and after the part that type checkers alone see, of which the beginning is always the same."""
    compile(text, "_generated.py", "exec")
    tree = ast.parse(text)
    [seen] = [line for line in tree.body if isinstance(line, ast.If)]
    at = tree.body.index(seen)
    assert ast.unparse(seen.test) == "TYPE_CHECKING" and not seen.orelse
    before = "\n".join(map(ast.unparse, [*tree.body[:at], *seen.body[:2]]))
    return before, seen.body[2:], "\n".join(map(ast.unparse, tree.body[at + 1 :]))
