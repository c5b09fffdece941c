"""`interlock check`: everything that a start would refuse, and what should not be in a query or mutation, without starting."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from interlock.cli.app_directory import CONFIG_FILE, Directory, find_app
from interlock.cli.console import AsJson, errors_reported, exit_of, print_error, print_json, say, warn
from interlock.cli.exits import Exit
from interlock.cli.faces import FaceImport, HalvesMixed, component_files, face_imports, mixed_halves, package_folder
from interlock.cli.nondeterminism import Finding, find_nondeterminism
from interlock.errors import InterlockError, MountError

if TYPE_CHECKING:
    from interlock.mounting import Instance, Plugin, Tree

COMPONENTS = "interlock.components"


def check(directory: Directory = None, as_json: AsJson = False) -> None:
    """Check an app or a component without starting it.

    Reports what a start would refuse, clocks, randomness, files and sockets in queries and mutations, and which components'
    faces the app imports: those run with its rights. Stored documents are not looked at; `interlock dev --once` does that.

    \b
    Examples:
      interlock check
      interlock check myapp --json
    """
    with errors_reported(as_json):
        package = _component_package(directory or Path.cwd())
        report = check_package(package) if package is not None else check_app(find_app(directory))
    if as_json:
        print_json(report.to_json())
    else:
        report.print()
    raise typer.Exit(report.exit)


@dataclass(slots=True)
class Report:
    """What a check found. `where` is the directory that was checked; paths are below it."""

    where: Path
    refused: InterlockError | None = None
    mixed: list[HalvesMixed] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    faces: list[FaceImport] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def exit(self) -> Exit:
        if self.refused is not None:
            return exit_of(self.refused)
        return Exit.FAILED if self.mixed or self.findings else Exit.OK

    def print(self) -> None:
        if self.refused is not None:
            print_error(self.refused)
        for found in (*self.mixed, *self.findings):
            typer.echo(str(found))
        for warning in self.warnings:
            warn(warning)
        for face in self.faces:
            say(f"{face.file}:{face.line}: imports the face of {face.distribution}, which runs with the rights of this app")
        count = len(self.mixed) + len(self.findings)
        if self.refused is None:
            say(f"{self.where.name}: {count} to mend" if count else f"{self.where.name} is fine")

    def to_json(self) -> dict[str, Any]:
        refused = None if self.refused is None else {"code": self.refused.code, "message": str(self.refused)}
        return {
            "refused": refused,
            "halves": [{"file": str(one.file), "line": one.line, "problem": one.problem, "instead": one.instead} for one in self.mixed],
            "nondeterminism": [
                {"file": str(one.file), "line": one.line, "function": one.function, "uses": one.uses, "instead": one.instead}
                for one in self.findings
            ],
            "faces": [
                {"package": one.package, "distribution": one.distribution, "file": str(one.file), "line": one.line} for one in self.faces
            ],
            "warnings": self.warnings,
        }


def check_app(app: Path) -> Report:
    """An app, and the halves of every package that it mounts."""
    from interlock.mounting import build_tree, discover

    report = Report(app)
    try:
        tree = build_tree(app)
    except InterlockError as error:
        report.refused = error
        return report
    report.warnings = list(tree.warnings)
    report.findings = nondeterminism_of(tree)
    installed = {plugin.module.partition(".")[0]: plugin for offers in discover().values() for plugin in offers}
    report.faces = face_imports(app_files(app), {package: plugin.distribution for package, plugin in installed.items()})
    for plugin in _mounted_plugins(tree.by_path.values()):
        folder = package_folder(plugin.module.partition(".")[0])
        if folder is not None:
            report.mixed += mixed_halves(folder, plugin.module)
    return report


def check_package(package: Path) -> Report:
    """The package of a component: its halves, its component half, and whether its component can be mounted."""
    from importlib import import_module

    from interlock.mounting import build_tree
    from interlock.sdk import Component

    report = Report(package)
    for name, value in _entry_points(package).items():
        module, _, attribute = value.partition(":")
        folder = package / module.partition(".")[0]
        if not folder.is_dir():
            folder = package / "src" / module.partition(".")[0]
        report.mixed += mixed_halves(folder, module)
        report.findings += _nondeterminism_in(component_files(folder, module))
        sys.path.insert(0, str(folder.parent))
        try:
            component = getattr(import_module(module), attribute, None)
            if not isinstance(component, Component):
                raise MountError(
                    "pyproject.toml",
                    f'the entry point {name} = "{value}" names no Component.',
                    "Name the module and the object, like tally.component:component.",
                )
            report.warnings += build_tree(component).warnings
        except InterlockError as error:
            report.refused = error
        except Exception as error:
            report.refused = MountError(_last_line_in(error, folder), f"{type(error).__name__}: {error}", "Mend this line.")
        finally:
            sys.path.remove(str(folder.parent))
    return report


def nondeterminism_of(tree: Tree) -> list[Finding]:
    """In the app's own modules and in the components that run inline; the others are held to the rule where they run."""
    files = app_files(tree.directory) if tree.directory is not None else []
    for plugin in _mounted_plugins(instance for instance in tree.by_path.values() if instance.isolation == "inline"):
        folder = package_folder(plugin.module.partition(".")[0])
        files += component_files(folder, plugin.module) if folder is not None else []
    return _nondeterminism_in(files)


def app_files(app: Path) -> list[Path]:
    """The modules that a start would import."""
    from interlock.mounting.app_package import AppPackage

    return [file.path for file in AppPackage(app).files]


def _mounted_plugins(instances: Iterable[Instance]) -> list[Plugin]:
    """The plugins of these instances, each once."""
    return list({instance.plugin.module: instance.plugin for instance in instances if instance.plugin is not None}.values())


def _nondeterminism_in(files: Iterable[Path]) -> list[Finding]:
    return [finding for file in files for finding in find_nondeterminism(file)]


def _component_package(directory: Path) -> Path | None:
    """`directory` if it is a component's project rather than an app."""
    if (directory / CONFIG_FILE).is_file() or not _entry_points(directory):
        return None
    return directory.resolve()


def _entry_points(directory: Path) -> dict[str, str]:
    try:
        project = tomllib.loads((directory / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
    except (OSError, tomllib.TOMLDecodeError):
        return {}
    found: dict[str, str] = project.get("entry-points", {}).get(COMPONENTS, {})
    return found


def _last_line_in(error: BaseException, folder: Path) -> str:
    """The last place below `folder` that a traceback went through."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    where, trace = str(folder), error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename.startswith(str(folder)):
            where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        trace = trace.tb_next
    return where
