"""`import interlock`: what it promises, and how little it loads."""

from __future__ import annotations

import json
import subprocess
import sys
from types import ModuleType

import pytest

import interlock
from interlock import Identity


def test_all_is_every_public_name() -> None:
    public = {name for name, value in vars(interlock).items() if not name.startswith("_") and not isinstance(value, ModuleType)}
    promised = set(interlock.__all__)
    late = {"Backend", "CronExpression", "Interval"}
    assert promised - late == public - {"Any", "TYPE_CHECKING", *late}
    assert interlock.__all__ == sorted(interlock.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    assert dir(interlock) == sorted(interlock.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = interlock.Nothing


def test_importing_loads_nothing_heavy() -> None:
    code = (
        "import sys, json; before = set(sys.modules); import interlock\n"
        "from interlock import App, Schema, Table, query, QueryCtx\n"
        "schema = Schema(t=Table({'a': str}).index('by_a', 'a'))\n"
        "@query\n"
        "async def top(ctx: QueryCtx, n: int = 1) -> list[int]: return []\n"
        "top.declaration()\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
    tops = {name.partition(".")[0] for name in loaded}
    heavy = {
        "pydantic",
        "pydantic_core",
        "sqlite3",
        "pluggy",
        "starlette",
        "httpx",
        "asyncio",
        "uvicorn",
        "jwt",
        "croniter",
        "websockets",
        "typer",
    }
    assert tops & heavy == set()
    rooms = {name.split(".")[1] for name in loaded if name.startswith("interlock.")}
    assert rooms == {"errors", "limits", "values", "sdk"}


def test_an_identity_is_made_of_attributes_in_either_spelling() -> None:
    made = Identity.of({"subject": "ada", "issuer": "https://x", "given_name": "Ada", "phoneNumber": "1", "birthday": "x", "role": "admin"})
    assert dict(made) == {
        "subject": "ada",
        "issuer": "https://x",
        "givenName": "Ada",
        "phoneNumber": "1",
        "birthday": "x",
        "role": "admin",
        "tokenIdentifier": "https://x|ada",
    }
    assert Identity.of({"token_identifier": "https://x|ada"}).subject == "ada"
    assert made == dict(made)
    assert repr(made) == "Identity(https://x|ada)"
    with pytest.raises(TypeError, match="issuer and subject"):
        Identity.of({"subject": "ada"})
