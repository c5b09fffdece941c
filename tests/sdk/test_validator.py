"""Values checked and kept as text, where no function is called."""

from __future__ import annotations

import enum
from typing import Annotated, Any, NotRequired, TypedDict

import pytest

from interlock import ArgumentError, Function, Id, Int64, MutationCtx, Page, ReturnError, Validator, ValueRefused, from_text, to_text


class Colour(enum.Enum):
    RED = "red"


class Order(TypedDict):
    count: int
    colour: NotRequired[Colour]


@pytest.mark.parametrize("value", [None, True, 7, 1.5, -0.0, "ä", b"\xff", Int64(2**62), [1, [2]], {"a": {"b": []}}, float("inf")])
def test_text_gives_back_the_value(value: Any) -> None:
    again = from_text(to_text(value))
    assert again == value
    assert type(again) is type(value)


def test_equal_values_have_equal_text() -> None:
    assert to_text({"a": 1, "b": 2.0}) == to_text({"b": 2, "a": 1.0})
    assert from_text(to_text(Page([Colour.RED], True, "end")))["page"] == ["red"]
    with pytest.raises(ValueRefused):
        to_text(object())


def test_a_validator_checks_as_a_signature_would() -> None:
    assert Validator(Order).check({"count": 2.0}) == {"count": 2}
    assert Validator(Annotated[str, Id("orders")] | None).check("any string") == "any string"
    assert Validator(Colour).check("red") is Colour.RED
    with pytest.raises(ValueRefused, match="count: must be int"):
        Validator(Order).check({"count": "two"})
    with pytest.raises(TypeError):
        Validator(set[int])


def test_a_function_checks_arguments_and_results_without_being_called() -> None:
    async def take(ctx: MutationCtx, order: Annotated[str, Id("orders")], colour: Colour, count: int = 1, **rest: Any) -> list[int]:
        return [count]

    function: Function[..., Any] = Function(take, "mutation")
    assert function.check_arguments({"order": "o", "colour": "red"}) == {"order": "o", "colour": Colour.RED}
    assert function.check_arguments({"order": "o", "colour": Colour.RED, "more": (1, 2)})["more"] == [1, 2]
    with pytest.raises(ArgumentError, match="take: argument order must be str"):
        function.check_arguments({"order": 1, "colour": "red"})
    assert function.check_result([1.0]) == [1]
    with pytest.raises(ReturnError, match="must be"):
        function.check_result("no")

    async def strict(ctx: MutationCtx, order: str) -> None: ...

    with pytest.raises(ArgumentError):
        Function(strict, "mutation").check_arguments({"order": "o", "other": 1})
