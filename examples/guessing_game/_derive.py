"""Makes the small table of word vectors in `glove/` out of GloVe itself: `python _derive.py`, with the extra installed.

Run once; what it wrote is part of the repository. Taken are the commonest words of GloVe and those to be guessed, as directions: less
the mean of the commonest, at length one, a signed byte a number.
"""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

from vectors import FOLDER, PACKAGE, Glove

COMMONEST = 12_000  # of GloVe's 400,000
LONGEST = 16  # letters


def is_word(text: str) -> bool:
    return text.isascii() and text.isalpha() and 2 < len(text) <= LONGEST


def derive(folder: Path) -> None:
    numpy: Any = import_module("numpy")
    words, rows = Glove.read_package(PACKAGE)
    common = [place for place, word in enumerate(words) if is_word(word)][:COMMONEST]
    mean = numpy.round(rows[common].mean(axis=0), 5)
    targets = (FOLDER / "targets.txt").read_text(encoding="utf-8").split()
    places = sorted({*common, *(words.index(word) for word in targets)})
    directions = rows[places] - mean
    scaled = numpy.rint(directions / numpy.abs(directions).max(axis=1, keepdims=True) * 127).astype("int8")
    (folder / "words.txt").write_text("".join(f"{words[place]}\n" for place in places), encoding="utf-8")
    (folder / "rows.bin").write_bytes(scaled.tobytes())
    (folder / "mean.json").write_text(json.dumps([round(float(number), 5) for number in mean]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    derive(FOLDER)
