"""The two halves of a component's package, told apart by reading their imports: nothing is imported.

The component half is what its entry point needs; the face is what `__init__.py` needs. They may share modules, but neither may
need the other: behind the boundary there is no face, and the app must never import component code by way of it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path


@dataclass(frozen=True, slots=True)
class FaceImport:
    """An app's import of a component's package. What it names runs with the rights of the app."""

    package: str
    distribution: str
    file: Path
    line: int


@dataclass(frozen=True, slots=True)
class HalvesMixed:
    """An import by which one half needs the other."""

    file: Path
    line: int
    problem: str
    instead: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.problem}. {self.instead}"


def face_imports(files: Iterable[Path], distributions: dict[str, str]) -> list[FaceImport]:
    """Which packages of `distributions` (package → distribution) the files of an app import, in the order of files and lines."""
    return [
        FaceImport(package, distributions[package], file, line)
        for file in files
        for line, module, _ in sorted(_imports(file, ""))
        if (package := module.partition(".")[0]) in distributions
    ]


def package_folder(package: str) -> Path | None:
    """Where a top-level package lies, without importing it."""
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin).parent if spec is not None and spec.origin and Path(spec.origin).name == "__init__.py" else None


def mixed_halves(folder: Path, entry_module: str) -> list[HalvesMixed]:
    """Where the component half needs the face, or the face the component half."""
    package = Package(folder, entry_module.partition(".")[0])
    component, face = package.needs(entry_module), package.needs(package.name)
    found = []
    if package.name in component:
        file, line = component[package.name]
        found.append(
            HalvesMixed(
                file,
                line,
                f"the component half imports its own face, {package.name}",
                "Behind the boundary that package is empty: import the module that has the name.",
            )
        )
    if entry_module in face and entry_module != package.name:
        file, line = face[entry_module]
        found.append(
            HalvesMixed(
                file,
                line,
                f"the face imports the component half, {entry_module}",
                "An app that imports the face would run it unconfined: reach it by components.<mount>.<function>.",
            )
        )
    return found


def component_files(folder: Path, entry_module: str) -> list[Path]:
    """The files of the component half."""
    package = Package(folder, entry_module.partition(".")[0])
    return sorted(file for module in {entry_module, *package.needs(entry_module)} if (file := package.file_of(module)) is not None)


class Package:
    """One package on disk, by its modules' names."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name

    def file_of(self, module: str) -> Path | None:
        path = self.folder.joinpath(*module.split(".")[1:])
        return next(
            (
                file
                for file in (path.with_suffix(".py") if module != self.name else path / "__init__.py", path / "__init__.py")
                if file.is_file()
            ),
            None,
        )

    def needs(self, module: str) -> dict[str, tuple[Path, int]]:
        """The modules of this package that importing `module` comes to import, and where it is first written."""
        needed: dict[str, tuple[Path, int]] = {}
        waiting = [module]
        while waiting:
            file = self.file_of(current := waiting.pop())
            if file is None:
                continue
            holder = current if file.name == "__init__.py" else current.rpartition(".")[0]
            for line, imported, names in sorted(_imports(file, holder)):
                if imported.partition(".")[0] != self.name:
                    continue
                for found in self._modules(imported, names):
                    if found not in needed and found != module:
                        needed[found] = (file, line)
                        waiting.append(found)
        return needed

    def _modules(self, imported: str, names: tuple[str, ...]) -> Iterator[str]:
        """`from package import a, b`: its modules a and b, and the package itself where one of them is no module."""
        below = [f"{imported}.{name}" for name in names if self.file_of(f"{imported}.{name}") is not None]
        yield from below
        if len(below) < len(names) or not names:
            yield imported


def _imports(file: Path, holder: str) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """(line, module, names) of every import that runs, also inside functions; those for type checkers alone do not."""
    waiting: list[ast.AST] = [ast.parse(file.read_bytes(), filename=str(file))]
    while waiting:
        node = waiting.pop()
        match node:
            case ast.Import(names=names, lineno=line):
                yield from ((line, name.name, ()) for name in names)
            case ast.ImportFrom(module=module, names=names, level=level, lineno=line):
                base = holder.split(".")[: len(holder.split(".")) - level + 1] if level else []
                yield line, ".".join([*base, *([module] if module else [])]), tuple(name.name for name in names)
            case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"), orelse=otherwise):
                waiting += otherwise
            case _:
                waiting += ast.iter_child_nodes(node)
