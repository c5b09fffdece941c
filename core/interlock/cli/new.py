"""`interlock new`: an app, or the package of a component, ready to run, test and publish.

What is written are the files below `templates/`, with `$name` and its like filled in; `package` in a path becomes the package's name.
"""

from __future__ import annotations

import keyword
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Annotated

import typer

from interlock.cli.console import AsJson, CommandError, errors_reported, print_json, say
from interlock.cli.exits import Exit

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_SUFFIX = ".tmpl"


def new(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write it; its last part is the name.", show_default=False)],
    component: Annotated[bool, typer.Option("--component", help="A component: a package that apps install and mount.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a new app, or the package of a component.

    \b
    Examples:
      interlock new myapp
      interlock new interlock-tally --component
    """
    with errors_reported(as_json):
        plan = Plan.of_component(directory) if component else Plan.of_app(directory)
        written = plan.write()
    if as_json:
        print_json({"directory": str(directory), "name": plan.values["name"], "files": [str(path) for path in written]})
        return
    say(f"Wrote {directory}:")
    for path in written:
        say(f"  {path}")
    say("\nTry:" if not component else "\nTry, in that directory:")
    for command in plan.next_commands:
        say(f"  {command}")


@dataclass(frozen=True, slots=True)
class Plan:
    """Which templates go where, and with which values."""

    directory: Path
    templates: str
    values: dict[str, str]
    next_commands: tuple[str, ...]

    @classmethod
    def of_app(cls, directory: Path) -> Plan:
        """The directory is imported as a package of its own name, so the name has to be one that Python can import."""
        name = directory.resolve().name
        if name in sys.stdlib_module_names:
            raise CommandError(
                Exit.USAGE,
                f'Python has a module "{name}", which an app of that name would hide.',
                f"Name it, for example: {directory.parent / f'my_{name}'}",
            )
        if not _is_importable(name):
            raise CommandError(
                Exit.USAGE,
                f'"{name}" cannot be imported, and an app is a Python package of its directory\'s name.',
                f"Name it, for example: {directory.parent / _importable(name)}",
            )
        commands = (
            f"interlock dev {directory}",
            f'interlock run messages:send \'{{"author": "ada", "body": "hello"}}\' --app {directory}',
            f"pytest {directory}",
        )
        return cls(directory, "app", {"name": name, "package": name, **_version_range()}, commands)

    @classmethod
    def of_component(cls, directory: Path) -> Plan:
        """`interlock-tally`, `interlock_tally` and `tally` all make the component `tally` in the distribution `interlock-tally`."""
        name = re.sub(r"^interlock[-_.]+", "", directory.resolve().name)
        if not _is_importable(name.replace("-", "_")):
            raise CommandError(
                Exit.USAGE,
                f'"{name}" can be no component\'s name: apps mount it under that name and write components.{_importable(name)}.',
                f"Name it, for example: {directory.parent / _importable(name)}",
            )
        name = name.replace("-", "_")
        values = {
            "name": name,
            "package": f"interlock_{name}",
            "distribution": f"interlock-{name.replace('_', '-')}",
            "face": "".join(part.capitalize() for part in name.split("_")),
            **_version_range(),
        }
        return cls(directory, "component", values, ("pip install --editable . pytest", "pytest", "interlock check"))

    def write(self) -> list[Path]:
        """Write every file, and give back their paths below the directory. Refused where it holds anything already."""
        from importlib.resources import files

        try:
            if self.directory.exists() and (not self.directory.is_dir() or any(self.directory.iterdir())):
                raise CommandError(Exit.USAGE, f"{self.directory} is there already, and not empty.", "Name another directory.")
            return self._write(files("interlock.cli") / "templates" / self.templates)
        except OSError as error:
            raise CommandError(
                Exit.USAGE, f"{self.directory} cannot be written: {error.strerror or error}.", "Name a directory that can."
            ) from None

    def _write(self, templates: Traversable) -> list[Path]:
        written = []
        for template, path in sorted(_templates(templates, Path()), key=lambda found: found[1]):
            relative = Path(*(Template(part).substitute(self.values) for part in path.parts))
            target = self.directory / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(Template(template.read_text(encoding="utf-8")).substitute(self.values), encoding="utf-8")
            written.append(relative)
        return written


def _templates(folder: Traversable, below: Path) -> list[tuple[Traversable, Path]]:
    found = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _templates(entry, below / entry.name)
        elif entry.name.endswith(_SUFFIX):
            found.append((entry, below / entry.name.removesuffix(_SUFFIX)))
    return found


def _is_importable(name: str) -> bool:
    return name.isascii() and name.isidentifier() and not keyword.iskeyword(name) and not name.startswith("_") and name != "interlock"


def _importable(name: str) -> str:
    cleaned = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_").lower()
    return cleaned if _is_importable(cleaned) else f"my_{cleaned or 'app'}"


def _version_range() -> dict[str, str]:
    """The versions of Interlock that a new package is made for: this minor version, as long as the major one is 0."""
    from importlib.metadata import version

    major, minor = version("interlock").split(".")[:2]
    return {"interlock_version": f">={major}.{minor},<{major}.{int(minor) + 1}"}
