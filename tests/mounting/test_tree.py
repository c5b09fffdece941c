import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from interlock import App, Component, Limits, MutationCtx, QueryCtx, Request, Response, Schema, Table, components, secret
from interlock.engine.catalog import TableSpec
from interlock.errors import MountError
from interlock.mounting import tree as tree_module
from interlock.mounting.instance import ComponentPath
from interlock.mounting.tree import Tree, build_tree
from interlock.sdk.declarations import TriggerDeclaration

from .distributions import install, write

TALLY = """
from interlock import Component, MutationCtx, QueryCtx, Schema, Table

component = Component("tally", schema=Schema(counters=Table({"name": str, "value": float}).index("by_name", "name")))

@component.mutation
async def add(ctx: MutationCtx, name: str, count: float = 1) -> float: ...

@component.query
async def count_all(ctx: QueryCtx) -> float: ...

@component.mutation(internal=True)
async def wipe(ctx: MutationCtx) -> None: ...
"""


@pytest.fixture
def tally(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A distribution interlock-tally 1.2.3 on the path."""
    files = {"interlock_tally/__init__.py": "", "interlock_tally/component.py": TALLY}
    install(tmp_path / "site", "interlock-tally", "1.2.3", components={"tally": "interlock_tally.component:component"}, files=files)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    for module in [name for name in sys.modules if name.partition(".")[0] == "interlock_tally"]:  # another test's
        monkeypatch.delitem(sys.modules, module)
    yield


def make(name: str = "tally", **options: Any) -> Component:
    component = Component(name, **options)

    @component.mutation
    async def add(ctx: MutationCtx, name: str) -> None: ...

    @component.mutation(internal=True)
    async def wipe(ctx: MutationCtx) -> None: ...

    return component


def mounted(component: str | Component, /, *, app: App | None = None, app_env: dict[str, str] | None = None, **options: Any) -> Tree:
    app = app or App()
    app.use(component, **{"isolation": "inline", **options})
    return build_tree(app, env=app_env or {})


def refused(component: str | Component, /, *, app: App | None = None, **options: Any) -> MountError:
    with pytest.raises(MountError) as refusal:
        mounted(component, app=app, **options)
    assert refusal.value.where.startswith("test_tree.py:")
    assert refusal.value.remedy
    return refusal.value


# What a tree is


def test_named_instances_of_one_component_hang_below_the_app_in_mount_order(tally: None) -> None:
    app = App()
    app.use("tally", name="leaderboard", isolation="inline")
    app.use("tally", name="by_player", isolation="inline")
    tree = build_tree(app, env={})
    assert list(tree.by_path) == ["", "leaderboard", "by_player"]
    one, two = tree.root.children.values()
    assert (one.name, one.parent, one.manifest.version) == ("leaderboard", tree.root, "1.2.3")
    assert one is not two
    assert one.manifest == two.manifest
    assert one.plugin is not None
    assert (one.plugin.distribution, one.plugin.version) == ("interlock-tally", "1.2.3")


def test_children_of_components_hang_below_them() -> None:
    workpool, mailer = make("workpool"), make("mailer")
    mailer.use(workpool, isolation="inline")
    tree = mounted(mailer, name="post")
    assert list(tree.by_path) == ["", "post", "post/workpool"]
    assert tree.get("post/workpool").parent is tree.get("post")
    assert tree.root.children["post"].children["workpool"].code is not None


def test_an_inline_instance_has_its_functions_and_triggers_at_hand() -> None:
    component = make(schema=Schema(counters=Table({"name": str})))

    @component.trigger("counters")
    async def on_change(ctx: MutationCtx, change: Any) -> None: ...

    @component.http("POST", "/hook")
    async def hook(ctx: Any, request: Request) -> Response:
        return Response()

    component.permissions = ("http",)
    instance = mounted(component, http_prefix="/tally").get("tally")
    assert instance.code is not None
    assert instance.code.functions == component.functions
    assert instance.code.triggers == {"counters": (on_change,)}
    assert instance.code.http_handlers == {("POST", "/hook"): hook}
    assert instance.triggers == [TriggerDeclaration("counters")]
    assert [(route.method, route.path) for route in instance.http_routes] == [("POST", "/hook")]


def test_a_component_alone_is_the_root_with_plain_function_names() -> None:
    component = make(env={"KEY": str}, permissions=["net:api.example"])
    tree = build_tree(component, env={"KEY": "k"})
    assert list(tree.by_path) == [""]
    assert list(tree.root.functions) == ["add", "wipe"]
    assert (tree.root.name, tree.app, list(tree.root.allow)) == ("tally", None, ["net:api.example"])
    assert tree.root.env_values({"KEY": "k"}) == {"KEY": "k"}


def test_a_directory_is_the_root_with_its_static_folder_and_auth(tmp_path: Path) -> None:
    source = 'from interlock import App, OIDC\napp = App(static="web", auth=[OIDC("https://login.example", audience="x")])\n'
    directory = write(tmp_path / "myapp", {"app.py": source, "web/index.html": "hello"})
    tree = build_tree(str(directory), env={})
    assert (tree.directory, tree.static) == (directory, directory / "web")
    assert [provider.audience for provider in tree.auth] == ["x"]
    assert tree.app is sys.modules["myapp.app"].app


def test_table_specs_are_those_of_every_instance() -> None:
    component = make(schema=Schema(strict=False, counters=Table({"name": str}).index("by_name", "name")))
    tree = mounted(component)
    validator = {"type": "object", "value": {"name": {"fieldType": {"type": "string"}, "optional": False}}}
    assert tree.table_specs() == [TableSpec("tally", "counters", validator, False, {"by_name": ("name",)})]


def test_data_of_paths_that_nothing_is_mounted_at_is_unmounted() -> None:
    assert mounted(make()).unmounted(["", "tally", "gone", "gone/child"]) == ["gone", "gone/child"]


def test_the_fingerprint_follows_what_is_declared() -> None:
    def build(**options: Any) -> str:
        return mounted(make(**options)).fingerprint

    assert build() == build() != build(schema=Schema(counters=Table({"name": str})))


@pytest.mark.parametrize("text", ["", "mailer", "mailer/workpool"])
def test_a_component_path_is_parsed(text: str) -> None:
    path = ComponentPath.parse(text)
    assert path == text
    assert path.child("x").parent == path
    assert path.child("x").name == "x"


def test_the_root_has_no_parent() -> None:
    assert (ComponentPath().parent, ComponentPath("mailer").parent) == (None, "")


@pytest.mark.parametrize("text", ["/", "mailer/", "/mailer", "a b", "mailer//x", "../x", "1a"])
def test_what_is_no_component_path_is_refused(text: str) -> None:
    with pytest.raises(MountError, match="no component path"):
        ComponentPath.parse(text)


def test_a_path_that_nothing_is_mounted_at_is_refused_with_those_that_are() -> None:
    with pytest.raises(MountError, match=r"Mounted are: tally\."):
        mounted(make()).get("taly")


def test_of_a_component_whose_functions_are_in_a_module_that_nothing_imports_it_is_said() -> None:
    (warning,) = mounted(Component("bare", schema=Schema(rows=Table({"name": str})))).warnings
    assert 'the component "bare", made at test_tree.py:' in warning and "has no functions. " in warning
    assert "let that module import those of its functions" in warning


# Isolation


def test_a_local_component_that_no_other_process_can_find_is_refused() -> None:
    with pytest.raises(MountError, match=r'test_tree.py:\d+: mounts the component "tally", which is in no module under a name') as refused:
        mounted(make(), isolation="sandbox")
    assert 'isolation="inline"' in refused.value.remedy


def test_a_component_of_the_script_that_was_started_cannot_be_found_either(monkeypatch: pytest.MonkeyPatch) -> None:
    component = make()
    component.module = "__main__"
    monkeypatch.setattr(sys.modules["__main__"], "component", component, raising=False)
    with pytest.raises(MountError, match="in no module under a name"):
        mounted(component, isolation="sandbox")


def test_an_inline_mount_warns_of_nothing() -> None:
    assert mounted(make()).warnings == ()


def test_tests_may_override_the_isolation_of_all_mounts() -> None:
    app = App()
    app.use(make())
    tree = build_tree(app, env={}, isolation="inline")
    assert (tree.warnings, tree.get("tally").isolation) == ((), "inline")


def test_mounting_imports_the_component_and_not_before_it_is_mounted(tally: None) -> None:
    app = App()
    app.use("tally", isolation="inline")
    assert "interlock_tally.component" not in sys.modules
    build_tree(app, env={})
    assert "interlock_tally.component" in sys.modules


# Refusals of app.use


def test_two_mounts_of_one_name_are_refused_with_both_lines_and_the_line_to_write(tally: None) -> None:
    app = App()
    app.use("tally")
    first = app.mounts[0].where
    refusal = refused("tally", app=app)
    assert first in refusal.problem
    assert 'use("tally", name="tally_2")' in refusal.remedy


def test_an_unknown_component_is_refused_with_the_close_match(tally: None) -> None:
    refusal = refused("taly")
    assert 'mounts "taly", which is not installed' in refusal.problem
    assert 'app.use("tally")' in refusal.remedy


def test_two_distributions_that_offer_one_entry_point_are_refused(tally: None, tmp_path: Path) -> None:
    install(tmp_path / "site", "tally-too", components={"tally": "x:component"})
    assert "interlock-tally 1.2.3 and tally-too 0.1.0" in refused("tally").problem


def test_a_component_that_excludes_this_interlock_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "interlock-old", components={"old": "interlock_old:component"}, requires=["interlock<0.0.1"])
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "requires interlock<0.0.1" in refused("old").problem


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("1 / 0\n", "failed at component.py:1: ZeroDivisionError"),
        ("import gone_library\n", "No module named 'gone_library'"),
        ("component = 1\n", "is a int and no Component"),
        ("other = 1\n", "AttributeError"),
        ("raise SystemExit\n", "SystemExit"),
    ],
)
def test_a_component_that_cannot_be_imported_is_refused_with_the_mount(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, problem: str
) -> None:
    files = {"interlock_bad/__init__.py": "", "interlock_bad/component.py": source}
    install(tmp_path, "interlock-bad", components={"bad": "interlock_bad.component:component"}, files=files)
    monkeypatch.syspath_prepend(str(tmp_path))
    refusal = refused("bad")
    assert 'mounts "bad" of interlock-bad 0.1.0' in refusal.problem
    assert problem in refusal.problem


def test_a_component_that_mounts_itself_is_refused() -> None:
    one, two = make("one"), make("two")
    one.use(two, isolation="inline")
    two.use(one, isolation="inline")
    assert 'mounts "one" inside itself' in refused(one).problem


def test_a_component_with_two_spellings_of_one_name_is_refused() -> None:
    component = make()

    @component.query
    async def countAll(ctx: QueryCtx) -> None: ...

    @component.query
    async def count_all(ctx: QueryCtx) -> None: ...

    assert "countAll and count_all" in refused(component).problem


def test_http_routes_without_the_permission_are_refused() -> None:
    component = make()

    @component.http("GET", "/x")
    async def hook(ctx: Any, request: Request) -> Response:
        return Response()

    assert 'permissions=["http"]' in refused(component).remedy


# Permissions


@pytest.mark.parametrize(
    ("asked", "options", "remedy"),
    [
        (["net:api.example"], {}, 'allow=["net:api.example"]'),
        (["net:api.example", "files"], {"allow": ["files"]}, 'allow=["files", "net:api.example"]'),
        (["http"], {}, 'http_prefix="/tally"'),
        (["http", "native"], {}, 'http_prefix="/tally" and allow=["native"]'),
    ],
)
def test_a_permission_asked_for_and_not_allowed_is_refused_with_the_line_to_write(
    asked: list[str], options: dict[str, Any], remedy: str
) -> None:
    refusal = refused(make(permissions=asked), **options)
    assert "asks for" in refusal.problem
    assert remedy in refusal.remedy


def test_permissions_that_are_allowed_are_the_instances() -> None:
    tree = mounted(make(permissions=["net:api.example", "http"]), allow=["net:api.example"], http_prefix="/tally")
    assert tree.get("tally").allow == {"net:api.example", "http"}
    assert tree.warnings == ()


@pytest.mark.parametrize(
    ("asked", "options", "warning"),
    [
        ([], {"allow": ["files"]}, 'allows "files", which it does not ask for'),
        ([], {"http_prefix": "/tally"}, "it has no HTTP routes"),
        (["http"], {"allow": ["http"]}, "answer nowhere"),
        ([], {"limits": Limits(documents_read=1_000_000)}, "can lower it only"),
    ],
)
def test_what_is_written_in_vain_is_warned_about(asked: list[str], options: dict[str, Any], warning: str) -> None:
    (line,) = mounted(make(permissions=asked), **options).warnings
    assert line.startswith("test_tree.py:")
    assert warning in line


def test_what_is_no_permission_is_refused() -> None:
    assert "which is no permission" in refused(make(), allow=["network:api.example"]).problem


def test_a_share_of_nothing_is_refused() -> None:
    assert "Limits(documents_read=" in refused(make(), limits=Limits(documents_read=0)).problem


# HTTP prefixes


def test_prefixes_of_nested_mounts_follow_each_other() -> None:
    inner, outer = make("inner", permissions=["http"]), make("outer", permissions=["http"])
    outer.use(inner, isolation="inline", http_prefix="/in")
    assert mounted(outer, http_prefix="/out/").get("outer/inner").http_prefix == "/out/in"
    app = App()
    app.use(outer, isolation="inline", allow=["http"])
    assert build_tree(app, env={}).get("outer/inner").http_prefix is None


def test_two_mounts_under_one_prefix_are_refused() -> None:
    app = App()
    app.use(make(permissions=["http"]), isolation="inline", http_prefix="/x")
    assert "under /x" in refused(make(permissions=["http"]), app=app, name="other", http_prefix="/x/").problem


@pytest.mark.parametrize("prefix", ["/", "//", "/a//b", "/../x", "/a b", "/a?b"])
def test_a_prefix_that_is_no_path_is_refused(prefix: str) -> None:
    assert "which is no path" in refused(make(permissions=["http"]), http_prefix=prefix).problem


# Environment


def test_the_apps_own_variables_are_looked_at_at_start() -> None:
    app = App(env={"KEY": str, "DEBUG": str | None})
    where = app.where
    with pytest.raises(MountError) as refusal:
        build_tree(app, env={})
    assert refusal.value.where == where
    assert "KEY is not set" in refusal.value.problem
    assert "Set KEY" in refusal.value.remedy
    assert build_tree(app, env={"KEY": "k", "OTHER": "x"}).root.env_values({"KEY": "k", "OTHER": "x"}) == {"KEY": "k", "DEBUG": None}


def test_the_environment_is_the_process_own_unless_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERLOCK_TEST_KEY", "k")
    assert build_tree(App(env={"INTERLOCK_TEST_KEY": str}))


def test_bindings_and_secrets_reach_the_instance() -> None:
    component = make(env={"KEY": str, "TOKEN": str, "REGION": str, "LEVEL": str | None})
    app = App(env={"EMBED_KEY": str})
    bound = {"KEY": secret(app.env.EMBED_KEY), "TOKEN": app.env.EMBED_KEY, "REGION": "eu"}
    tree = mounted(component, app=app, app_env={"EMBED_KEY": "s3cret"}, env=bound)
    values = tree.get("tally").env_values({"EMBED_KEY": "s3cret"})
    [held] = tree.get("tally").secrets({"EMBED_KEY": "s3cret"})
    assert values == {"KEY": held, "TOKEN": "s3cret", "REGION": "eu", "LEVEL": None}
    assert tree.secrets({"EMBED_KEY": "s3cret"}) == {"s3cret"}


def test_a_missing_variable_of_a_component_is_refused_with_the_mount() -> None:
    refusal = refused(make(env={"KEY": str}))
    assert 'mounts "tally" without KEY' in refusal.problem
    assert 'env={"KEY": app.env.KEY}' in refusal.remedy


# Moves


def test_was_takes_over_the_data_of_the_old_mount() -> None:
    assert mounted(make(), name="new", was="old").moves == {"old": "new"}


def test_a_child_renamed_with_its_parent_is_found_wherever_its_data_lies() -> None:
    inner, outer = make("inner"), make("outer")
    outer.use(inner, isolation="inline", was="core")
    moves = mounted(outer, name="new", was="old").moves
    assert moves == {"old/core": "new/inner", "new/core": "new/inner", "old": "new"}
    assert list(moves)[-1] == "old"


def test_was_of_a_name_that_is_still_mounted_is_refused() -> None:
    app = App()
    app.use(make(), name="old", isolation="inline")
    assert f"which {app.mounts[0].where} still mounts" in refused(make(), app=app, name="new", was="old").problem


def test_was_of_its_own_name_is_refused() -> None:
    assert "which is its own name" in refused(make(), was="tally").problem


def test_two_mounts_that_were_one_are_refused() -> None:
    app = App()
    app.use(make(), name="one", was="old", isolation="inline")
    assert "so does" in refused(make(), app=app, name="two", was="old").problem


# Crons, triggers, static


def test_a_cron_of_a_childs_function_is_checked_when_the_child_is_known() -> None:
    app = App()
    app.cron("tick", every=5, args={"name": "x"})(components.tally.add)
    assert mounted(make(), app=app).root.crons[0].mount == "tally"
    for ref, problem in [
        (components.tally.gone, "no such function"),
        (components.tally.wipe, "no such function"),
        (components.tally.add, "without name"),
    ]:
        app = App()
        app.use(make(), isolation="inline")
        app.cron("tick", every=5)(ref)
        with pytest.raises(MountError, match=problem):
            build_tree(app, env={})


def test_a_trigger_on_a_table_that_the_schema_lacks_is_warned_about() -> None:
    component = make(schema=Schema(counters=Table({"name": str})))
    component.trigger("countres")(lambda ctx, change: None)
    (warning,) = mounted(component).warnings
    assert 'a trigger on "countres"' in warning


def test_a_static_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    directory = write(tmp_path / "myapp", {"app.py": 'from interlock import App\napp = App(static="web")\n'})
    with pytest.raises(MountError, match=r'static="web", and there is no such folder') as refusal:
        build_tree(directory, env={})
    assert refusal.value.where == "app.py:2"


@pytest.mark.parametrize("static", [".", "..", "web/.."])
def test_a_static_folder_that_holds_the_app_itself_is_refused(tmp_path: Path, static: str) -> None:
    source = f'from interlock import App\napp = App(static="{static}")\n'
    directory = write(tmp_path / "myapp", {"app.py": source, "web/index.html": ""})
    with pytest.raises(MountError, match="to everybody") as refusal:
        build_tree(directory, env={})
    assert refusal.value.where == "app.py:2"


# Reload


def test_a_reload_that_is_refused_leaves_the_old_tree_working(tmp_path: Path) -> None:
    functions = "from interlock import QueryCtx, query\n@query\ndef top(ctx: QueryCtx) -> int:\n    return {}\n"
    directory = write(tmp_path / "myapp", {"app.py": "from interlock import App\napp = App()\n", "a.py": functions.format(1)})
    old = build_tree(directory, env={})
    for broken in ("def f(:\n", functions.format(2) + "@query\ndef bad(ctx: QueryCtx, x: complex) -> int: ...\n"):
        write(directory, {"a.py": broken})
        with pytest.raises(MountError):
            build_tree(directory, env={}, reload=True)
        assert old.root.code is not None
        top = old.root.code.functions["a:top"]
        assert sys.modules["myapp.a"].top is top
        assert (top(None), top.public_name) == (1, "a:top")
    write(directory, {"a.py": functions.format(3)})
    new = build_tree(directory, env={}, reload=True)
    assert new.root.code is not None
    assert new.root.code.functions["a:top"](None) == 3
    assert new.root.code.functions["a:top"] is not top


def test_a_mount_with_too_many_tables_is_refused_with_those_of_its_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_module, "_TABLES_MAX", 3)

    def with_tables(name: str, count: int) -> Component:
        return make(name, schema=Schema(**{f"t{number}": Table({}) for number in range(count)}))

    outer = with_tables("outer", 2)
    outer.use(with_tables("inner", 1), isolation="inline")
    app = App()
    app.use(with_tables("other", 3), isolation="inline")
    assert len(mounted(outer, app=app).by_path) == 4
    outer.use(with_tables("more", 1), isolation="inline")
    with pytest.raises(MountError, match='mounts "outer", which has more than 3 tables, those of its children included'):
        mounted(outer)
