"""`interlock migrate`: runs migrations, and watches them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from interlock.cli.app_directory import Data
from interlock.cli.console import AsJson, CommandError, errors_reported, print_table, readable, say
from interlock.cli.exits import Exit
from interlock.cli.migrations import COMPONENT, is_status, statuses, watch, watched
from interlock.cli.peer import Json, Peer, hinting, peer_of


def migrate(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="The migration or runner, module:function; without it, what is there.", show_default=False),
    ] = None,
    app: Annotated[
        Path | None,
        typer.Option("--app", metavar="DIR", help="The app's directory; without it the nearest one with an app.py.", show_default=False),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="One batch, of which nothing is kept, and what it would change.")] = False,
    reset: Annotated[bool, typer.Option("--reset", help="From the first document, also where it is done or in progress.")] = False,
    batch_size: Annotated[int | None, typer.Option("--batch-size", min=1, help="Documents a batch.", show_default=False)] = None,
    component: Annotated[str, typer.Option("--component", metavar="PATH", help="A migration of this instance's own.")] = "",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Run a migration or a series, and watch it to its end.

    Without a name it watches what is in progress, and prints how far every migration is.

    \b
    Examples:
      interlock migrate migrations:backfill
      interlock migrate migrations:backfill --dry-run
      interlock migrate
    """
    import asyncio

    given: Json = {"dry_run": dry_run or None, "reset": reset or None, "batch_size": batch_size}
    options = {option: value for option, value in given.items() if value is not None}
    with errors_reported(as_json):
        if name is None and options:
            raise CommandError(Exit.USAGE, "Options say how a migration is run, and none is named.", "Write interlock migrate NAME …")
        found = asyncio.run(_watch_all(app, data) if name is None else _run(name, options, app, component, data))
        if as_json:
            typer.echo(json.dumps(found, ensure_ascii=False, separators=(",", ":")))
        elif name is None:
            _print_all(found)
        elif dry_run:
            _print_sample(found[0])
        failed = [status for status in found if status["state"] == "failed"]
        if name is not None and failed:
            error = failed[0]["error"] or "its worker has ended"
            if failed[0].get("failed_id"):
                error += f" (at document {failed[0]['failed_id']})"
            raise CommandError(Exit.FAILED, f"{failed[0]['name']} failed: {error}", f"When that is mended, go on: interlock migrate {name}")


async def _run(name: str, options: Json, app: Path | None, component: str, data: str | None) -> list[Json]:
    async with peer_of(app, data) as peer:
        before = [status for _, status in await statuses(peer)]
        result = await hinting(peer)(name, options, component)
        if not is_status(result):
            raise CommandError(
                Exit.USAGE, f"{name} has run, and gave no status: it is no migration.", "Name one made by define() or runner()."
            )
        status: Json = await watched(peer, result, options)
        was_done = any(one["is_done"] and (one["name"], one["latest_start"]) == (status["name"], status["latest_start"]) for one in before)
        if was_done and not options.get("dry_run"):
            say(f"{name} had been done before, and has not run again. From the first document: interlock migrate {name} --reset")
        return [status]


async def _watch_all(app: Path | None, data: str | None) -> list[Json]:
    async with peer_of(app, data) as peer:
        await _mounted(peer)
        for path, status in await statuses(peer):
            if status["state"] == "in_progress":
                await watch(peer, path, status["name"])
        return [{**status, "mount": path} for path, status in await statuses(peer)]


async def _mounted(peer: Peer) -> None:
    if not any(mount.get("component") == COMPONENT for mount in await peer.mounts()):
        raise CommandError(
            Exit.FAILED, "No component of this app is called migrations.", 'Install interlock-migrations, and app.use("migrations").'
        )


def _print_all(found: list[Json]) -> None:
    if not found:
        say("No migration has been run. Run one: interlock migrate module:function")
        return
    print_table(
        ("MIGRATION", "MOUNT", "STATE", "PROCESSED", "OF", "ERROR"),
        [
            (
                status["name"],
                status["mount"],
                status["state"],
                f"{int(status['processed']):,}",
                _total(status),
                (status["error"] or "-").splitlines()[0],
            )
            for status in found
        ],
    )


def _total(status: Json) -> str:
    return "-" if status["estimated_total"] is None else f"{int(status['estimated_total']):,}"


def _print_sample(status: Json) -> None:
    """What a dry run would change, field by field."""
    sample: list[dict[str, Any]] = status.get("sample", [])
    if status["state"] == "in_progress":
        say(f"{status['name']} is in progress, so nothing was tried. Watch it: interlock migrate")
        return
    if status["state"] == "success" and not sample:
        say(f"{status['name']}: nothing is left to change. What it would do from the first document on: --dry-run --reset")
        return
    for pair in sample:
        before, after = pair["before"], pair["after"] or {}
        typer.echo(before["_id"] if pair["after"] is not None else f"{before['_id']} deleted")
        for field in sorted({*before, *after}):
            if before.get(field) != after.get(field) or (field in before) != (field in after):
                for sign, document in (("-", before), ("+", after)):
                    if field in document:
                        typer.echo(f"  {sign} {field}: {json.dumps(readable(document[field]), ensure_ascii=False)}")
    say(f"{status['name']}: {int(status['processed']):,} documents looked at, {len(sample)} of the changed ones shown. Nothing was kept.")
