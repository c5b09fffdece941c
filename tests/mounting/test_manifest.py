import copy
import json
from collections.abc import Callable
from typing import Any, Literal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock import Change, Component, Int64, Limits, MutationCtx, Request, Response, Schema, Table, components, secret
from interlock.errors import MountError
from interlock.mounting.manifest import Manifest, manifest_of
from interlock.mounting.manifest_reader import BYTES_MAX, manifest_from_json, parse_manifest
from interlock.mounting.permissions import is_permission
from interlock.sdk.declarations import TriggerDeclaration
from interlock.values import is_subset, union_of

WHERE = "app.py:7"


def make() -> Component:
    """A component that declares one of everything."""
    mails = Table({"to": str, "state": {"kind": Literal["queued", "sent"]}}).index("by_state", "state.kind", "to")
    component = Component(
        "mailer",
        schema=Schema(strict=False, mails=mails),
        env={"KEY": str, "LEVEL": Literal["a", "b"] | None},
        permissions=["net:api.mail.example", "http"],
    )
    component.use(
        "workpool",
        name="pool",
        env={"A": "a", "B": component.env.KEY, "C": secret(component.env.KEY)},
        allow=["files"],
        http_prefix="/pool",
        limits=Limits(deadline=2.5, documents_read=10),
        was="queue",
    )

    @component.mutation(internal=True)
    async def send(ctx: MutationCtx, to: str, size: Int64, tries: int = 1) -> float:
        """Send a mail."""
        return 1.0

    @component.action
    def plain(ctx: Any, **rest: Any) -> Any: ...

    @component.trigger("mails")
    async def on_mail(ctx: MutationCtx, change: Any) -> None: ...

    @component.trigger("mails")
    async def on_mails(ctx: MutationCtx, changes: list[Change]) -> None: ...

    @component.http("POST", "/hook")
    async def hook(ctx: Any, request: Request) -> Response:
        return Response()

    component.cron("nightly", cron="0 3 * * *", timezone="Europe/Berlin", catch_up="all", args={"to": "x", "size": Int64(2)})(send)
    component.cron("often", every=30)(components.pool.work)
    return component


def told() -> dict[str, Any]:
    """What a worker would answer for it."""
    return json.loads(orjson.dumps(manifest_of(make()).to_json()))  # type: ignore[no-any-return]


def test_a_manifest_says_what_a_component_is() -> None:
    manifest = manifest_of(make())
    assert (manifest.name, manifest.version, manifest.strict) == ("mailer", "", False)
    assert list(manifest.functions) == ["send", "plain"]
    send = manifest.functions["send"]
    assert (send.kind, send.internal, send.doc, send.plain) == ("mutation", True, "Send a mail.", False)
    assert manifest.functions["plain"].rest
    assert manifest.functions["plain"].plain
    assert manifest.tables["mails"].indexes == {"by_state": ("state.kind", "to")}
    assert manifest.triggers == (TriggerDeclaration("mails"), TriggerDeclaration("mails", takes_list=True))
    assert [(cron.name, cron.function, cron.mount) for cron in manifest.crons] == [("nightly", "send", ""), ("often", "work", "pool")]
    assert [child.name for child in manifest.children] == ["pool"]
    assert manifest.permissions == ("net:api.mail.example", "http")


def test_a_manifest_comes_back_whole_from_its_json() -> None:
    manifest = manifest_of(make())
    assert parse_manifest(orjson.dumps(manifest.to_json()), where=WHERE) == manifest


def test_a_doc_that_is_too_long_is_cut_and_not_refused() -> None:
    component = Component("wordy")

    @component.mutation
    async def send(ctx: MutationCtx) -> None: ...

    send.__doc__ = send.handler.__doc__ = "x" * 20_000
    manifest = parse_manifest(orjson.dumps(manifest_of(component).to_json()), where=WHERE)
    assert len(manifest.functions["send"].doc) == 10_000


def at(path: str) -> Callable[[dict[str, Any], Any], None]:
    def change(data: dict[str, Any], value: Any) -> None:
        *steps, last = [int(step) if step.isdigit() else step for step in path.split("/")]
        for step in steps:
            data = data[step]  # type: ignore[index]
        data[last] = value  # type: ignore[index]

    return change


ANY_TABLE = {"validator": {"type": "any"}, "indexes": {}, "staged": []}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("format", 4),
        ("format", True),
        ("name", "a b"),
        ("name", 7),
        ("name", None),
        ("version", "x" * 101),
        ("strict", 1),
        ("extra", 1),
        ("tables", []),
        ("tables", {"_jobs": ANY_TABLE}),
        ("tables", {"a/b": ANY_TABLE}),
        ("tables/mails", {}),
        ("tables/mails/validator", {"type": "string"}),
        ("tables/mails/validator", {"type": "nonsense"}),
        ("tables/mails/validator", {"type": "object", "value": {"_id": {"fieldType": {"type": "any"}, "optional": False}}}),
        ("tables/mails/indexes", {"by_id": ["to"]}),
        ("tables/mails/staged", ["by_time"]),
        ("tables/mails/staged", ["by_state", "by_state"]),
        ("tables/mails/staged", [1]),
        ("tables/mails/indexes/by_state", []),
        ("tables/mails/indexes/by_state", ["gone"]),
        ("tables/mails/indexes/by_state", ["to", "to"]),
        ("tables/mails/indexes/by_state", ["_creationTime"]),
        ("tables/mails/indexes/by_state", [f"f{n}" for n in range(17)]),
        ("functions/send/name", "other"),
        ("functions/send/kind", "httpAction"),
        ("functions/send/kind", ["query"]),
        ("functions/send/internal", "no"),
        ("functions/send/args", {"type": "any"}),
        ("functions/send/args/value/to/optional", 1),
        ("functions/send/returns", None),
        ("functions/send/doc", "x" * 10_001),
        ("functions/send/handler", "os.system"),
        ("triggers/0/table", "_jobs"),
        ("triggers/0/takes_list", 1),
        ("triggers", ["mails"]),
        ("triggers", "mails"),
        ("triggers", [{"table": "mails", "takes_list": False}] * 1_001),
        ("crons/0/every", 5),
        ("crons/0/cron", "not a cron at all"),
        ("crons/0/cron", "* * * * * *"),
        ("crons/0/timezone", "../../etc/passwd"),
        ("crons/0/catch_up", "never"),
        ("crons/0/args", [1]),
        ("crons/0/args", {"to": {"$nonsense": 1}}),
        ("crons/0/args", {}),
        ("crons/0/function", "gone"),
        ("crons/0/name", "a\nb"),
        ("crons/0/name", "often"),
        ("crons/1/every", 0),
        ("crons/1/every", -1),
        ("crons/1/every", 0.0009),
        ("crons/1/every", 5e-324),
        ("crons/1/every", True),
        ("crons/1/mount", "gone"),
        ("children/0/local", True),
        ("children/0/local", "os.path"),
        ("children/0/local", "../x:component"),
        ("children/0/component", ""),
        ("children/0/component", "a\x00b"),
        ("children/0/name", "_x"),
        ("children/0/isolation", "none"),
        ("children/0/env/A", "a"),
        ("children/0/env/A", {"literal": 1}),
        ("children/0/env/A", {"secret": {"secret": {"literal": "a"}}}),
        ("children/0/env/B", {"reference": "../KEY"}),
        ("children/0/allow", ["everything"]),
        ("children/0/http_prefix", "pool"),
        ("children/0/workers", 0),
        ("children/0/workers", True),
        ("children/0/limits", {"cpu": -1}),
        ("children/0/limits", {"everything": 1}),
        ("children/0/was", "a/b"),
        ("env/KEY", {"type": "number"}),
        ("env/KEY", {"type": "null"}),
        ("env/KEY", {"type": "union", "value": [{"type": "string"}, {"type": "number"}]}),
        ("env", {"a b": {"type": "string"}}),
        ("permissions", ["net:"]),
        ("permissions", ["root"]),
        ("permissions", {"net": 1}),
        ("permissions", ["net:api.mail.example"]),
        ("http_routes/0/method", "CONNECT"),
        ("http_routes/0/path", "hook"),
        ("http_routes/0/path", "/a\nb"),
    ],
)
def test_a_manifest_with_one_wrong_thing_is_refused_with_the_mount(path: str, value: Any) -> None:
    data = told()
    at(path)(data, value)
    with pytest.raises(MountError) as refusal:
        manifest_from_json(data, where=WHERE)
    assert refusal.value.where == WHERE
    assert len(str(refusal.value)) < 800
    assert "\n" not in refusal.value.problem


def test_what_is_tried_one_after_the_other_for_a_value_has_an_end() -> None:
    """Else a component has us try for as long as it likes, at each of its calls and at the start. Texts are looked up."""
    data = told()
    texts = [{"type": "literal", "value": f"text {number}"} for number in range(20_000)]
    kinds = [{"type": "object", "value": {f"k{number}": {"fieldType": {"type": "string"}, "optional": False}}} for number in range(256)]
    data["functions"]["send"]["returns"] = {"type": "union", "value": [*texts, *kinds, *texts]}
    [told_back] = [one.returns for name, one in manifest_from_json(data, where=WHERE).functions.items() if name == "send"]
    assert told_back == union_of([*texts, *kinds]) and is_subset(told_back, told_back)
    many = {"type": "union", "value": [{"type": "array", "value": one} for one in kinds]}
    data["functions"]["send"]["returns"] = {"type": "union", "value": [many, {"type": "null"}]}
    with pytest.raises(MountError, match="a union of 257 types; at most 256 are allowed"):
        manifest_from_json(data, where=WHERE)


def test_what_is_printed_of_a_manifest_does_nothing_in_a_terminal() -> None:
    data = told()
    data["version"] = data["children"][0]["where"] = "1\x1b[2J\n\u202e2"
    manifest = manifest_from_json(data, where=WHERE)
    assert (manifest.version, manifest.children[0].where) == ("1[2J2", "1[2J2")


def test_no_name_in_a_refusal_does_anything_to_a_terminal() -> None:
    data = told()
    data["\x1b[2J\u202e"] = 1
    with pytest.raises(MountError) as refusal:
        manifest_from_json(data, where=WHERE)
    assert str(refusal.value).replace("\n", "").isprintable()


@pytest.mark.parametrize("field", sorted(Manifest.__dataclass_fields__))
def test_a_manifest_without_a_field_is_refused(field: str) -> None:
    data = told()
    del data[field]
    with pytest.raises(MountError, match="must be an object of exactly"):
        manifest_from_json(data, where=WHERE)


@pytest.mark.parametrize("data", [b"", b"{", b"null", b"[]", b"\xff", b'{"format":1', b"[" * 5_000 + b"]" * 5_000, b" " * (BYTES_MAX + 1)])
def test_bytes_that_are_no_manifest_are_refused(data: bytes) -> None:
    with pytest.raises(MountError, match="the manifest is not valid"):
        parse_manifest(data, where=WHERE)


def test_a_validator_that_is_nested_without_end_is_refused() -> None:
    data = told()
    validator: dict[str, Any] = {"type": "any"}
    for _ in range(70):
        validator = {"type": "array", "value": validator}
    data["functions"]["send"]["returns"] = validator
    with pytest.raises(MountError, match="nested deeper"):
        manifest_from_json(data, where=WHERE)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(data=st.data(), value=json_values)
def test_a_manifest_with_anything_anywhere_is_read_or_refused_and_never_breaks(data: st.DataObject, value: Any) -> None:
    manifest = copy.deepcopy(TOLD)
    place: Any = manifest
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            place[key] = value
            break
        place = place[key]
    try:
        read = manifest_from_json(manifest, where=WHERE)
    except MountError:
        return
    assert manifest_from_json(json.loads(orjson.dumps(read.to_json())), where=WHERE) == read


TOLD = told()


@pytest.mark.parametrize("text", ["http", "files", "native", "net:api.example", "net:*.a.example", "net:*", "net:a:8443", "net:[::1]:80"])
def test_permissions(text: str) -> None:
    assert is_permission(text)


@pytest.mark.parametrize("text", ["", "net", "net:", "net:a b", "net:a/b", "HTTP", "http\n", "net:a:b", "file"])
def test_what_is_no_permission(text: str) -> None:
    assert not is_permission(text)
