"""A component reaches for what belongs to another, or to another kind of function.

Each attempt is denied with a clear error, nothing of it is committed, and afterwards the host and the other mount answer as before.
That the attack is real is shown next to it: what it is after is there, and who may have it gets it.
"""

from __future__ import annotations

from typing import Any

import pytest
from tests.sandbox.attacks.scene import Scene

from interlock import InterlockError
from interlock.functions.caller import Caller
from interlock.sandbox.confinement import available

pytestmark = pytest.mark.skipif(bool(available().missing), reason=f"not here: {available().missing}")


@pytest.mark.canary("test_aimed_at_what_is_its_own_each_of_them_wins")
async def test_a_document_of_another_is_not_there(scene: Scene) -> None:
    assert await scene.thief("read_by_id", id=scene.secret) is None
    for name in ("change_by_id", "replace_by_id", "delete_by_id"):
        assert "DocumentNotFound" in await scene.denied(name, id=scene.secret)
    await scene.unharmed()
    await scene.vault("change", id=scene.secret, text="changed by its owner")
    assert await scene.vault("texts") == ["changed by its owner"]


@pytest.mark.canary("test_aimed_at_what_is_its_own_each_of_them_wins")
async def test_a_table_of_the_same_name_is_another_table(scene: Scene) -> None:
    assert await scene.thief("scan_a_table_of_the_same_name") == []
    await scene.unharmed()


@pytest.mark.canary("test_aimed_at_what_is_its_own_each_of_them_wins")
@pytest.mark.parametrize("table", ["vault/secrets", "../vault/secrets", "_scheduled", "_jobs", "_tables", "app/own", ""])
async def test_no_name_reaches_the_table_of_another(scene: Scene, table: str) -> None:
    try:
        assert await scene.thief("scan_by_any_name", table=table) == []  # a name like any other, and nothing in it
    except InterlockError:
        pass
    await scene.unharmed()


@pytest.mark.canary("test_aimed_at_what_is_its_own_each_of_them_wins")
async def test_a_cursor_of_another_is_worth_nothing(scene: Scene) -> None:
    cursor = await scene.vault("page")
    assert "InvalidCursor" in await scene.denied("go_on_with_a_cursor", cursor=cursor)
    await scene.unharmed()


@pytest.mark.canary("test_aimed_at_what_is_its_own_each_of_them_wins")
@pytest.mark.parametrize(
    "name", ["vault:texts", "vault/texts", "texts", "vault/vault:texts", "/vault/texts", "../vault:texts", "app:texts"]
)
async def test_no_name_reaches_a_function_of_another(scene: Scene, name: str) -> None:
    assert "FunctionNotFound" in await scene.denied("call_by_name", name=name)
    assert "FunctionNotFound" in await scene.denied("change_by_name", name=name)
    await scene.denied("schedule_by_name", name=name)
    await scene.unharmed()
    assert await scene.vault("inner") == "the secret"


@pytest.mark.canary("test_aimed_at_what_is_its_own_each_of_them_wins")
@pytest.mark.parametrize(
    "target", [("texts", "vault", ""), ("texts", "", "vault"), ("texts", "..", ""), ("vault/texts", "", ""), ("texts", "/", "")]
)
async def test_no_target_made_by_hand_reaches_another(scene: Scene, target: tuple[str, str, str]) -> None:
    name, mount, handle = target
    await scene.denied("call_by_target", name=name, mount=mount, handle=handle)
    await scene.unharmed()


async def test_a_handle_opens_what_it_was_given_for_and_cannot_be_made(scene: Scene) -> None:
    handle = await scene.vault("handle")
    assert await scene.thief("call_by_name", name=handle) == ["the secret"]  # given away: that is what it is for, and the canary
    for forged in (handle[:-1] + ("A" if handle[-1] != "A" else "B"), handle[:-4], handle.swapcase(), "function://" + "A" * 60):
        await scene.denied("call_by_name", name=forged)
    await scene.unharmed()


@pytest.mark.canary("test_aimed_at_what_is_its_own_each_of_them_wins")
async def test_a_job_of_another_is_not_there(scene: Scene) -> None:
    job = await scene.vault("later")
    with pytest.raises(InterlockError):
        await scene.thief("cancel_a_job", id=job)
    assert await scene.thief("look_at_a_job", id=job) is None
    assert await scene.thief("list_jobs") == []
    await scene.unharmed()


async def test_nobody_tells_a_component_who_calls(scene: Scene) -> None:
    ada = Caller(identity={"subject": "ada"}, admin=True, source="test", request_id="r")
    answer = await scene.backend.dispatcher.call("query", "ask_who_is_there", {}, caller=ada, component_path="thief")
    assert answer.value is None
    await scene.unharmed()

    async def own(ctx: Any) -> Any:
        return (await ctx.auth.identity())["subject"]

    assert (await scene.backend.dispatcher.run(own, kind="query", caller=ada)).value == "ada"  # the canary: the app is told


@pytest.mark.parametrize(
    ("name", "where", "belongs"),
    [
        ("write", "in_a_query", "in_a_mutation"),
        ("schedule", "in_a_query", "in_a_mutation"),
        ("write", "in_an_action", "in_a_mutation"),
        ("fetch", "in_a_query", "in_an_action"),
        ("fetch", "in_a_mutation", "in_an_action"),
    ],
)
async def test_a_context_has_no_more_than_its_kind(scene: Scene, name: str, where: str, belongs: str) -> None:
    refused = await scene.denied(where, name=name)
    await scene.unharmed()
    if name == "fetch":  # the canary: from where it belongs, it is looked for in the network
        assert await scene.denied(belongs, name=name) != refused
    else:
        assert await scene.thief(belongs, name=name)


OWN: dict[str, Any] = {
    "read_by_id": lambda own: {"id": own["document"]},
    "change_by_id": lambda own: {"id": own["document"]},
    "replace_by_id": lambda own: {"id": own["document"]},
    "delete_by_id": lambda own: {"id": own["document"]},
    "scan_by_any_name": lambda own: {"table": "secrets"},
    "go_on_with_a_cursor": lambda own: {"cursor": own["cursor"]},
    "call_by_name": lambda own: {"name": "looted"},
    "change_by_name": lambda own: {"name": "loot_something"},
    "call_by_target": lambda own: {"name": "looted", "mount": "", "handle": ""},
    "schedule_by_name": lambda own: {"name": "loot_something"},
    "look_at_a_job": lambda own: {"id": own["job"]},
    "cancel_a_job": lambda own: {"id": own["job"]},
}


@pytest.mark.parametrize("name", OWN)
async def test_aimed_at_what_is_its_own_each_of_them_wins(scene: Scene, name: str) -> None:
    """The canary of all that reaches for others."""
    own = {
        "document": await scene.thief("keep_a_secret"),
        "cursor": await scene.thief("page_of_secrets"),
        "job": await scene.thief("schedule_by_name", name="loot_something"),
    }
    answer = await scene.thief(name, **OWN[name](own))
    if name in ("read_by_id", "scan_by_any_name"):
        assert "kept" in str(answer)
    elif name == "look_at_a_job":
        assert answer is not None
    elif name in ("change_by_id", "replace_by_id"):
        assert await scene.thief("scan_a_table_of_the_same_name") == ["stolen"]
    elif name == "delete_by_id":
        assert await scene.thief("scan_a_table_of_the_same_name") == []


async def test_what_a_component_says_that_it_is_counts_nowhere(scene: Scene) -> None:
    caller = Caller(admin=True, source="test", request_id="r")
    answer = await scene.backend.dispatcher.call("mutation", "claim_to_be", {"path": "vault"}, caller=caller, component_path="thief")
    assert answer.value == "vault"  # the canary: in its own process it is believed
    assert answer.log_lines == ["[INFO] thief: as another"]
    assert await scene.thief("scan_a_table_of_the_same_name") == ["as another"]
    await scene.unharmed()
