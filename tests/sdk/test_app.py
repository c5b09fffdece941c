"""What an app and a component collect, and what they refuse on the spot."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any, Literal

import pytest

from interlock import (
    JWT,
    OIDC,
    ActionCtx,
    App,
    Component,
    Limits,
    MountError,
    MutationCtx,
    Request,
    Response,
    Schema,
    components,
    mutation,
    secret,
)
from interlock.sdk.declarations import CronDeclaration, Mount, RouteDeclaration
from interlock.sdk.env import EnvReference, Secret


async def clean(ctx: MutationCtx, days: int = 1) -> None: ...


def test_a_mount_holds_what_its_line_says() -> None:
    app = App(env={"KEY": str})
    app.use(
        "mailer",
        name="mail",
        isolation="process",
        env={"API_KEY": secret(app.env.KEY), "FROM": "a@b", "DEBUG": app.env.KEY},
        allow=["net:api.mail.example"],
        http_prefix="/mail",
        workers=2,
        limits=Limits(deadline=5),
        was="post",
    )
    (mount,) = app.mounts
    assert mount == Mount(
        component="mailer",
        name="mail",
        isolation="process",
        env={"API_KEY": Secret(EnvReference("KEY")), "FROM": "a@b", "DEBUG": EnvReference("KEY")},
        allow=("net:api.mail.example",),
        http_prefix="/mail",
        workers=2,
        limits=Limits(deadline=5),
        was="post",
        where=mount.where,
    )
    assert mount.where.startswith("test_app.py:")
    assert Mount.from_json(json.loads(json.dumps(mount.to_json()))) == mount


def test_a_mount_has_the_components_own_name_and_is_sandboxed() -> None:
    local = Component("local")
    app = App()
    app.use("tally")
    app.use(local)
    by_name, by_object = app.mounts
    assert (by_name.name, by_name.isolation, by_name.workers, by_name.allow, by_name.env) == ("tally", "sandbox", 1, (), {})
    assert (by_object.name, by_object.component, by_object.component_name) == ("local", local, "local")
    assert by_object.to_json()["local"]
    local.use("workpool")
    assert [mount.name for mount in local.mounts] == ["workpool"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "a b"},
        {"name": ""},
        {"name": "_a"},
        {"isolation": "none"},
        {"workers": 0},
        {"workers": True},
        {"allow": "net:x"},
        {"env": {"KEY": 5}},
        {"http_prefix": "mail"},
        {"limits": 5},
        {"was": "a b"},
    ],
)
def test_a_mount_that_makes_no_sense_is_refused_with_its_line(wrong: dict[str, Any]) -> None:
    with pytest.raises(MountError, match=r'test_app.py:\d+: mounts "'):
        App().use("tally", **wrong)
    with pytest.raises(MountError, match="Give a name"):
        App().use(5)  # type: ignore[arg-type]


def test_env_declares_strings_and_refers_to_them() -> None:
    app = App(env={"KEY": str, "MODE": Literal["a", "b"], "DEBUG": str | None})
    assert app.env.KEY == app.env["KEY"] == EnvReference("KEY")
    assert list(app.env) == ["KEY", "MODE", "DEBUG"]
    assert app.env_declarations()["DEBUG"] == {"type": "union", "value": [{"type": "string"}, {"type": "null"}]}
    with pytest.raises(AttributeError, match="the app declares no variable OTHER"):
        _ = app.env.OTHER
    with pytest.raises(MountError, match="declares N as"):
        App(env={"N": int}).env_declarations()
    with pytest.raises(MountError, match="variable 'A B'"):
        App(env={"A B": str})
    with pytest.raises(TypeError):
        secret(5)  # type: ignore[arg-type]


def test_a_secret_does_not_print_itself() -> None:
    assert "hunter2" not in repr(secret("hunter2"))
    assert repr(secret(EnvReference("KEY"))) == "secret(env.KEY)"
    assert "PRIVATE" not in repr(JWT("https://x", key="PRIVATE"))


def test_a_cron_is_a_rule_over_a_reference() -> None:
    app = App()
    ref = mutation(clean)
    assert app.cron("clean", every=timedelta(minutes=1), args={"days": 3})(ref) is ref
    app.cron("tick", cron="0 3 * * 1", timezone="Europe/Berlin", catch_up="all")("jobs:tick")
    app.cron("child", every=5, catch_up="skip")(components.pool.drain)
    ref.public_name = "jobs:clean"
    first, second, third = [cron.declaration() for cron in app.crons]
    assert first == CronDeclaration("clean", 60.0, None, "UTC", "once", {"days": 3}, "jobs:clean")
    assert second == CronDeclaration("tick", None, "0 3 * * 1", "Europe/Berlin", "all", {}, "jobs:tick")
    assert (third.function, third.mount) == ("drain", "pool")
    assert CronDeclaration.from_json(json.loads(json.dumps(first.to_json()))) == first


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "no schedule"),
        ({"every": 5, "cron": "* * * * *"}, "two schedules"),
        ({"every": 1e-9}, "0.001 or more"),
        ({"every": 0}, "0.001 or more"),
        ({"every": -1.5}, "0.001 or more"),
        ({"every": float("inf")}, "0.001 or more"),
        ({"every": "5"}, "0.001 or more"),
        ({"cron": "* * *"}, "five fields"),
        ({"every": 5, "catch_up": "never"}, "catch_up"),
        ({"every": 5, "timezone": ""}, "time zone"),
    ],
)
def test_a_cron_that_makes_no_sense_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(MountError, match=said):
        App().cron("c", **given)


def test_crons_have_names_of_their_own_and_call_functions() -> None:
    app = App()
    app.cron("c", every=1)("a:b")
    with pytest.raises(MountError, match="declared twice"):
        app.cron("c", every=1)
    with pytest.raises(MountError, match="no name for a cron"):
        app.cron("", every=1)
    with pytest.raises(MountError, match="calls <function"):
        app.cron("d", every=1)(clean)  # type: ignore[type-var]
    app.cron("handle", every=1)("function://x")
    with pytest.raises(MountError, match="calls a handle"):
        app.crons[-1].declaration()


def test_routes_are_recorded() -> None:
    component = Component("hooks", permissions=["http"])

    @component.http("POST", "/webhook")
    async def webhook(ctx: ActionCtx, request: Request) -> Response:
        return Response(request.text)

    (route,) = component.http_routes
    assert route.handler is webhook
    assert (route.method, route.path) == ("POST", "/webhook")
    declared = route.declaration()
    assert RouteDeclaration.from_json(declared.to_json()) == declared
    for method, path in (("POST", "/webhook"), ("FETCH", "/x"), ("GET", "x")):
        with pytest.raises(MountError, match="routes"):
            component.http(method, path)


def test_a_component_that_makes_no_sense_is_refused() -> None:
    for name in ("", "a b", "_a", 5):
        with pytest.raises(MountError, match="no name for a component"):
            Component(name)  # type: ignore[arg-type]
    for permissions in ("http", ["net:"], ["everything"], [5]):
        with pytest.raises(MountError, match="permissions"):
            Component("c", permissions=permissions)  # type: ignore[arg-type]
    with pytest.raises(MountError, match="schema="):
        Component("c", schema={"t": {}})  # type: ignore[arg-type]
    assert Component("c", schema=Schema(), permissions=["net:a.b", "http", "files", "native"]).permissions[0] == "net:a.b"


def test_a_components_triggers_are_its_own() -> None:
    component = Component("c")

    @component.trigger("rows")
    async def on_change(ctx: MutationCtx, change: Any) -> None: ...

    assert component.triggers == [("rows", on_change)]


def test_auth_lists_issuers() -> None:
    app = App(auth=[OIDC("login.example/", audience="myapp"), JWT("https://x", jwks="https://x/keys", algorithm="ES256")], static="web")
    oidc, jwt = app.auth
    assert (oidc.issuer, oidc.audience) == ("https://login.example", "myapp")
    assert (jwt.issuer, jwt.audience) == ("https://x", None)
    assert app.static == "web"
    with pytest.raises(MountError, match="auth holds"):
        App(auth=["https://login.example"])  # type: ignore[list-item]
    for wrong in (
        lambda: OIDC("https://x", audience=""),
        lambda: OIDC("", audience="a"),
        lambda: JWT("https://x"),
        lambda: JWT("https://x", key="k", jwks="j"),
        lambda: JWT("https://x", key="k", algorithm="none"),
    ):
        with pytest.raises(TypeError):
            wrong()


def test_a_keyword_is_no_name_for_a_mount() -> None:
    with pytest.raises(MountError, match="no name for a mount"):
        App().use("tally", name="class")


def test_the_arguments_of_a_cron_are_given_by_name() -> None:
    with pytest.raises(MountError, match="by name"):
        App().cron("clean", every=5, args=[1])  # type: ignore[arg-type]
