from typing import Any, Literal

import pytest

from interlock.errors import MountError
from interlock.mounting.environment import Environment, HeldSecret, check_bindings, check_root, placeholder
from interlock.sdk.declarations import Mount
from interlock.sdk.env import Env, EnvReference, Secret, env_declarations, secret

Level = Literal["debug", "info"]


def declare(**annotations: Any) -> dict[str, Any]:
    return env_declarations(Env("it", annotations, "app.py:1"))


def bind(child: dict[str, Any], parent: dict[str, Any] | None = None, /, **env: Any) -> None:
    mount = Mount("mailer", "post", env=env, where="app.py:7")
    check_bindings(mount, declare(**child), declare(**(parent or {})), env="app.env")


def refused(child: dict[str, Any], parent: dict[str, Any] | None = None, /, **env: Any) -> MountError:
    with pytest.raises(MountError) as refusal:
        bind(child, parent, **env)
    assert refusal.value.where == "app.py:7"
    assert 'mounts "post"' in refusal.value.problem
    assert refusal.value.remedy
    return refusal.value


@pytest.mark.parametrize(
    ("child", "parent", "env"),
    [
        ({}, {}, {}),
        ({"KEY": str | None}, {}, {}),
        ({"KEY": str}, {}, {"KEY": "literal"}),
        ({"KEY": str}, {"APP_KEY": str}, {"KEY": EnvReference("APP_KEY")}),
        ({"KEY": str | None}, {"APP_KEY": str | None}, {"KEY": EnvReference("APP_KEY")}),
        ({"LEVEL": Level}, {}, {"LEVEL": "info"}),
        ({"LEVEL": str}, {"LEVEL": Level}, {"LEVEL": EnvReference("LEVEL")}),
        ({"LEVEL": Level}, {"LEVEL": Literal["info"]}, {"LEVEL": EnvReference("LEVEL")}),
        ({"KEY": str}, {}, {"KEY": secret("literal")}),
        ({"KEY": str}, {"APP_KEY": str}, {"KEY": secret(EnvReference("APP_KEY"))}),
        ({"KEY": str | None}, {"APP_KEY": str | None}, {"KEY": secret(EnvReference("APP_KEY"))}),
        ({"KEY": str}, {"LEVEL": Level}, {"KEY": secret(EnvReference("LEVEL"))}),
    ],
)
def test_a_binding_that_always_fits_is_taken(child: dict[str, Any], parent: dict[str, Any], env: dict[str, Any]) -> None:
    bind(child, parent, **env)


@pytest.mark.parametrize(
    ("child", "parent", "env", "problem"),
    [
        ({"KEY": str}, {}, {}, "without KEY, which mailer needs as str"),
        ({"KEY": str}, {}, {"KEY": "x", "KEYS": "y"}, "with KEYS, which mailer does not declare"),
        ({"KEY": str}, {"APP_KEY": str | None}, {"KEY": EnvReference("APP_KEY")}, "may be unset"),
        ({"KEY": str}, {"APP_KEY": str | None}, {"KEY": secret(EnvReference("APP_KEY"))}, "may be unset"),
        ({"KEY": str}, {}, {"KEY": EnvReference("GONE")}, "GONE is not declared there"),
        ({"LEVEL": Level}, {}, {"LEVEL": "loud"}, 'must be Literal["debug", "info"]'),
        ({"LEVEL": Level}, {"LEVEL": str}, {"LEVEL": EnvReference("LEVEL")}, 'LEVEL=str, and it must be Literal["debug", "info"]'),
        ({"LEVEL": Level}, {}, {"LEVEL": secret("info")}, "looks at its value"),
    ],
)
def test_a_binding_that_might_not_fit_is_refused(child: dict[str, Any], parent: dict[str, Any], env: dict[str, Any], problem: str) -> None:
    assert problem in refused(child, parent, **env).problem


def test_a_misspelt_variable_is_refused_with_the_close_match() -> None:
    assert refused({"API_KEY": str}, APIKEY="x").remedy == "Did you mean API_KEY?"


def test_what_a_secret_holds_stands_in_no_refusal() -> None:
    assert "hunter2" not in str(refused({"LEVEL": Level}, LEVEL=secret("hunter2")))


@pytest.mark.parametrize(
    ("declared", "values", "problem"),
    [
        ({"KEY": str}, {}, "KEY is not set"),
        ({"LEVEL": Level}, {}, "LEVEL is not set"),
        ({"LEVEL": Level}, {"LEVEL": "loud"}, "LEVEL is set to 'loud', and must be Literal"),
        ({"LEVEL": Level | None}, {"LEVEL": "loud"}, "must be Literal"),
    ],
)
def test_the_roots_own_variables_are_refused(declared: dict[str, Any], values: dict[str, str], problem: str) -> None:
    with pytest.raises(MountError, match=problem) as refusal:
        check_root(declare(**declared), values, where="app.py:1")
    assert refusal.value.remedy


def test_the_roots_own_variables_may_be_unset_where_they_say_so() -> None:
    check_root(declare(KEY=str, DEBUG=str | None, LEVEL=Level), {"KEY": "", "LEVEL": "info"}, where="app.py:1")


def test_a_reference_is_looked_up_each_time() -> None:
    root = Environment(declare(APP_KEY=str))
    child = Environment(declare(KEY=str), {"KEY": EnvReference("APP_KEY")}, root)
    grandchild = Environment(declare(K=str, FIXED=str), {"K": EnvReference("KEY"), "FIXED": "f"}, child)
    assert grandchild.values({"APP_KEY": "one"}, str.lower) == {"K": "one", "FIXED": "f"}
    assert grandchild.values({"APP_KEY": "two"}, str.lower) == {"K": "two", "FIXED": "f"}


def test_a_component_sees_what_is_bound_and_nothing_else() -> None:
    root = Environment(declare(APP_KEY=str, OTHER=str))
    child = Environment(declare(KEY=str, DEBUG=str | None), {"KEY": "k"}, root)
    assert child.values({"APP_KEY": "a", "OTHER": "o", "DEBUG": "1"}, str.lower) == {"KEY": "k", "DEBUG": None}


def test_a_secret_is_a_placeholder_all_the_way_down() -> None:
    app_env = {"APP_KEY": "s3cret"}
    root = Environment(declare(APP_KEY=str))
    child = Environment(declare(KEY=str), {"KEY": Secret(EnvReference("APP_KEY"))}, root)
    grandchild = Environment(declare(TOKEN=str), {"TOKEN": EnvReference("KEY")}, child)
    for environment, name in ((child, "KEY"), (grandchild, "TOKEN")):
        assert environment.values(app_env, str.lower) == {name: name.lower()}
        assert environment.secrets(app_env) == [HeldSecret(name, "s3cret")]
    assert root.secrets(app_env) == []


def test_a_secret_that_is_not_set_is_none() -> None:
    child = Environment(declare(KEY=str | None), {"KEY": Secret(EnvReference("APP_KEY"))}, Environment(declare(APP_KEY=str | None)))
    assert (child.values({}, str.lower), child.secrets({})) == ({"KEY": None}, [])


def test_a_placeholder_may_stand_in_a_header() -> None:
    held = placeholder("mailer", "API_KEY", b"key")
    assert held.isascii() and held.isprintable()


def test_every_instance_variable_and_backend_has_a_placeholder_of_its_own() -> None:
    made = {placeholder(path, name, key) for path in ("a", "a/b") for name in ("A", "B") for key in (b"1", b"2")}
    assert len(made) == 8
