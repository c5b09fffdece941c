"""The command `interlock`, for a person at a terminal and for scripts.

One file a command; the rest is what they share: where the app is (`app_directory`), which backend answers (`peer`), how it is
served (`serving`), how facts and errors are printed (`console`) and what the exit codes mean (`exits`). Commands import what they
need when they run, so that `interlock --help` answers at once.

Start at `main.py`. Knows the backend and mounting by their public sides, never the engine's insides.
"""


def main() -> None:
    """The entry point of the console script."""
    import sys

    from interlock.cli.console import exit_of, print_error
    from interlock.cli.main import app
    from interlock.cli.plugins import add_plugin_commands
    from interlock.errors import InterlockError

    try:
        add_plugin_commands(app)
    except InterlockError as error:
        print_error(error)
        sys.exit(exit_of(error))
    app(prog_name="interlock")
