"""Migrations, as a command watches them: what the mounts of the component `migrations` say, drawn as a bar.

The bar goes to stderr; where that is no terminal, one line a change of tenth.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Any

from interlock.cli.console import say
from interlock.cli.peer import Json, Peer

COMPONENT = "migrations"
POLL_SECONDS = 0.2
BAR = 30
# What a status has, so that it is told from other results.
_FIELDS = {"name", "state", "processed", "is_done", "cursor", "latest_start", "batch_size", "next", "estimated_total"}


def is_status(value: Any) -> bool:
    """Whether a result is the status of a migration."""
    return isinstance(value, dict) and value.keys() >= _FIELDS


async def statuses(peer: Peer) -> list[tuple[str, Json]]:
    """Every migration there is, with the mount that knows it."""
    mounted = [mount["path"] for mount in await peer.mounts() if mount["state"] == "mounted" and mount["component"] == COMPONENT]
    return [(path, status) for path in mounted for status in await peer.call("get_status", {}, path)]


async def watched(peer: Peer, result: Any, arguments: Json) -> Any:
    """A result as it is; the status of a migration in progress once it, and what it was to start, has ended.

    The arguments of the call say whether that begins anew (`reset`), and whether it has started anything at all (`dry_run`).
    """
    is_reset = arguments.get("reset") is True
    if not is_status(result) or True in (arguments.get("dry_run"), arguments.get("dryRun")):
        return result
    if not (result["state"] == "in_progress" or (result["state"] == "success" and result["next"])):
        return result
    mount = next((path for path, status in await statuses(peer) if _is_same(status, result)), None)
    return result if mount is None else await watch(peer, mount, result["name"], is_reset=is_reset)


def _is_same(status: Json, other: Json) -> bool:
    return bool(status["name"] == other["name"] and status["latest_start"] == other["latest_start"])


async def watch(peer: Peer, mount: str, name: str, *, is_reset: bool = False) -> Json:
    """Draw how far a migration is until it has ended; with a series, until that has. Gives the last status."""
    import asyncio

    line = _Line()
    try:
        while True:
            status = await _status(peer, mount, name)
            line.show(status)
            if status["state"] == "in_progress":
                await asyncio.sleep(POLL_SECONDS)
                continue
            line.end(status)
            following = await _following(peer, mount, status, is_reset)
            if following is None:
                return status
            name = following
    finally:
        line.leave()


async def _status(peer: Peer, mount: str, name: str) -> Json:
    found: Json = (await peer.call("get_status", {"names": [name]}, mount))[0]
    return found


async def _following(peer: Peer, mount: str, status: Json, is_reset: bool) -> str | None:
    """The next of the series that has begun, and may have ended; None when there is none, or it was done before."""
    import asyncio

    if status["state"] != "success" or not status["next"]:
        return None
    stopped: list[Json] = []
    for _ in range(10):
        found: list[Json] = await peer.call("get_status", {"names": status["next"]}, mount)
        ran = [one for one in found if one["latest_start"] is not None]
        begun = [one for one in ran if one["state"] == "in_progress" or one["latest_start"] >= status["latest_start"]]
        if begun:
            return str(begun[0]["name"])
        if not is_reset and all(one["state"] == "success" for one in found):
            return None
        stopped = [one for one in ran if one["state"] != "success"]
        await asyncio.sleep(POLL_SECONDS)  # its job is about to run
    return str(stopped[0]["name"]) if stopped else None


class _Line:
    """One line that is drawn over itself in a terminal."""

    def __init__(self) -> None:
        self._is_drawn_over = sys.stderr.isatty()
        self._shown: Any = None

    def show(self, status: Json) -> None:
        text = bar(status)
        if self._is_drawn_over:
            sys.stderr.write(f"\r\x1b[2K{text}")
            sys.stderr.flush()
            self._shown = text
        else:
            total = status["estimated_total"]
            step = (status["name"], int(status["processed"] * 10 // total) if total else None)
            if step != self._shown:
                say(text)
            self._shown = step

    def end(self, status: Json) -> None:
        if self._is_drawn_over:
            sys.stderr.write("\n")
        say(f"{status['name']}: {_ending(status)}")
        self._shown = None

    def leave(self) -> None:
        if self._is_drawn_over and self._shown is not None:
            sys.stderr.write("\n")


def bar(status: Json) -> str:
    """One status as a line: `backfill [#####     ]  50%  500 of 1,000  250/s  2 s left`."""
    processed, total = int(status["processed"]), status["estimated_total"]
    if status["is_done"]:
        total = processed
    parts = [str(status["name"])]
    if total is None:
        parts.append(f"{processed:,}")
    else:
        share = min(1.0, processed / total) if total else 1.0
        parts.append(f"[{'#' * int(share * BAR):{BAR}}] {int(share * 100):3}%  {processed:,} of {int(total):,}")
    if status["rate"] is not None and status["state"] == "in_progress":
        parts.append(f"{status['rate']:,.0f}/s")
        if total:
            parts.append(f"{timedelta(seconds=round((total - processed) / status['rate']))} left")
    return "  ".join(parts)


def _ending(status: Json) -> str:
    skipped = f", {int(status['skipped']):,} left out" if status.get("skipped") else ""
    if status["state"] == "success":
        return f"done, {int(status['processed']):,} documents{skipped}"
    where = f" at document {status['failed_id']}" if status.get("failed_id") else ""
    reason = f": {status['error']}" if status.get("error") else ""
    return f"{status['state']} after {int(status['processed']):,} documents{where}{reason}"
