"""What the exit codes mean: the same for every command, and promised."""

from enum import IntEnum


class Exit(IntEnum):
    """The exit code of a command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    STORAGE = 4
    UNREACHABLE = 5

    @property
    def says(self) -> str:
        return _SAYS[self]


_SAYS = {
    Exit.OK: "done",
    Exit.FAILED: "the function raised, or the check found something",
    Exit.USAGE: "the command line makes no sense",
    Exit.REFUSED: "the app cannot start as it is written",
    Exit.STORAGE: "the data cannot be opened, read or written",
    Exit.UNREACHABLE: "no server answers at that address, or it refuses the key",
}
