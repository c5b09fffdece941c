"""Every benchmark runs. What it measures is for `make bench` and a quiet machine."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
NAMES = [path.stem for path in sorted((ROOT / "bench").glob("*.py")) if path.stem not in {"__init__", "__main__", "measure"}]


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_runs(name: str) -> None:
    answer = subprocess.run([sys.executable, "-m", "bench", name, "--seconds", "0.05"], cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert len(answer.stdout.splitlines()) > 1


def test_a_name_that_is_none_is_told_with_those_that_are() -> None:
    answer = subprocess.run([sys.executable, "-m", "bench", "nothing"], cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 2
    assert "increments" in answer.stderr
