"""Where a server listens, as options of a command."""

from typing import Annotated

import typer

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 3210

Host = Annotated[
    str,
    typer.Option(
        "--host", help="The address to listen on; 0.0.0.0 is every one of this machine.", envvar="INTERLOCK_HOST", show_envvar=False
    ),
]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes any free one.", envvar="INTERLOCK_PORT", show_envvar=False)]
