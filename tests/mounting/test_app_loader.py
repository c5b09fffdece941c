import importlib
from pathlib import Path

import pytest

from interlock import App
from interlock.errors import MountError
from interlock.mounting.app_loader import LoadedApp, load_app, load_app_of

from .distributions import write

APP = "from interlock import App\napp = App()\n"
TYPES = "from interlock import ActionCtx, MutationCtx, QueryCtx, action, mutation, query, trigger\n"


def make(root: Path, name: str = "myapp", **files: str) -> Path:
    """An app directory; keyword `sub__mod` is the file `sub/mod.py`. Every module has the SDK's names."""
    sources = {f"{key.replace('__', '/')}.py": TYPES + text for key, text in files.items()}
    return write(root / name, {"app.py": APP, **sources})


def test_functions_are_named_by_module_and_the_attribute_that_they_are_bound_to(tmp_path: Path) -> None:
    functions = "@query\ndef top(ctx: QueryCtx) -> int: ...\n\n@mutation(internal=True)\nasync def wipe(ctx: MutationCtx) -> None: ...\n"
    loaded = load_app(make(tmp_path, guesses=functions, sub__mod=functions))
    assert list(loaded.functions) == ["guesses:top", "guesses:wipe", "sub/mod:top", "sub/mod:wipe"]
    wipe = loaded.functions["sub/mod:wipe"]
    assert (wipe.public_name, wipe.kind, wipe.internal) == ("sub/mod:wipe", "mutation", True)
    assert loaded.modules == ("app", "guesses", "sub/mod")


def test_the_first_of_two_attributes_names_a_function_and_a_given_name_goes_before(tmp_path: Path) -> None:
    source = "@query\ndef one(ctx: QueryCtx) -> int: ...\nagain = one\n\n@query(name='given')\ndef two(ctx: QueryCtx) -> int: ...\n"
    assert list(load_app(make(tmp_path, a=source)).functions) == ["a:one", "a:given"]


def test_a_function_that_a_helper_makes_belongs_to_the_module_being_loaded(tmp_path: Path) -> None:
    helper = "def runner(kind):\n    async def run(ctx: MutationCtx) -> None: ...\n    return kind(run)\n"
    loaded = load_app(
        make(tmp_path, _helper=helper, jobs="from ._helper import runner\nbackfill = runner(mutation)\n_own, other = runner(mutation), 1\n")
    )
    assert list(loaded.functions) == ["jobs:backfill", "jobs:_own"]


def test_a_function_imported_from_its_module_is_not_the_importing_ones_too(tmp_path: Path) -> None:
    loaded = load_app(make(tmp_path, a="from .b import one\n", b="@query\ndef one(ctx: QueryCtx) -> int: ...\n"))
    assert list(loaded.functions) == ["b:one"]


def test_a_function_in_app_py_has_a_name_too(tmp_path: Path) -> None:
    directory = make(tmp_path)
    (directory / "app.py").write_text(TYPES + APP + "@query\ndef health(ctx: QueryCtx) -> str: ...\n")
    assert list(load_app(directory).functions) == ["app:health"]


def test_triggers_come_in_the_order_of_modules_and_lines(tmp_path: Path) -> None:
    source = "async def first(ctx, change): ...\n@trigger('games')\nasync def second(ctx, change): ...\ntrigger('games')(first)\n"
    loaded = load_app(make(tmp_path, b=source, a=source.replace("games", "guesses")))
    assert [(table, on_change.__module__, on_change.__name__) for table, on_change in loaded.triggers] == [
        ("guesses", "myapp.a", "second"),
        ("guesses", "myapp.a", "first"),
        ("games", "myapp.b", "second"),
        ("games", "myapp.b", "first"),
    ]
    assert [len(run) for run in loaded.code().triggers.values()] == [2, 2]
    assert [trigger.table for trigger in loaded.manifest().triggers] == ["guesses", "guesses", "games", "games"]


def test_the_schema_is_that_of_schema_py(tmp_path: Path) -> None:
    schema = "from interlock import Schema, Table\nschema = Schema(strict=False, games=Table({'name': str}).index('by_name', 'name'))\n"
    manifest = load_app(make(tmp_path, schema=schema)).manifest()
    assert (list(manifest.tables), manifest.strict) == (["games"], False)
    assert manifest.tables["games"].indexes == {"by_name": ("name",)}


def test_a_module_imported_before_the_app_keeps_its_declarations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = make(tmp_path, a="@query\ndef one(ctx: QueryCtx) -> int: ...\ntrigger('games')(one)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    mine = importlib.import_module("myapp.a")
    loaded = load_app(directory)
    assert loaded.functions["a:one"] is mine.one
    assert len(loaded.triggers) == 1


def test_loading_twice_gives_the_same_functions_and_a_reload_new_ones(tmp_path: Path) -> None:
    directory = make(tmp_path, a="@query\ndef one(ctx: QueryCtx) -> int: ...\ntrigger('games')(one)\n")
    first, second, third = load_app(directory), load_app(directory), load_app(directory, reload=True)
    assert first.functions["a:one"] is second.functions["a:one"] is not third.functions["a:one"]
    assert [len(loaded.triggers) for loaded in (first, second, third)] == [1, 1, 1]


def refused(directory: Path) -> MountError:
    with pytest.raises(MountError) as refusal:
        load_app(directory).manifest()
    assert refusal.value.remedy
    return refusal.value


@pytest.mark.parametrize(
    ("source", "problem", "remedy"),
    [
        ("", "defines no `app`", "app = App()"),
        ("app = 1\n", "which is a int and no App", "app = App()"),
        ("from interlock import App\nbackend = App()\n", "defines no `app`", "Rename backend to app"),
    ],
)
def test_an_app_py_without_an_app_is_refused(tmp_path: Path, source: str, problem: str, remedy: str) -> None:
    directory = make(tmp_path)
    (directory / "app.py").write_text(source)
    refusal = refused(directory)
    assert refusal.where == "app.py"
    assert problem in refusal.problem
    assert remedy in refusal.remedy


@pytest.mark.parametrize(("source", "problem"), [("", "defines no `schema`"), ("schema = {}\n", "a dict and no Schema")])
def test_a_schema_py_without_a_schema_is_refused(tmp_path: Path, source: str, problem: str) -> None:
    refusal = refused(make(tmp_path, schema=source))
    assert refusal.where == "schema.py"
    assert problem in refusal.problem


def test_two_functions_of_one_name_are_refused_with_both_places(tmp_path: Path) -> None:
    source = "@query\ndef one(ctx: QueryCtx) -> int: ...\n@query(name='one')\ndef two(ctx: QueryCtx) -> int: ...\n"
    refusal = refused(make(tmp_path, a=source))
    assert "two functions are named a:one" in refusal.problem
    assert "a.py:2" in refusal.problem
    assert refusal.where == "a.py:4"


def test_a_second_def_that_hides_the_first_is_refused_with_both_lines(tmp_path: Path) -> None:
    refusal = refused(make(tmp_path, sub__a="@query\ndef one(ctx: QueryCtx) -> int: ...\n@query\ndef one(ctx: QueryCtx) -> int: ...\n"))
    assert refusal.where == "sub/a.py:4"
    assert "defines one twice, in line 2 and in line 4" in refusal.problem


def test_a_decorator_that_wraps_a_function_in_another_is_no_second_def(tmp_path: Path) -> None:
    source = (
        "import functools\n"
        "def signed_in(inner):\n"
        "    @functools.wraps(inner.handler)\n"
        "    async def run(ctx: MutationCtx) -> None: ...\n"
        "    return mutation(run)\n"
        "@signed_in\n@mutation\nasync def one(ctx: MutationCtx) -> None: ...\n"
    )
    loaded = load_app(make(tmp_path, a=source))
    assert list(loaded.functions) == ["a:one"]
    assert loaded.functions["a:one"].handler.__code__.co_name == "run"


def test_two_spellings_of_different_functions_are_refused(tmp_path: Path) -> None:
    source = "@query\ndef run_all(ctx: QueryCtx) -> int: ...\n@query\ndef runAll(ctx: QueryCtx) -> int: ...\n"
    assert "a:runAll and a:run_all are one name" in refused(make(tmp_path, a=source)).problem


def test_two_spellings_of_different_arguments_are_refused(tmp_path: Path) -> None:
    source = "@query\ndef one(ctx: QueryCtx, page_size: int, pageSize: int) -> int: ...\n"
    assert "a:one takes pageSize and page_size" in refused(make(tmp_path, a=source)).problem


@pytest.mark.parametrize("file", ["__init__.py", "_private.py", "sub/_private.py"])
def test_a_function_in_a_module_that_callers_cannot_name_is_warned_about(tmp_path: Path, file: str) -> None:
    directory = write(make(tmp_path), {file: TYPES + "@query\ndef lost(ctx: QueryCtx) -> int: ...\n"})
    name = file.removesuffix(".py").replace("/", ".").replace("__init__", "app")
    (directory / "app.py").write_text(f"{APP}import myapp.{name}\n")
    loaded = load_app(directory)
    assert loaded.functions == {}
    (warning,) = loaded.warnings
    assert warning.startswith(f"{file} makes the query lost, which nobody can call")


def test_a_trigger_in_a_private_module_fires_if_the_app_imports_it(tmp_path: Path) -> None:
    source = TYPES + "@trigger('games')\ndef on_change(ctx, change): ...\n"
    directory = write(make(tmp_path, a="from . import _imported\n"), {"_imported.py": source, "_left.py": source})
    assert [on_change.__module__ for _, on_change in load_app(directory).triggers] == ["myapp._imported"]


def test_a_name_that_callers_could_not_write_is_refused(tmp_path: Path) -> None:
    source = "@query\ndef one(ctx: QueryCtx) -> int: ...\ngröße = one\ndel one\n"
    assert "größe" in refused(make(tmp_path, a=source)).problem


def test_an_annotation_that_is_no_value_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(MountError, match=r"^a\.py:2: one: argument \"when\": complex") as refusal:
        load_app(make(tmp_path, a="@query\ndef one(ctx: QueryCtx, when: complex) -> int: ...\n")).manifest()
    assert refusal.value.where == "a.py:2"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("app.cron('tick', every=5)('a:gone')", "calls a:gone, and there is no such function"),
        ("app.cron('tick', every=5)('a:read')", "calls the query a:read"),
        ("app.cron('tick', every=5)('a:work')", "calls a:work without count"),
        ("app.cron('tick', every=5, args={'count': 1, 'more': 2})('a:work')", "calls a:work with more, which it does not take"),
        ("app.cron('tick', cron='61 * * * *', args={'count': 1})('a:work')", "no time fits"),
        ("app.cron('tick', every=5, timezone='Mars/Olympus', args={'count': 1})('a:work')", "not known here"),
        ("app.cron('tick', every=5)(components.gone.work)", 'nothing is mounted as "gone"'),
    ],
)
def test_a_cron_that_could_not_run_is_refused_with_its_line(tmp_path: Path, line: str, problem: str) -> None:
    source = "@query\ndef read(ctx: QueryCtx) -> int: ...\n@mutation\nasync def work(ctx: MutationCtx, count: int) -> None: ...\n"
    directory = make(tmp_path, a=source)
    (directory / "app.py").write_text("from interlock import App, components\napp = App()\n\n" + line + "\n")
    refusal = refused(directory)
    assert refusal.where == "app.py:4"
    assert problem in refusal.problem


def test_a_cron_finds_its_function_by_reference_and_by_name(tmp_path: Path) -> None:
    directory = make(tmp_path, a="@mutation\nasync def work_hard(ctx: MutationCtx) -> None: ...\n")
    lines = "app.cron('a', every=5)(work_hard)\napp.cron('b', every=5)('a:work_hard')\napp.cron('c', every=5)('a.js:work_hard')\n"
    (directory / "app.py").write_text(APP + "from .a import work_hard\n" + lines)
    assert [cron.function for cron in load_app(directory).manifest().crons] == ["a:work_hard", "a:work_hard", "a.js:work_hard"]


def test_an_app_object_is_loaded_with_the_directory_that_made_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = make(tmp_path, guesses="@query\ndef top(ctx: QueryCtx) -> int: ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    app = importlib.import_module("myapp.app").app
    loaded = load_app_of(app)
    assert loaded.app is app
    assert loaded.directory == directory
    assert list(loaded.functions) == ["guesses:top"]


def test_an_app_below_another_package_keeps_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "otherapp", "myapp", guesses="@query\ndef top(ctx: QueryCtx) -> int: ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    loaded = load_app_of(importlib.import_module("otherapp.myapp.app").app)
    assert loaded.functions["guesses:top"].module == "otherapp.myapp.guesses"


def test_an_app_in_a_module_of_its_own_has_the_functions_and_the_schema_of_that_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = "from interlock import Schema, Table\nschema = Schema(games=Table({'name': str}))\n"
    write(tmp_path, {"myapp_alone.py": TYPES + APP + schema + "@query\ndef top(ctx: QueryCtx) -> int: ...\n"})
    monkeypatch.syspath_prepend(str(tmp_path))
    loaded = load_app_of(importlib.import_module("myapp_alone").app)
    assert (list(loaded.functions), list(loaded.manifest().tables), loaded.directory) == (["myapp_alone:top"], ["games"], None)


def test_an_app_made_on_the_spot_has_no_functions() -> None:
    app = App()
    assert load_app_of(app) == LoadedApp(app, None, {}, [], ())
