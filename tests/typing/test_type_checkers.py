"""The contract's examples, in the folders beside, as mypy (strict) and pyright (standard) see them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TOOLS = {
    "mypy": ["-m", "mypy", "--strict", "--python-version", "3.11", "-p", "myapp", "-p", "interlock_tally"],
    "pyright": ["-m", "pyright", "--project", str(HERE / "pyrightconfig.json"), "--pythonpath", sys.executable],
}


@pytest.mark.parametrize("tool", TOOLS)
def test_the_examples_of_the_contract_type_check(tool: str, mypy_cache: Path) -> None:
    environment = {**os.environ, "MYPYPATH": f"{HERE}{os.pathsep}{HERE / 'stubs'}", "MYPY_CACHE_DIR": str(mypy_cache)}
    run = subprocess.run([sys.executable, *TOOLS[tool]], cwd=HERE, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
