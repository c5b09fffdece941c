"""Where the components of a TestBackend run that is not told: what `--interlock-isolation` says, inline unless it says anything."""

from __future__ import annotations

from interlock.sdk.declarations import Isolation


class Default:
    """One for the process: pytest runs one test at a time."""

    def __init__(self) -> None:
        self.isolation: Isolation = "inline"


default = Default()
