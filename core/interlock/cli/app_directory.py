"""Where the app of a command is: the directory it was given, else the nearest one with an `app.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from interlock.errors import MountError

CONFIG_FILE = "app.py"
DATA_DIRECTORY = ".interlock"

Directory = Annotated[
    Path | None,
    typer.Argument(metavar="[DIR]", help="The app's directory; without it the nearest one with an app.py.", show_default=False),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="DIR|URL",
        help="A directory, :memory: or a URL. [default: .interlock beside app.py]",
        envvar="INTERLOCK_DATA",
        show_envvar=False,
    ),
]


def find_app(directory: Path | None) -> Path:
    """The app's directory, as an absolute path. Raises MountError with what to type instead."""
    if directory is None:
        return _nearest(Path.cwd())
    if not directory.exists():
        raise MountError(str(directory), "there is no such directory", f"Make an app there: interlock new {directory}")
    if not directory.is_dir():
        raise MountError(str(directory), "this is a file; an app is a directory", f"Name its directory: {directory.parent}")
    if not (directory / CONFIG_FILE).is_file():
        raise MountError(
            str(directory),
            f"this directory has no {CONFIG_FILE}",
            _remedy(directory)
            or (
                f"Write {CONFIG_FILE} there: from interlock import App; app = App()"
                if any(directory.iterdir())
                else f"Make an app there: interlock new {directory}"
            ),
        )
    return directory.resolve()


def data_place(app_directory: Path, data: str | None) -> str:
    """What `Backend(data=…)` is given: relative directories are meant from where the command was typed."""
    return data if data is not None else str(app_directory / DATA_DIRECTORY)


def data_directory(app_directory: Path, data: str | None) -> Path | None:
    """The directory that holds the data, where it is one."""
    place = data_place(app_directory, data)
    return None if place == ":memory:" or "://" in place else Path(place).resolve()


def _nearest(start: Path) -> Path:
    for directory in (start, *start.parents):
        if (directory / CONFIG_FILE).is_file():
            return directory
    raise MountError(str(start), f"no {CONFIG_FILE} here or in a folder above", _remedy(start) or "Make an app: interlock new myapp")


def _remedy(directory: Path) -> str:
    below = sorted(found.parent for found in directory.glob(f"*/{CONFIG_FILE}") if not found.parent.name.startswith("."))
    return f"Did you mean {' or '.join(path.name for path in below[:3])}?" if below else ""
