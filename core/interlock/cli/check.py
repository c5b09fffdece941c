"""`interlock check`: everything that a start would refuse, and what should not be in a query or mutation, without starting."""

from __future__ import annotations

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
from interlock.cli.table_names import misspelt_tables
from interlock.errors import InterlockError, MountError

if TYPE_CHECKING:
    from interlock.mounting import Instance, Plugin, Tree
    from interlock.sdk.declarations import Isolation

COMPONENTS = "interlock.components"


def check(directory: Directory = None, as_json: AsJson = False) -> None:
    """Check an app or a component without starting it.

    Reports what a start would refuse; clocks, randomness, files and sockets in queries and mutations, and what they do not await;
    names of tables that look misspelt; and which components' faces the app imports: those run with its rights. Stored documents
    are not looked at; `interlock dev --once` does that.

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
    files = app_files(app)
    report.warnings = [*tree.warnings, *(told for file in files for told in misspelt_tables(file, tree.root.tables))]
    report.findings = nondeterminism_of(tree)
    installed = {plugin.module.partition(".")[0]: plugin for offers in discover().values() for plugin in offers}
    report.faces = face_imports(files, {package: plugin.distribution for package, plugin in installed.items()})
    for plugin in _mounted_plugins(tree.by_path.values()):
        folder = package_folder(plugin.module.partition(".")[0])
        if folder is not None:
            report.mixed += mixed_halves(folder, plugin.module)
    return report


def check_package(package: Path) -> Report:
    """The package of a component: its halves, its component half, and whether its component can be mounted."""
    from interlock.mounting import build_tree
    from interlock.sandbox.confinement import available
    from interlock.sandbox.sources import folder_files

    report = Report(package)
    for name, value in _entry_points(package).items():
        module, _, attribute = value.partition(":")
        folder = package / module.partition(".")[0]
        if not folder.is_dir():
            folder = package / "src" / module.partition(".")[0]
        mixed = mixed_halves(folder, module)
        report.mixed += mixed
        files = component_files(folder, module)
        report.findings += _nondeterminism_in(files)
        if mixed:
            continue  # a worker has no face, so the component half could not be imported: which is said already
        try:
            if not attribute:
                problem = f'the entry point {name} = "{value}" names no object.'
                raise MountError("pyproject.toml", problem, "Name the module and the object, like tally.component:component.")
            # Where the kernel cannot confine, a process of its own still keeps it out of this one.
            isolation: Isolation = "process" if available().missing else "sandbox"
            source = folder_files(value, folder, _requirements(package), where="pyproject.toml")
            try:
                tree = build_tree(source, isolation=isolation)
            except InterlockError:
                if not source.left_out:
                    raise
                source = folder_files(value, folder, _requirements(package), where="pyproject.toml", native=True)
                tree = build_tree(source, isolation=isolation)
            report.warnings += [*tree.warnings, *(told for file in files for told in misspelt_tables(file, tree.root.tables))]
        except InterlockError as error:
            report.refused = error
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
    found: dict[str, str] = _project(directory).get("entry-points", {}).get(COMPONENTS, {})
    return found


def _requirements(directory: Path) -> list[str]:
    """What the package and its component half need."""
    project = _project(directory)
    return [*project.get("dependencies", ()), *project.get("optional-dependencies", {}).get("component", ())]


def _project(directory: Path) -> dict[str, Any]:
    try:
        project: dict[str, Any] = tomllib.loads((directory / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
    except (OSError, tomllib.TOMLDecodeError):
        return {}
    return project
