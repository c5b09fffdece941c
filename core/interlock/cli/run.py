"""`interlock run`: calls one function."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from interlock.cli.app_directory import Data
from interlock.cli.console import AsJson, CommandError, errors_reported, print_json, readable
from interlock.cli.exits import Exit
from interlock.cli.migrations import watched
from interlock.cli.peer import hinting, peer_of, server_at


def run(
    function: Annotated[
        str, typer.Argument(metavar="FUNCTION", help="module:function, or a component's own name with --component.", show_default=False)
    ],
    arguments: Annotated[
        str, typer.Argument(metavar="[JSON]", help="The arguments by name; - reads them from stdin.", show_default=False)
    ] = "{}",
    app: Annotated[
        Path | None,
        typer.Option("--app", metavar="DIR", help="The app's directory; without it the nearest one with an app.py.", show_default=False),
    ] = None,
    url: Annotated[str | None, typer.Option("--url", help="A running server, wherever it is.", show_default=False)] = None,
    admin_key: Annotated[
        str | None, typer.Option("--admin-key", help="The key of that server.", envvar="INTERLOCK_ADMIN_KEY", show_envvar=True)
    ] = None,
    component: Annotated[str, typer.Option("--component", metavar="PATH", help="A function of this instance, like mailer/workpool.")] = "",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Call a function and print what it returns.

    Any function, also an internal one. It runs in the server that serves the app's data, or, where none is running, in a
    backend of its own. A migration that it starts is watched to its end.

    \b
    Examples:
      interlock run messages:send '{"author": "ada", "body": "hello"}'
      interlock run messages:newest --app myapp
      interlock run count '{"name": "beans"}' --component sharded_counter
      interlock run messages:newest --url http://127.0.0.1:3210
    """
    import asyncio

    with errors_reported(as_json):
        if url is not None and (app is not None or data is not None):
            raise CommandError(Exit.USAGE, "--url names a running server; --app and --data name an app here.", "Give one of them.")
        value = asyncio.run(_call(function, _parse(arguments), app, url, admin_key, component, data))
    if as_json:
        typer.echo(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    else:
        print_json(readable(value))


async def _call(
    function: str, arguments: dict[str, Any], app: Path | None, url: str | None, admin_key: str | None, component: str, data: str | None
) -> Any:
    async with server_at(url, admin_key) if url is not None else peer_of(app, data) as peer:
        result = await (peer.call if url is not None else hinting(peer))(function, arguments, component)
        return await watched(peer, result, arguments)


def _parse(text: str) -> dict[str, Any]:
    source = sys.stdin.read() if text == "-" else text
    try:
        arguments = json.loads(source)
    except ValueError as error:
        raise CommandError(
            Exit.USAGE, f"The arguments are no JSON: {error}", 'Write them like \'{"author": "ada", "count": 3}\'.'
        ) from None
    if not isinstance(arguments, dict):
        raise CommandError(
            Exit.USAGE, "The arguments are given by name: a JSON object.", 'Write them like \'{"author": "ada", "count": 3}\'.'
        )
    return arguments
