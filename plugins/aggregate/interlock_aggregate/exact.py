"""Sums that are exact, of integers and of fractions: taking a number away again leaves what was there before.

Every float is a fraction whose denominator is a power of two, so a sum of floats is one as well. A sum is kept as a plain
number if one holds it, and otherwise as a text: the numerator in hexadecimal, `/`, and the exponent of the denominator.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from json import JSONDecoder
from json.scanner import make_scanner
from typing import Any

_decoder: Any = JSONDecoder()
_scan = make_scanner(_decoder)  # half the time of `loads`, for a text that is known to be whole

EXACT = 2**53  # up to here every whole number is a float too

Sum = int | float | str


def add(a: Sum, b: Sum, sign: int = 1) -> Sum:
    """`a + b`, or with `sign` -1 `a - b`."""
    if type(a) is int and type(b) is int:
        total = a + sign * b
        return total if -EXACT <= total <= EXACT else _kept(total, 0)
    return _total([_fraction(a), _fraction(b, sign)])


def total(sums: Sequence[Sum]) -> Sum:
    """The sum of many."""
    try:
        result = sum(sums)  # type: ignore[arg-type]
    except TypeError:  # a text among them
        pass
    else:
        # A float among the numbers makes the result a float.
        if type(result) is int:
            return result if -EXACT <= result <= EXACT else _kept(result, 0)
    return _total([_fraction(one) for one in sums])


def rounded(value: Sum) -> int | float:
    """The number next to a sum; beyond the largest float an infinity."""
    if type(value) is not str:
        return value  # type: ignore[return-value]
    numerator, exponent = _fraction(value)
    try:
        return numerator / (1 << exponent)
    except OverflowError:
        return float("inf") if numerator > 0 else float("-inf")


def write_sums(sums: list[Sum]) -> str:
    """Many of them as one text: the inside of a list in JSON, which both sides read and write at the speed of C."""
    return str(sums)[1:-1].replace("'", '"')


def read_sums(text: str) -> list[Sum]:
    """What `write_sums` wrote."""
    sums: list[Sum] = _scan(f"[{text}]", 0)[0]
    return sums


def read_counts(text: str) -> list[int]:
    """The same of counts, which are whole numbers."""
    counts: list[int] = _scan(f"[{text}]", 0)[0]
    return counts


def _fraction(value: Sum, sign: int = 1) -> tuple[int, int]:
    """Numerator and exponent of the denominator."""
    if type(value) is str:
        numerator, exponent = value.split("/")
        return sign * int(numerator, 16), int(exponent)
    top, bottom = value.as_integer_ratio()  # type: ignore[union-attr]
    return sign * top, bottom.bit_length() - 1


def _total(fractions: Iterable[tuple[int, int]]) -> Sum:
    top = largest = 0
    for numerator, exponent in fractions:
        if exponent > largest:
            top, largest = top << (exponent - largest), exponent
        top += numerator << (largest - exponent)
    return _kept(top, largest)


def _kept(numerator: int, exponent: int) -> Sum:
    """The one way to keep this value."""
    if numerator == 0:
        return 0
    twos = min((numerator & -numerator).bit_length() - 1, exponent)
    numerator, exponent = numerator >> twos, exponent - twos
    if exponent == 0 and -EXACT <= numerator <= EXACT:
        return numerator
    try:
        number = numerator / (1 << exponent)
    except OverflowError:
        return f"{numerator:x}/{exponent}"
    return number if number.as_integer_ratio() == (numerator, 1 << exponent) else f"{numerator:x}/{exponent}"
