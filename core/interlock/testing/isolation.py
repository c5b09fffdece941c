"""Where the components of a TestBackend run that is not told: what `--interlock-isolation` says.

Unless it says anything, a component that the test has imported runs inline, where it can be stepped through; one that an app mounts by
name runs as that mount says, and is not imported by its tests either.
"""

from __future__ import annotations

from interlock.sdk.declarations import IN_TESTS, InTests, Isolation


class Default:
    """One for the process: pytest runs one test at a time."""

    def __init__(self) -> None:
        self.isolation: Isolation | InTests = IN_TESTS


default = Default()
