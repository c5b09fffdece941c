"""Commands that installed plugins add: the hook `commands`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer


def add_plugin_commands(app: typer.Typer) -> None:
    """Ask every plugin of the backend for its commands. Raises MountError with the plugin's name."""
    from importlib.metadata import entry_points

    # Nearly nobody has one, and importing what loads them costs more than a short command.
    if not entry_points(group="interlock.plugins"):
        return
    from interlock.hooks import Hooks
    from interlock.mounting import load_plugins

    Hooks({}, load_plugins()).commands(app)
