"""The cases of engine.md section 10 are all here."""

from __future__ import annotations

import re
from pathlib import Path


def test_each_of_the_hundred_cases_is_one_test() -> None:
    files = sorted(Path(__file__).parent.glob("test_*.py"))
    numbers = [int(number) for file in files for number in re.findall(r"^(?:async )?def test_(\d{3})_", file.read_text(), re.MULTILINE)]
    assert sorted(numbers) == list(range(1, 101))
