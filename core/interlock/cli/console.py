"""How a command talks: facts to stdout, everything else to stderr, and each error with its exit code.

With `--json` facts are one JSON text, and an error is `{"error": {"code": …, "message": …}}` on stderr.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import typer

from interlock.cli.exits import Exit
from interlock.errors import AppError, InterlockError, MountError, SchemaError, StorageUnavailable
from interlock.sandbox.failures import cleaned

_CHARS_MAX = 100_000
AsJson = Annotated[bool, typer.Option("--json", help="Print facts, and errors, as JSON.")]


class CommandError(InterlockError):
    """A command that cannot do what it was asked, for a reason of its own rather than the backend's."""

    def __init__(self, exit: Exit, message: str, remedy: str = "") -> None:
        super().__init__(exit, message, remedy)
        self.exit, self.message, self.remedy = exit, message, remedy

    def __str__(self) -> str:
        return self.message + (f"\n  {self.remedy}" if self.remedy else "")


@contextmanager
def errors_reported(as_json: bool = False) -> Iterator[None]:
    """Ends the command with a message and the right exit code when the block raises an InterlockError, never with a traceback."""
    try:
        yield
    except InterlockError as error:
        fail(error, as_json)


def fail(error: InterlockError, as_json: bool) -> NoReturn:
    """Print one error and end the command."""
    print_error(error, as_json)
    raise typer.Exit(exit_of(error))


def print_error(error: InterlockError, as_json: bool = False) -> None:
    if as_json:
        typer.echo(json.dumps({"error": _facts_of(error)}, ensure_ascii=False), err=True)
    else:
        # What a component or its package says may be in it.
        typer.echo(typer.style("error: ", fg="red", bold=True) + cleaned(str(error), _CHARS_MAX), err=True)


def _facts_of(error: InterlockError) -> dict[str, Any]:
    """`data` is an author's own, as wire JSON; only those errors have it."""
    facts = {"code": error.code, "message": str(error)}
    if isinstance(error, AppError):
        from interlock.values import to_wire

        return {**facts, "data": to_wire(error.data)}
    return facts


def exit_of(error: InterlockError) -> Exit:
    match error:
        case CommandError():
            return error.exit
        case MountError() | SchemaError():
            return Exit.REFUSED
        case StorageUnavailable():
            return Exit.STORAGE
        case _:
            return Exit.FAILED


def say(text: str = "") -> None:
    """A line for the person who looks on; scripts do not see it."""
    typer.echo(text, err=True)


def warn(text: str) -> None:
    typer.echo(typer.style("warning: ", fg="yellow", bold=True) + text, err=True)


def print_json(facts: Any) -> None:
    typer.echo(json.dumps(facts, indent=2, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A plain table. Columns that are numbers in every row stand to the right; nothing is cut, so that it can be piped."""
    listed = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *listed, strict=True)]
    numeric = [bool(listed) and all(row[at].replace(",", "").isdigit() for row in listed) for at in range(len(columns))]

    def line(cells: Sequence[str]) -> str:
        placed = (cell.rjust(width) if right else cell.ljust(width) for cell, width, right in zip(cells, widths, numeric, strict=True))
        return "  ".join(placed).rstrip()

    typer.echo(typer.style(line(columns), bold=True))
    for row in listed:
        typer.echo(line(row))


def readable(value: Any) -> Any:
    """Wire JSON as a person reads it: 5 rather than 5.0."""
    match value:
        case float() if value.is_integer() and abs(value) <= 2**53:
            return int(value)
        case list():
            return [readable(element) for element in value]
        case dict():
            return {name: readable(element) for name, element in value.items()}
    return value
