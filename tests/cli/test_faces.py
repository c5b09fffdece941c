from pathlib import Path

import pytest

from interlock.cli.faces import component_files, face_imports, mixed_halves, package_folder


@pytest.fixture
def tally(tmp_path: Path) -> Path:
    """A package whose halves are apart: they share `names.py`."""
    folder = tmp_path / "interlock_tally"
    folder.mkdir()
    (folder / "__init__.py").write_text("from .client import Tally\n")
    (folder / "client.py").write_text("from interlock_tally.names import TOTAL\nfrom interlock import MutationCtx\nclass Tally: ...\n")
    (folder / "component.py").write_text("from . import names\nfrom .rows.add import add\n")
    (folder / "names.py").write_text("TOTAL = 'total'\n")
    (folder / "rows").mkdir()
    (folder / "rows/__init__.py").touch()
    (folder / "rows/add.py").write_text("from ..names import TOTAL\ndef add():\n    from interlock_tally.late import x\n")
    (folder / "late.py").write_text("x = 1\n")
    return folder


ENTRY = "interlock_tally.component"


def problems(folder: Path) -> list[tuple[str, int, str]]:
    return [(found.file.name, found.line, found.problem) for found in mixed_halves(folder, ENTRY)]


def test_halves_that_share_a_module_are_apart(tally: Path) -> None:
    assert problems(tally) == []


def test_the_component_half_is_what_its_entry_point_comes_to_import(tally: Path) -> None:
    names = [file.relative_to(tally).as_posix() for file in component_files(tally, ENTRY)]
    assert names == ["component.py", "late.py", "names.py", "rows/add.py"]


@pytest.mark.parametrize("line", ["from interlock_tally import Tally", "from . import Tally", "import interlock_tally"])
def test_a_component_half_that_needs_the_face_is_told_with_its_line(tally: Path, line: str) -> None:
    (tally / "late.py").write_text(f"x = 1\n{line}\n")
    assert problems(tally) == [("late.py", 2, "the component half imports its own face, interlock_tally")]


def test_a_face_that_imports_the_component_half_is_told_with_its_line(tally: Path) -> None:
    (tally / "client.py").write_text("class Tally:\n    def count(self):\n        from .component import component\n")
    assert problems(tally) == [("client.py", 3, "the face imports the component half, interlock_tally.component")]


def test_what_only_type_checkers_import_does_not_count(tally: Path) -> None:
    lines = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .component import component\nelse:\n    component = None\n"
    (tally / "client.py").write_text(lines)
    assert problems(tally) == []


def test_an_app_is_told_which_faces_it_imports_and_where(tmp_path: Path) -> None:
    votes, other = tmp_path / "votes.py", tmp_path / "other.py"
    votes.write_text("from interlock import query\nfrom interlock_tally import Tally\n")
    other.write_text("def late():\n    import interlock_tally.client\nimport interlock_elsewhere\n")
    found = face_imports([votes, other], {"interlock_tally": "interlock-tally"})
    assert [(one.file.name, one.line, one.distribution) for one in found] == [
        ("votes.py", 2, "interlock-tally"),
        ("other.py", 2, "interlock-tally"),
    ]


def test_looking_for_a_package_does_not_import_it(tally: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tally / "__init__.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(str(tally.parent))
    assert package_folder("interlock_tally") == tally
    assert package_folder("interlock_nowhere") is None
