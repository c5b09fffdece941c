"""`interlock components`: the mount tree."""

from __future__ import annotations

from typing import Any

from interlock.cli.app_directory import Data, Directory
from interlock.cli.console import AsJson, errors_reported, print_json, print_table
from interlock.cli.limits import size
from interlock.cli.peer import peer_of


def components(directory: Directory = None, data: Data = None, as_json: AsJson = False) -> None:
    """Print the mount tree.

    Of each instance its version, isolation, permissions, tables, size and state. Unmounted instances have no line in any
    app.py, and keep their data.

    \b
    Examples:
      interlock components
      interlock components myapp --json
    """
    import asyncio

    with errors_reported(as_json):
        mounts = asyncio.run(_mounts(directory, data))
    if as_json:
        print_json(mounts)
        return
    print_table(
        ("MOUNT", "COMPONENT", "ISOLATION", "PERMISSIONS", "TABLES", "DOCUMENTS", "SIZE", "STATE"),
        [_row(mount) for mount in mounts],
    )


async def _mounts(directory: Any, data: str | None) -> list[dict[str, Any]]:
    async with peer_of(directory, data) as peer:
        return await peer.mounts()


def _row(mount: dict[str, Any]) -> tuple[str, ...]:
    held = (", ".join(mount["tables"]) or "-", f"{mount['documents']:,}", size(mount["bytes"]), mount["state"])
    if mount["state"] == "unmounted":
        return (f"  {mount['path']}", "-", "-", "-", *held)
    if not mount["path"]:
        return ("(app)", "-", "-", "-", *held)
    name = "  " * (mount["path"].count("/") + 1) + mount["path"].rpartition("/")[2]
    allowed = ", ".join(mount["permissions"]["allowed"]) or "none"
    return (name, f"{mount['component']} {mount['version']}".strip(), _isolation(mount), allowed, *held)


def _isolation(mount: dict[str, Any]) -> str:
    """What was asked for, and the layers of the kernel that make it true."""
    if mount["isolation"] == "inline":
        return "inline"
    native = ", native code" if mount["native"] else ""
    return f"{mount['isolation']}{native}: {', '.join(mount['layers']) or 'not confined'}"
