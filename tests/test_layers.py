"""The order of the rooms: imports run one way, those inside functions and for type checkers too."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = ROOT / "core" / "interlock"

# From the top down: a room may import what stands below it, and nothing beside it.
ORDER = (
    "cli dashboard testing",
    "backend",
    "server",
    "scheduler",
    "functions",
    "mounting",
    "sandbox",
    "engine hooks",
    "storage",
    "values",
    "errors limits clock giving_way",
)
WITHOUT_SDK = {"engine", "storage", "values", "errors", "limits", "clock", "giving_way"}
SDK_MAY = {"values", "errors", "limits"}
FACE_MAY = {"sdk", "values", "errors", "limits", "backend"}


def rooms() -> set[str]:
    return {
        path.stem if path.suffix == ".py" else path.name
        for path in CORE.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    } - {"__init__"}


def allowed(room: str) -> set[str]:
    if room == "sdk":
        return SDK_MAY
    [level] = [at for at, names in enumerate(ORDER) if room in names.split()]
    below = {name for names in ORDER[level + 1 :] for name in names.split()}
    return below | (set() if room in WITHOUT_SDK else {"sdk"})


def imported_rooms(file: Path) -> Iterator[str]:
    """The rooms that a file of core imports, by any spelling. `from interlock import x` means the room x, or else the authors' face."""
    package = ["interlock", *file.relative_to(CORE).parent.parts]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=names):
                dotted = [name.name for name in names]
            case ast.ImportFrom(module=module, names=names, level=level):
                base = package[: len(package) - level + 1] if level else []
                start = ".".join([*base, *([module] if module else [])])
                dotted = [f"{start}.{name.name}" for name in names] if start == "interlock" else [start]
            case ast.Call(
                func=ast.Name(id="import_module") | ast.Attribute(attr="import_module"), args=[ast.Constant(value=str(name)), *_]
            ):
                dotted = [name]
            case _:
                continue
        for name in dotted:
            parts = name.split(".")
            if parts[0] == "interlock":
                room = parts[1] if len(parts) > 1 else ""
                yield room if room in rooms() | {"backend"} else "the face of interlock"


@pytest.mark.parametrize("room", sorted(rooms()))
def test_a_room_imports_only_rooms_below_it(room: str) -> None:
    home = CORE / f"{room}.py"
    files = [home] if home.is_file() else sorted((CORE / room).rglob("*.py"))
    may = {room, *allowed(room)}
    strays = [f"{file.relative_to(ROOT)} imports {found}" for file in files for found in imported_rooms(file) if found not in may]
    assert strays == []


def test_the_face_imports_only_what_authors_write_with() -> None:
    assert set(imported_rooms(CORE / "__init__.py")) <= FACE_MAY


def test_plugins_import_what_foreign_ones_may_and_nothing_else() -> None:
    public = {"", "interlock", "interlock.testing"}
    strays = []
    for file in (ROOT / "plugins").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else [name.name for name in node.names]
                if isinstance(node, ast.Import)
                else []
            )
            strays += [
                f"{file.relative_to(ROOT)} imports {name}" for name in names if name.partition(".")[0] == "interlock" and name not in public
            ]
    assert strays == []


def test_no_room_is_named_like_a_public_name() -> None:
    import interlock

    assert rooms() & set(interlock.__all__) == set()


def test_importing_interlock_stays_light() -> None:
    heavy = "pydantic pydantic_core sqlite3 aiosqlite pluggy starlette uvicorn httpx typer rich structlog watchfiles"
    program = f"import interlock, sys; print(*(set('{heavy}'.split()) & sys.modules.keys()))"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == []
