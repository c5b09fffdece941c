import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.errors import ArgumentError, FunctionNotFound
from interlock.mounting.names import ArgumentNames, FunctionNames, camel, canonical, clashing

snake = st.from_regex(r"[a-z]{1,4}(_[a-z0-9]{1,4}){0,3}", fullmatch=True)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("guesses:submit", "guesses:submit"),
        ("guesses.js:submit", "guesses:submit"),
        ("sub/mod:run", "sub/mod:run"),
        ("sub/mod.js:run", "sub/mod:run"),
        ("guesses", "guesses:default"),
        ("guesses.js", "guesses:default"),
        ("guesses:default", "guesses:default"),
    ],
)
def test_every_accepted_spelling_of_a_path_is_one_name(written: str, meant: str) -> None:
    assert canonical(written) == meant


@pytest.mark.parametrize(
    "written",
    [
        *("", ":", "guesses:", ":submit", "guesses:1st", "guesses:___", "guesses:sub mit", "guesses:submit\n", "a:b:c"),
        *("/guesses:submit", "../guesses:submit", "a//b:f", "guesses.py:submit", "gu esses:f", "gues\u017fes:submit"),
        *("g" * 65 + ":f", "g:" + "f" * 65),
    ],
)
def test_what_can_be_no_path_is_a_function_that_is_not_found(written: str) -> None:
    with pytest.raises(FunctionNotFound):
        canonical(written)


def test_camel_case_reaches_the_snake_case_function() -> None:
    names = FunctionNames(["guesses:submit_many", "my_games:list_all", "guesses:top"])
    assert names.find("guesses:submitMany") == "guesses:submit_many"
    assert names.find("guesses.js:submitMany") == "guesses:submit_many"
    assert names.find("my_games:listAll") == names.find("myGames:listAll") == names.find("myGames:list_all") == "my_games:list_all"
    assert names.find("guesses:top") == "guesses:top"
    assert names.find("guesses:Top") is None
    assert names.find("guesses:submit_Many") is None
    assert names.find("a b") is None


def test_a_component_has_plain_names() -> None:
    names = FunctionNames(["add", "count_all"])
    assert (names.find("add"), names.find("countAll"), names.find("add:default")) == ("add", "count_all", None)


def test_two_names_with_one_camel_case_spelling_clash() -> None:
    assert clashing(["a:run_all", "a:other", "a:runAll"]) == ("a:runAll", "a:run_all")
    assert clashing(["a:run_all", "b:runAll"]) is None


@given(st.sets(snake, max_size=6))
def test_every_declared_name_is_found_by_both_spellings_unless_two_clash(names: set[str]) -> None:
    declared = [f"m:{name}" for name in names]
    if clashing(declared):
        return
    index = FunctionNames(declared)
    for name in declared:
        assert index.find(name) == index.find(camel(name)) == name


def test_arguments_are_renamed_and_rest_and_values_are_not() -> None:
    names = ArgumentNames("games:page", ["pagination_opts", "game"])
    value = {"numItems": 3, "some_key": 1, "otherKey": 2}
    assert names.rename({"paginationOpts": value, "game": "g", "freeForm": 1}) == {"pagination_opts": value, "game": "g", "freeForm": 1}


def test_arguments_without_a_foreign_spelling_are_passed_on_untouched() -> None:
    arguments = {"pagination_opts": 1}
    assert ArgumentNames("f", ["pagination_opts"]).rename(arguments) is arguments


def test_both_spellings_of_an_argument_at_once_are_refused() -> None:
    with pytest.raises(ArgumentError, match="pagination_opts"):
        ArgumentNames("games:page", ["pagination_opts"]).rename({"paginationOpts": 1, "pagination_opts": 2})
