import builtins
import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

import interlock
from interlock.errors import MountError
from interlock.mounting.app_package import AppPackage

from .distributions import write


def make(root: Path, name: str = "myapp", **files: str) -> Path:
    """An app directory; keyword `sub__mod` is the file `sub/mod.py`."""
    sources = {f"{key.replace('__', '/')}.py": text for key, text in files.items()}
    return write(root / name, {"app.py": "app = None\n", **sources})


def load(directory: Path, *, reload: bool = False) -> dict[str, ModuleType]:
    return {file.name: module for file, module in AppPackage(directory).import_all(reload=reload)}


def names(package: AppPackage) -> list[str]:
    return [file.name for file in package.files]


def test_every_module_is_imported_in_sorted_order_of_path(tmp_path: Path) -> None:
    note = "import builtins; builtins.order.append(__name__)\n"
    made = ("b", "app", "schema", "sub/z", "sub/a", "accounts", "sub/deep/x")
    directory = write(tmp_path / "myapp", {f"{name}.py": note for name in made})

    builtins.order = []  # type: ignore[attr-defined]
    modules = load(directory)
    expected = ["accounts", "app", "b", "schema", "sub/a", "sub/deep/x", "sub/z"]
    assert list(modules) == expected
    assert builtins.order == [f"myapp.{name.replace('/', '.')}" for name in expected]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "path",
    [
        *("_generated.py", ".hidden.py", "test_guesses.py", "conftest.py", "tests.py", "tests/a.py", "test_more/a.py", "node_modules/a.py"),
        *("_private/a.py", ".interlock/a.py", "env/a.py", "env/lib/a.py", "sub/tests/a.py", "sub/_x.py", "notes.txt", "web-assets/a.py"),
    ],
)
def test_what_is_no_functions_module_is_not_imported(tmp_path: Path, path: str) -> None:
    directory = write(make(tmp_path), {path: "raise AssertionError('imported')", "env/pyvenv.cfg": ""})
    assert list(load(directory)) == ["app"]


def test_typed_components_that_are_not_written_yet_are_the_untyped_ones(tmp_path: Path) -> None:
    """`interlock dev` can write the file only when the app has been loaded, and the app imports from it."""
    directory = make(tmp_path, a="from ._generated import components\n", sub__b="from .._generated import components\n")
    modules = load(directory)
    assert modules["a"].components is modules["sub/b"].components is interlock.components

    write(directory, {"_generated.py": "components = 'typed'\n"})
    assert load(directory, reload=True)["a"].components == "typed"


def test_a_file_that_can_be_no_module_is_said_to_be_left_out(tmp_path: Path) -> None:
    package = AppPackage(write(make(tmp_path), {"my-script.py": "", "class.py": ""}))
    assert names(package) == ["app"]
    assert sorted(package.warnings) == [
        'class.py is not imported: "class" can be no module\'s name.',
        'my-script.py is not imported: "my-script" can be no module\'s name.',
    ]


@pytest.mark.parametrize("init", [None, "", "ready = True\n"])
def test_relative_and_absolute_imports_are_one_module_with_or_without_an_init(tmp_path: Path, init: str | None) -> None:
    directory = make(
        tmp_path,
        schema="class Thing: pass\n",
        a="from .schema import Thing\nfrom .sub.b import Thing as Other\n",
        sub__b="from myapp.schema import Thing\nfrom ..schema import Thing as Again\nimport myapp.schema\n",
    )
    if init is not None:
        (directory / "__init__.py").write_text(init)
    modules = load(directory)
    things = {modules["schema"].Thing, modules["a"].Thing, modules["a"].Other, modules["sub/b"].Thing, modules["sub/b"].Again}
    assert len(things) == 1
    assert modules["sub/b"].myapp.schema is modules["schema"] is sys.modules["myapp.schema"]
    assert hasattr(sys.modules["myapp"], "ready") is (init == "ready = True\n")


def test_the_folder_above_is_not_put_on_the_path(tmp_path: Path) -> None:
    before = list(sys.path)
    AppPackage(make(tmp_path)).import_all()
    assert sys.path == before


def test_a_module_imported_later_by_a_function_is_found(tmp_path: Path) -> None:
    directory = make(tmp_path, _late="value = 7\n", a="def late():\n    from ._late import value\n    return value\n")
    modules = load(directory)
    assert modules["a"].late() == 7


def test_the_init_of_a_sub_folder_is_the_module_of_its_name(tmp_path: Path) -> None:
    directory = write(make(tmp_path), {"sub/__init__.py": "", "sub/mod.py": ""})
    assert list(load(directory)) == ["app", "sub", "sub/mod"]


def test_what_is_imported_already_is_used_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = make(tmp_path, a="")
    monkeypatch.syspath_prepend(str(tmp_path))
    mine = importlib.import_module("myapp.a")
    mine.touched = True  # type: ignore[attr-defined]
    (directory / "a.py").write_text("changed = True\n")
    modules = load(directory)
    assert modules["a"] is mine
    assert modules["app"] is sys.modules["myapp.app"]


def test_only_a_reload_starts_from_a_fresh_import(tmp_path: Path) -> None:
    directory = make(tmp_path, a="value = 1\n")
    first = load(directory)["a"]
    # Same size, same second: a bytecode cache could not tell.
    (directory / "a.py").write_text("value = 2\n")
    second = load(directory)["a"]
    third = load(directory, reload=True)["a"]
    assert (first.value, second.value, third.value) == (1, 1, 2)
    assert sys.modules["myapp.a"] is third


def test_a_reload_sees_new_modules_and_forgets_removed_ones(tmp_path: Path) -> None:
    directory = make(tmp_path, a="")
    load(directory)
    (directory / "a.py").unlink()
    (directory / "b.py").write_text("")
    assert list(load(directory, reload=True)) == ["app", "b"]
    assert "myapp.a" not in sys.modules


@pytest.mark.parametrize("reload", [False, True])
def test_an_import_that_fails_leaves_the_interpreter_as_it_was(tmp_path: Path, reload: bool) -> None:
    directory = make(tmp_path, a="value = 1\n")
    before = load(directory) if reload else {}
    (directory / "a.py").write_text("value = 2\n")
    (directory / "b.py").write_text("1 / 0\n")
    with pytest.raises(MountError):
        load(directory, reload=reload)
    left = {name.removeprefix("myapp."): module for name, module in sys.modules.items() if name.startswith("myapp.")}
    assert left == before
    (directory / "b.py").unlink()
    assert load(directory, reload=reload)["a"].value == 2


def test_another_app_of_the_same_name_takes_the_place_of_the_first(tmp_path: Path) -> None:
    one, two = make(tmp_path / "one", a="value = 1\n"), make(tmp_path / "two", a="value = 2\n")
    assert [load(directory)["a"].value for directory in (one, two, one)] == [1, 2, 1]


def test_an_app_behind_a_symbolic_link_has_the_name_of_the_link(tmp_path: Path) -> None:
    (tmp_path / "myapp").symlink_to(make(tmp_path, "release_12", a="import myapp.app\n"))
    first = load(tmp_path / "myapp")["a"]
    assert first.__name__ == "myapp.a"
    assert load(tmp_path / "myapp")["a"] is first
    (tmp_path / "myapp" / "a.py").write_text("1 / 0\n")
    with pytest.raises(MountError, match=r"^a\.py:1: ZeroDivisionError"):
        load(tmp_path / "myapp", reload=True)


def test_an_empty_module_that_stands_for_the_package_is_replaced_by_it(tmp_path: Path) -> None:
    sys.modules["myapp"] = ModuleType("myapp")
    sys.modules["myapp.tests"] = tests = ModuleType("myapp.tests")
    package = AppPackage(make(tmp_path, a=""))
    modules = {file.name: module for file, module in package.import_all()}
    assert package.private_modules() == []
    assert sys.modules["myapp"].a is modules["a"]
    assert sys.modules["myapp.tests"] is tests


def test_a_package_in_use_that_is_no_app_is_not_hidden(tmp_path: Path) -> None:
    directory = make(tmp_path, "json_tools")
    sys.modules["json_tools"] = json
    try:
        with pytest.raises(MountError, match="another package of this name is in use"):
            load(directory)
    finally:
        del sys.modules["json_tools"]


@pytest.mark.parametrize(
    ("name", "files", "problem"),
    [
        ("missing", None, "there is no such directory"),
        ("empty", {}, "is empty"),
        ("noapp", {"guesses.py": ""}, "has no app.py"),
        ("my-app", {"app.py": ""}, "can be no package's name"),
        ("class", {"app.py": ""}, "can be no package's name"),
        ("json", {"app.py": ""}, "would hide"),
    ],
)
def test_a_directory_that_is_no_app_is_refused_with_what_to_do(
    tmp_path: Path, name: str, files: dict[str, str] | None, problem: str
) -> None:
    directory = tmp_path / name
    if files is not None:
        directory.mkdir()
        write(directory, files)
    with pytest.raises(MountError, match=problem) as refusal:
        AppPackage(directory)
    assert refusal.value.where == str(directory)
    assert refusal.value.remedy


def test_a_file_given_for_a_directory_is_refused_with_the_directory(tmp_path: Path) -> None:
    directory = make(tmp_path)
    with pytest.raises(MountError) as refusal:
        AppPackage(directory / "app.py")
    assert refusal.value.remedy == f"Give the directory: {directory}"


@pytest.mark.parametrize(
    ("source", "where", "problem", "remedy"),
    [
        ("x = 1\ndef f(:\n    pass\n", "sub/mod.py:2", "SyntaxError: ", "def f(:"),
        ("def f():\npass\n", "sub/mod.py:2", "IndentationError: ", "pass"),
        ("x = 1\n\ny = nothing\n", "sub/mod.py:3", "NameError: name 'nothing' is not defined", "Mend this line"),
        ("import some_library\n", "sub/mod.py:1", "No module named 'some_library'", "pip install some-library"),
        ("from ..gone import x\n", "sub/mod.py:1", "No module named 'myapp.gone'", "There is no gone.py"),
        ("from ..app import gone\n", "sub/mod.py:1", "cannot import name 'gone'", "Mend this line"),
        ("import sys\nsys.exit(1)\n", "sub/mod.py:2", "ends the process", "__main__"),
        ("x = '\x00'\n", "sub/mod.py", "null bytes", "Mend this line"),
    ],
)
def test_an_error_in_a_module_is_told_with_file_line_and_what_to_do(
    tmp_path: Path, source: str, where: str, problem: str, remedy: str
) -> None:
    directory = make(tmp_path, sub__mod=source)
    with pytest.raises(MountError) as refusal:
        load(directory)
    assert refusal.value.where.startswith(where)
    assert problem in refusal.value.problem
    assert remedy in refusal.value.remedy
    assert refusal.value.__cause__ is not None


def test_a_package_that_this_process_does_not_see_yet_is_told_as_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about = tmp_path / "site" / "interlock_late-1.dist-info" / "METADATA"
    about.parent.mkdir(parents=True)
    about.write_text("Metadata-Version: 2.1\nName: interlock-late\nVersion: 1\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    with pytest.raises(MountError) as refusal:
        load(make(tmp_path, mod="import interlock_late\n"))
    assert refusal.value.remedy == "interlock-late is installed. If that was after this process had started, stop it and start it again."


def test_an_error_is_told_where_it_happened_and_not_where_the_import_began(tmp_path: Path) -> None:
    directory = make(tmp_path, a="from .b import helper\n\nhelper()\n", b="def helper():\n    raise KeyError('deep')\n")
    with pytest.raises(MountError) as refusal:
        load(directory)
    assert (refusal.value.where, refusal.value.problem) == ("b.py:2", "KeyError: 'deep'")


def test_a_module_beside_a_folder_of_its_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MountError, match=r"sub\.py and the folder sub/ are one name to Python"):
        AppPackage(make(tmp_path, sub="", sub__mod=""))


def test_a_package_does_not_silently_hide_the_module_beside_it(tmp_path: Path) -> None:
    directory = make(tmp_path, sub="", other="")
    (directory / "sub").mkdir()
    (directory / "sub" / "__init__.py").write_text("")
    with pytest.raises(MountError, match=r"sub\.py and the folder sub/ are one name to Python"):
        AppPackage(directory)
