"""What is no value crosses as a description, an error as what is told of it: what the host makes of either is little."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.sandbox.attacks.scene import Scene
from tests.sandbox.attacks.thief.component import DESCRIBED, described, nested_keys

from interlock.sandbox import failures, strange
from interlock.sandbox.confinement import available
from interlock.sandbox.failures import make
from interlock.sandbox.frames import decode

pytestmark = pytest.mark.skipif(bool(available().missing), reason=f"not here: {available().missing}")
UNBOUNDED = 1 << 40
COLLIDING = [described("int", f"{(number + 16) * (2**61 - 1):x}") for number in range(2_000)]
"""Numbers that have all the same hash."""


def read(told: str) -> Any:
    return decode(f'["ret",1,0,{told},[]]'.encode())[3]


def many(told: str, count: int) -> str:
    return f"[{','.join([told] * count)}]"


@pytest.mark.parametrize("is_bounded", [True, False])
def test_few_of_many_objects_get_a_class_of_their_own(monkeypatch: pytest.MonkeyPatch, is_bounded: bool) -> None:
    """And where nobody counts them, each: the canary."""
    if not is_bounded:
        monkeypatch.setattr(strange, "_MADE_MAX", UNBOUNDED)
    made = read(many(described("object", "Thing", "<thing>"), 5_000))
    assert [repr(one) for one in made[:2]] == ["<thing>", "<thing>"]
    assert [type(one).__name__ for one in made[:2]] == ["Thing", "Thing"]
    assert len({type(one) for one in made}) == (101 if is_bounded else 5_000)


@pytest.mark.parametrize("is_bounded", [True, False])
def test_what_is_too_deep_is_made_once(monkeypatch: pytest.MonkeyPatch, is_bounded: bool) -> None:
    """And where it is made for each, it takes a thousand times what it is told in: the canary."""
    if not is_bounded:
        monkeypatch.setattr(strange, "_DEEP", strange._deep())
        assert strange._deep() is not strange._deep()
        assert str(strange._deep()).count("[") > 200
    made = read(many(described("deep"), 50))
    assert len({id(one) for one in made}) == 1


@pytest.mark.parametrize("is_bounded", [True, False])
def test_a_key_within_a_key_within_a_key_does_not_grow(monkeypatch: pytest.MonkeyPatch, is_bounded: bool) -> None:
    """And where each is a text, and whole, it doubles with each: the canary."""
    if not is_bounded:
        monkeypatch.setattr(strange, "Strange", str)
        monkeypatch.setattr(strange, "_SHOWN_MAX", UNBOUNDED)
    [key] = read(nested_keys(14))
    assert (len(repr(key)) <= 500) is is_bounded
    assert len(nested_keys(14)) < 500


@pytest.mark.parametrize("is_bounded", [True, False])
@pytest.mark.parametrize("kind", ["set", "dict"])
def test_what_lies_in_a_set_has_not_one_hash(monkeypatch: pytest.MonkeyPatch, kind: str, is_bounded: bool) -> None:
    """And where it is put there as it is, it has, and each is compared with each: the canary."""
    if not is_bounded:
        numbers = [int(json.loads(told)["$strange"][1], 16) for told in COLLIDING]
        assert len({hash(number) for number in numbers}) == 1
        return
    items = COLLIDING if kind == "set" else [f"[{told},1]" for told in COLLIDING]
    made = read(f'{{"$strange":["{kind}",[{",".join(items)}]]}}')
    assert 0 < len(made) <= 1_000
    assert len({hash(one) for one in made}) == len(made)


@pytest.mark.canary("test_few_of_many_objects_get_a_class_of_their_own")
def test_of_many_sets_few_items_are_kept() -> None:
    made = read(many(f'{{"$strange":["set",[{",".join(map(str, range(400)))}]]}}', 5))
    assert [len(one) for one in made] == [400, 400, 200, 0, 0]


@pytest.mark.parametrize("is_bounded", [True, False])
def test_of_many_errors_in_one_few_are_made(monkeypatch: pytest.MonkeyPatch, is_bounded: bool) -> None:
    """And where nobody counts them, all: the canary."""
    if not is_bounded:
        monkeypatch.setattr(failures, "_ERRORS_MAX", UNBOUNDED)
    kinds: list[type] = []
    python = failures._python
    monkeypatch.setattr(failures, "_python", lambda *args: kinds.append(type(made := python(*args))) or made)
    told: list[Any] = ["python", "Mine", "KeyError", ["a"], "said", []]
    for _ in range(3):
        told = ["group", "several", [told] * 16, []]
    error = make(told, "thief/f", trusted=False)
    assert isinstance(error, ExceptionGroup)
    assert len(error.exceptions) == 16
    assert len(kinds) < 64 if is_bounded else len(kinds) == 16**3


@pytest.mark.canary("test_a_key_within_a_key_within_a_key_does_not_grow")
@pytest.mark.parametrize("name", DESCRIBED)
async def test_a_result_that_is_described_is_refused_as_none(scene: Scene, name: str) -> None:
    assert (await scene.denied("describe", name=name)).startswith("ReturnError: thief/describe: ")
    await scene.unharmed()
