"""What is counted of a function that runs, in its own process or for it at the host."""

from __future__ import annotations

from interlock.errors import CallRefused


class Tally:
    """Seconds of CPU that it has used, and may use; operations with an effect that it has made and not awaited yet."""

    __slots__ = ("cpu", "cpu_max", "first_unbegun", "unbegun")

    def __init__(self) -> None:
        self.cpu = 0.0
        self.cpu_max: float | None = None
        self.unbegun = 0
        self.first_unbegun = ""

    @property
    def label(self) -> str:
        """The function, as errors name it."""
        raise NotImplementedError

    def note_effect(self, name: str) -> None:
        """It has made an operation that changes something. Whoever begins it counts it off `unbegun`."""
        if not self.unbegun:
            self.first_unbegun = name
        self.unbegun += 1

    def forgotten(self) -> CallRefused:
        """The refusal of a call that has ended with an operation that nobody has awaited."""
        operation = self.first_unbegun
        return CallRefused(self.label, f"{operation}(…) was called and never awaited, so it was not done. Write `await` in front of it.")
