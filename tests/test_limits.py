import pytest

from interlock import Limits


@pytest.mark.parametrize(
    "name, value",
    [
        ("deadline", -1),
        ("deadline", 0),
        ("cpu", float("nan")),
        ("cpu", True),
        ("cpu", "x"),
        ("memory", 0),
        ("documents_read", -1),
        ("documents_read", 1.5),
        ("logs", float("inf")),
    ],
)
def test_a_limit_that_is_no_limit_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"Limits\({name}="):
        Limits(**{name: value})  # type: ignore[arg-type]


def test_nothing_may_be_allowed() -> None:
    assert Limits(documents_written=0, cpu=0.5, deadline=2).documents_written == 0
