"""`interlock data`: the tables of an instance, or the documents of one of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from interlock.cli.app_directory import Data
from interlock.cli.console import AsJson, errors_reported, print_json, print_table
from interlock.cli.limits import size
from interlock.cli.peer import peer_of


def data(
    table: Annotated[str | None, typer.Argument(metavar="[TABLE]", help="Without it the tables are listed.", show_default=False)] = None,
    component: Annotated[str, typer.Option("--component", metavar="PATH", help="Of this instance, like mailer/workpool.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many documents, the newest first.")] = 20,
    app: Annotated[
        Path | None,
        typer.Option("--app", metavar="DIR", help="The app's directory; without it the nearest one with an app.py.", show_default=False),
    ] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Print the tables, or the newest documents of one.

    \b
    Examples:
      interlock data
      interlock data messages --limit 5
      interlock data counters --component sharded_counter --json
    """
    import asyncio

    with errors_reported(as_json):
        found = asyncio.run(_ask(app, data, component, table, limit))
    if as_json:
        print_json(found)
    elif table is None:
        print_table(
            ("TABLE", "DOCUMENTS", "SIZE", "INDEXES"),
            [(row["name"], f"{row['documents']:,}", size(row["bytes"]), ", ".join(row["indexes"])) for row in found],
        )
    else:
        for document in found:
            typer.echo(json.dumps(document, ensure_ascii=False))


async def _ask(app: Path | None, data: str | None, component: str, table: str | None, limit: int) -> list[dict[str, Any]]:
    async with peer_of(app, data) as peer:
        return await peer.tables(component) if table is None else await peer.documents(component, table, limit)
