"""What the decorators make of Python functions."""

from __future__ import annotations

import enum
import functools
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired, TypedDict

import pydantic
import pytest

from interlock import (
    ActionCtx,
    ArgumentError,
    Component,
    FunctionNotFound,
    Id,
    MountError,
    MutationCtx,
    Page,
    PaginationOptions,
    QueryCtx,
    action,
    mutation,
    query,
    reference,
    trigger,
)
from interlock.sdk.conversion import lower
from interlock.sdk.declarations import FunctionDeclaration
from interlock.sdk.registry import made_by

from .fake_host import FakeHost

if TYPE_CHECKING:
    from decimal import Decimal

GameId = Annotated[str, Id("games")]


class Point(pydantic.BaseModel):
    x: int
    y: int = pydantic.Field(default=0, ge=0)


class Color(enum.Enum):
    RED = "red"


class Row(TypedDict):
    name: str
    note: NotRequired[str]


@mutation
async def submit(ctx: MutationCtx, game: GameId, word: str | None, score: float = 1.5, **rest: Any) -> Row:
    """Record a guess."""
    return {"name": word or str(rest)}


def test_annotations_are_the_validator() -> None:
    declared = submit.declaration()
    assert declared == FunctionDeclaration(
        name="submit",
        kind="mutation",
        internal=False,
        args={
            "type": "object",
            "value": {
                "game": {"fieldType": {"type": "id", "tableName": "games"}, "optional": False},
                "word": {"fieldType": {"type": "union", "value": [{"type": "string"}, {"type": "null"}]}, "optional": False},
                "score": {"fieldType": {"type": "number"}, "optional": True},
            },
        },
        returns={
            "type": "object",
            "value": {
                "name": {"fieldType": {"type": "string"}, "optional": False},
                "note": {"fieldType": {"type": "string"}, "optional": True},
            },
        },
        rest=True,
        doc="Record a guess.",
        plain=False,
    )
    assert submit.declaration() is declared
    assert FunctionDeclaration.from_json(declared.to_json()) == declared


def test_no_annotation_takes_and_gives_anything() -> None:
    @query
    def bare(ctx, value, other=None):  # type: ignore[no-untyped-def]
        return value

    declared = bare.declaration()
    assert declared.args["value"]["value"] == {"fieldType": {"type": "any"}, "optional": False}
    assert declared.args["value"]["other"] == {"fieldType": {"type": "any"}, "optional": True}
    assert declared.returns == {"type": "any"}
    assert declared.plain


def test_annotations_in_quotes_may_name_what_the_enclosing_function_has() -> None:
    local = Literal["a", "b"]

    @query
    async def choose(ctx: QueryCtx, which: local) -> local:
        return which

    assert [member["value"] for member in choose.declaration().returns["value"]] == ["a", "b"]


def test_a_context_that_is_imported_for_type_checkers_alone_is_fine_and_an_argument_is_not() -> None:
    @query
    async def fine(ctx: NotImported, n: int) -> int:  # type: ignore[name-defined]  # noqa: F821
        return n

    @query
    async def bad(ctx: QueryCtx, n: Decimal) -> int:
        return 1

    assert fine.declaration().returns == {"type": "number", "integer": True}
    with pytest.raises(MountError, match=r'test_functions.py:\d+: bad: the annotation of its argument "n".*not defined'):
        bad.declaration()


def test_an_annotation_that_is_no_type_of_a_value_is_refused_with_its_place() -> None:
    @query
    async def bad(ctx: QueryCtx, n: set[int]) -> int:
        return 1

    @query
    async def worse(ctx: QueryCtx) -> object | QueryCtx:
        return 1

    with pytest.raises(MountError, match=r'test_functions.py:\d+: bad: argument "n".*set'):
        bad.declaration()
    with pytest.raises(MountError, match="worse: result"):
        worse.declaration()


def test_a_signature_that_callers_could_not_use_is_refused() -> None:
    def nothing() -> None: ...
    def forgotten(name: str) -> None: ...
    def of_many(names: list[str]) -> None: ...
    def star(ctx: QueryCtx, *args: int) -> None: ...
    def positional(ctx: QueryCtx, a: int, /) -> None: ...
    def keyword(*, ctx: QueryCtx) -> None: ...
    def wrong_context(ctx: MutationCtx) -> None: ...
    def foreign(ctx: QueryCtx, é: int) -> None: ...
    def generator(ctx: QueryCtx) -> Any:
        yield 1

    async def async_generator(ctx: QueryCtx) -> Any:
        yield 1

    for handler, said in (
        (nothing, "takes no context"),
        (forgotten, "takes no context"),
        (of_many, "takes no context"),
        (star, r"takes \*args"),
        (positional, "positional-only"),
        (keyword, "takes no context"),
        (wrong_context, "annotated MutationCtx"),
        (foreign, "not ASCII"),
        (generator, "is a generator"),
        (async_generator, "is a generator"),
        (lambda ctx: None, "no name for a function"),
        (5, "no function"),
        (submit, "decorated twice"),
    ):
        with pytest.raises(MountError, match=said):
            query(handler)  # type: ignore[arg-type]
    with pytest.raises(MountError, match="annotated QueryCtx"):
        action(top)
    with pytest.raises(MountError, match="no name"):
        query(name="a b")(top)


async def top(ctx: QueryCtx, count: int = 10) -> list[int]:
    return list(range(count))


def test_what_is_taken_beyond_the_declared_arguments_is_anything() -> None:
    async def anything(ctx: QueryCtx, **rest: Any) -> None: ...
    async def bare(ctx: QueryCtx, **rest) -> None: ...  # type: ignore[no-untyped-def]
    async def numbers(ctx: QueryCtx, **rest: int) -> None: ...

    assert query(anything).declaration().rest
    assert query(bare).declaration().rest
    with pytest.raises(MountError, match=r"\*\*rest is annotated"):
        query(numbers).declaration()


async def test_called_directly_it_is_the_function_itself() -> None:
    host = FakeHost()
    assert await submit(MutationCtx(host), "g", None, more=1) == {"name": "{'more': 1}"}
    assert await query(top)(QueryCtx(host), count=2) == [0, 1]

    @query
    def plain(ctx: QueryCtx, n: int) -> int:
        return n + 1

    assert plain(QueryCtx(host), 1) == 2
    assert plain.is_plain
    assert not submit.is_plain
    assert submit.__name__ == "submit"
    assert submit.__doc__ == "Record a guess."


def test_options_of_the_decorators() -> None:
    hidden = query(internal=True, name="other")(top)
    assert (hidden.kind, hidden.internal, hidden.name) == ("query", True, "other")
    assert hidden.declaration().name == "other"
    assert (submit.internal, submit.name) == (False, None)


def test_partials_and_callable_objects_may_be_decorated() -> None:
    class Runner:
        __name__ = "runner"

        async def __call__(self, ctx: ActionCtx, n: int) -> int:
            return n

        async def method(self, ctx: ActionCtx, n: int) -> int:
            return n

    runner = action(Runner())
    partial = action(name="partial")(functools.partial(Runner().method, n=1))
    method = action(Runner().method)
    for function in (runner, partial, method):
        assert not function.is_plain
        assert function.declaration().args["value"]["n"]["fieldType"] == {"type": "number", "integer": True}


def test_functions_and_triggers_belong_to_the_module_that_was_being_loaded() -> None:
    import types

    helper = types.ModuleType("helper")
    exec(
        "from interlock import MutationCtx, mutation, trigger\n"
        "def make(name):\n"
        "    @mutation(name=name)\n"
        "    async def inner(ctx: MutationCtx) -> None: ...\n"
        "    trigger('t')(inner.handler)\n"
        "    return inner\n",
        helper.__dict__,
    )
    module = types.ModuleType("pkg.jobs")
    module.__dict__["make"] = helper.make
    exec("first = make('one')\nsecond = make(None)", module.__dict__)
    assert [function.module for function in made_by(module).functions] == ["pkg.jobs", "pkg.jobs"]
    assert made_by(module).functions[0] is module.first
    assert [table for table, _ in made_by(module).triggers] == ["t", "t"]
    assert made_by(helper).functions == []

    at_run_time = helper.make("late")
    assert at_run_time not in made_by(module).functions


def test_a_trigger_gives_its_callable_back() -> None:
    async def on_change(ctx: MutationCtx, change: Any) -> None: ...

    assert trigger("guesses")(on_change) is on_change
    with pytest.raises(MountError, match="no table name"):
        trigger("_jobs")(on_change)
    with pytest.raises(MountError, match="cannot be called"):
        trigger("guesses")(5)  # type: ignore[type-var]


def test_a_function_without_a_module_is_no_target_yet() -> None:
    function = query(top)
    with pytest.raises(FunctionNotFound, match=r"test_functions.py:\d+ and belongs to no module"):
        _ = function.target
    function.public_name = "guesses:top"
    assert function.target.name == "guesses:top"
    assert function.declaration().name == "guesses:top"


def test_parameters_that_are_annotated_with_a_class_get_instances() -> None:
    @mutation
    async def draw(
        ctx: MutationCtx,
        opts: PaginationOptions,
        points: list[Point],
        color: Color,
        maybe: Point | None = None,
        n: int = 0,
    ) -> Page[Point]:
        raise AssertionError

    arguments = draw.arguments({"opts": {"numItems": 3.0, "cursor": None}, "points": [{"x": 1}], "color": "red", "maybe": None, "n": 1})
    assert arguments == {"opts": PaginationOptions(3), "points": [Point(x=1)], "color": Color.RED, "maybe": None, "n": 1}
    with pytest.raises(ArgumentError) as refused:
        draw.arguments({"points": [{"x": 1}, {"x": 1, "y": -1}]})
    assert str(refused.value) == "draw: argument points[1].y must be greater than or equal to 0, got -1."
    assert draw.declaration().args["value"]["color"]["fieldType"] == {"type": "literal", "value": "red"}

    given = {"game": "g"}
    assert submit.arguments(given) is given


def test_results_become_plain_values() -> None:
    @query
    async def pages(ctx: QueryCtx) -> Page[Point]:
        raise AssertionError

    @query
    async def anything(ctx: QueryCtx) -> Any:
        raise AssertionError

    wire = {"page": [{"x": 1, "y": 0}], "isDone": True, "continueCursor": "c", "splitCursor": None, "pageStatus": None}
    one = Page([Point(x=1)], True, "c")
    assert pages.result(one) == wire
    assert anything.result(one) == wire
    assert anything.result({"page": one, "color": Color.RED}) == {"page": wire, "color": "red"}
    assert anything.result(Point(x=1)) == {"x": 1, "y": 0}
    untouched: list[Any] = [None, 5, "x", [1], {"a": [1]}, [{"a": [{}]}]]
    for value in untouched:
        assert anything.result(value) is value
        assert lower(value) is value
    assert lower({"a": [1, (Color.RED,)]}) == {"a": [1, ["red"]]}


def test_functions_compare_by_name_once_they_have_one() -> None:
    one, two = query(top), query(top)
    assert one == one
    assert one != two
    kept = {one: 1}
    one.public_name = two.public_name = "m:top"
    assert one == two == reference("m:top") == one.options(stale=True)
    assert kept[two] == kept[reference("m:top")] == 1  # type: ignore[index]

    component = Component("tally")
    own = component.query(top)
    other = query(top)
    other.public_name = "top"
    assert own != other


def test_functions_of_a_component_are_known_by_their_names() -> None:
    component = Component("tally")
    assert component.mutation(submit.handler) is component.functions["submit"]
    named = component.query(name="best", internal=True)(top)
    assert component.functions["best"] is named
    assert named.target.name == "best"
    assert named.component is component
    with pytest.raises(MountError, match=r'"tally" has two functions named best; the other is at test_functions.py:\d+'):
        component.query(name="best")(top)
