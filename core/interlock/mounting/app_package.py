"""An app's directory as a Python package of its own name: which files are modules of it, and importing them all.

Guarantees that one file is one module, however it is imported (`from .x`, `from myapp.x`), that a reload starts from the
sources as they are now, and that an import that fails leaves the interpreter as it was.
"""

from __future__ import annotations

import importlib
import keyword
import linecache
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from interlock.errors import MountError
from interlock.sdk.references import components
from interlock.values import is_identifier

GENERATED = "_generated.py"
"""The file of an app in which `interlock dev` writes its components, typed. Until it is there, importing it gives them untyped."""
_NOT_IMPORTED = frozenset({"conftest", "tests", "node_modules"})


@dataclass(frozen=True, slots=True)
class ModuleFile:
    """One module of an app: `name` as callers write it (`sub/mod`), `dotted` as Python does (`myapp.sub.mod`)."""

    path: Path
    name: str
    dotted: str


class AppPackage:
    """The directory of an app. Nothing is imported before `import_all`. `package` is its name, the directory's own unless given."""

    def __init__(self, directory: Path, *, package: str | None = None) -> None:
        self.directory = absolute(directory)
        self.name = package or self.directory.name
        self.warnings: list[str] = []
        self._check()
        self.files = sorted(self._files(self.directory, ()), key=lambda file: file.path.relative_to(self.directory).as_posix())
        self._loaded = {file.path.relative_to(self.directory).as_posix() for file in self.files}
        self._refuse_a_module_beside_a_folder_of_its_name()

    def import_all(self, *, reload: bool = False) -> list[tuple[ModuleFile, ModuleType]]:
        """Every module, in sorted order of path. What is imported already is used as it is, unless `reload`."""
        current: ModuleFile | None = None
        modules = []
        with undone_if_refused(self.name):
            if reload or not self._is_mine(_imported(self.name)):
                _forget(self.name)
                importlib.invalidate_caches()
                linecache.checkcache()
            try:
                with self._finder():
                    importlib.import_module(self.name)
                    for current in self.files:
                        modules.append((current, importlib.import_module(current.dotted)))
            except (Exception, SystemExit) as error:
                raise self._refusal(error, current) from error
        return modules

    def relative(self, path: str | Path) -> str | None:
        """`path` as it is written in errors, below the app's directory; None outside of it."""
        for folder in (self.directory, self.directory.resolve()):
            if (written := absolute(path)).is_relative_to(folder):
                return written.relative_to(folder).as_posix()
        return None

    def private_modules(self) -> list[tuple[str, ModuleType]]:
        """Modules of the app that the app itself imported and no caller can name (`_helpers.py`, `__init__.py`), with their files."""
        files = {
            self.relative(path): module
            for module in _imported(self.name).values()
            if (path := getattr(module, "__file__", None))  # an empty package and a placeholder have none
        }
        return sorted(
            (file, module)
            for file, module in files.items()
            if file is not None and file not in self._loaded and not any(map(_is_left_out, Path(file).parts))
        )

    def _check(self) -> None:
        where = str(self.directory)
        if not self.directory.exists():
            raise MountError(where, "there is no such directory.", f"Make an app there: interlock new {self.name}")
        if not self.directory.is_dir():
            raise MountError(where, "is a file, and an app is a directory.", f"Give the directory: {self.directory.parent}")
        if not any(self.directory.iterdir()):
            raise MountError(where, "is empty.", f"Make an app there: interlock new {self.name}")
        if not (self.directory / "app.py").is_file():
            raise MountError(where, "has no app.py, so it is no app.", "Write app.py: from interlock import App; app = App()")
        if not all(part.isidentifier() and not keyword.iskeyword(part) for part in self.name.split(".")):
            fitting = "".join(letter if letter.isalnum() else "_" for letter in self.name).strip("_") or "myapp"
            remedy = f"Rename the directory, for example to {fitting if fitting.isidentifier() else 'app_' + fitting}."
            raise MountError(where, f'is imported as a package, and "{self.name}" can be no package\'s name.', remedy)
        if self.name in sys.stdlib_module_names or self.name == "interlock":
            raise MountError(where, f'has the name of the Python module "{self.name}", which it would hide.', "Rename the directory.")

    def _files(self, folder: Path, parts: tuple[str, ...]) -> Iterator[ModuleFile]:
        for path in folder.iterdir():
            if path.name.startswith(".") or _is_left_out(path.name):
                continue
            if path.name == "__init__.py":
                # Of a sub-folder it is the module of the folder's name; the app's own is imported with the package.
                if parts:
                    yield ModuleFile(path, "/".join(parts), ".".join((self.name, *parts)))
            elif path.name.startswith("_"):
                continue
            elif path.is_dir():
                if is_identifier(path.name) and not (path / "pyvenv.cfg").is_file():
                    yield from self._files(path, (*parts, path.name))
            elif path.suffix == ".py":
                if is_identifier(path.stem) and not keyword.iskeyword(path.stem):
                    yield ModuleFile(path, "/".join((*parts, path.stem)), ".".join((self.name, *parts, path.stem)))
                else:
                    self.warnings.append(f'{self.relative(path)} is not imported: "{path.stem}" can be no module\'s name.')

    def _refuse_a_module_beside_a_folder_of_its_name(self) -> None:
        modules = {file.name for file in self.files if file.path.name != "__init__.py"}
        for file in self.files:
            folder = file.name if file.path.name == "__init__.py" else file.name.rpartition("/")[0]
            if folder in modules:
                problem = f"{folder}.py and the folder {folder}/ are one name to Python, so {self.relative(file.path)} cannot be imported."
                raise MountError(f"{folder}.py", problem, "Rename one of the two.")

    def _is_mine(self, imported: dict[str, ModuleType]) -> bool:
        """Whether what is imported under this name is this directory. Another app may be replaced; anything else is refused."""
        package = imported.get(self.name)
        if package is None:
            return True
        folders = [Path(folder).resolve() for folder in getattr(package, "__path__", ())]
        if self.directory.resolve() in folders:
            return True
        if not folders and package.__spec__ is None and not getattr(package, "__file__", None):
            # What pytest puts there for a test in the app's directory: an empty module that stands for the package.
            del sys.modules[self.name]
            return True
        if folders and all((folder / "app.py").is_file() or not folder.exists() for folder in folders):
            return False
        taken_by = getattr(package, "__file__", None) or ", ".join(map(str, folders)) or "Python itself"
        problem = f'is imported as "{self.name}", and another package of this name is in use: {taken_by}.'
        raise MountError(str(self.directory), problem, "Rename the directory.")

    @contextmanager
    def _finder(self) -> Iterator[None]:
        finder = _Finder(self.name, self.directory)
        sys.meta_path.insert(0, finder)
        try:
            yield
        finally:
            sys.meta_path.remove(finder)

    def _refusal(self, error: BaseException, importing: ModuleFile | None) -> MountError:
        """What stopped the import: the file and line in this directory, what it says, what to do."""
        if isinstance(error, MountError):
            return error
        start = importing.path if importing is not None else self.directory / "__init__.py"
        where, line = self.relative(start) or str(start), 0
        for frame in traceback.extract_tb(error.__traceback__):
            if (inside := self.relative(frame.filename)) is not None:
                where, line = inside, frame.lineno or 0
        problem = f"{type(error).__name__}: {error}"
        remedy = "Mend this line. Nothing was changed."
        if isinstance(error, SyntaxError):
            inside = self.relative(error.filename) if error.filename else None
            if inside is not None:
                where, line = inside, error.lineno or 0
                problem = f"{type(error).__name__}: {error.msg}"
                remedy = f"Mend this line: {(error.text or '').strip()}" if (error.text or "").strip() else remedy
        elif isinstance(error, ModuleNotFoundError) and error.name:
            missing = error.name
            if missing.startswith(f"{self.name}."):
                remedy = f"There is no {missing.removeprefix(self.name + '.').replace('.', '/')}.py in {self.directory}."
            else:
                remedy = _remedy_of_missing(missing.partition(".")[0].replace("_", "-"))
        elif isinstance(error, PermissionError) and not line:
            problem = "cannot be read (permission denied)."
            remedy = "Give this user the right to read it."
        elif isinstance(error, SystemExit):
            problem = "the module ends the process (SystemExit) when it is imported."
            remedy = 'Put what is meant for the command line below: if __name__ == "__main__":'
        return MountError(f"{where}:{line}" if line else where, problem, remedy)


def _remedy_of_missing(distribution: str) -> str:
    """What to do about a module that is not there. A process does not see what was installed `--editable` after its own start."""
    try:
        metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return f"Install the package that has it, for example: pip install {distribution}"
    return f"{distribution} is installed. If that was after this process had started, stop it and start it again."


def _is_left_out(name: str) -> bool:
    """A file or folder of tests, or of no Python at all."""
    return name.startswith("test_") or name.partition(".")[0] in _NOT_IMPORTED


def absolute(path: str | Path) -> Path:
    """The path as it is written, from the root: a directory behind a symbolic link keeps the name of the link."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path has nothing that leaves links alone and takes ".." out


@contextmanager
def undone_if_refused(package: str) -> Iterator[None]:
    """What is imported of `package` inside is forgotten again if the block raises, and what was imported before is back."""
    before = _imported(package)
    try:
        yield
    except BaseException:
        _forget(package)
        sys.modules.update(before)
        raise


def _imported(package: str) -> dict[str, ModuleType]:
    below = f"{package}."
    return {name: module for name, module in sys.modules.items() if name == package or name.startswith(below)}


def _forget(package: str) -> None:
    for name in _imported(package):
        del sys.modules[name]


class _Source(SourceFileLoader):
    """Compiles the file as it is now. A bytecode cache tells a change by size and whole seconds, and a reload is quicker than that."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


class _Finder:
    """Finds the package and its modules in its directory, wherever the directory lies."""

    def __init__(self, package: str, directory: Path) -> None:
        self._package, self._directory = package, directory

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name == self._package:
            init = self._directory / "__init__.py"
            loader = _Source(name, str(init)) if init.is_file() else None
            spec = ModuleSpec(name, loader, origin=str(init) if loader else None, is_package=True)
            spec.submodule_search_locations = [str(self._directory)]
            spec.has_location = loader is not None
            return spec
        if not name.startswith(f"{self._package}."):
            return None
        found = PathFinder.find_spec(name, path, target)
        if found is not None and type(found.loader) is SourceFileLoader:
            found.loader = _Source(name, found.loader.path)
            found.cached = None
        if found is None and name == f"{self._package}.{GENERATED.removesuffix('.py')}":
            return ModuleSpec(name, _Untyped())
        return found


class _Untyped(Loader):
    """Stands for the file of the typed components while nobody has written it: it can be written only when the app has been loaded."""

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["components"] = components
