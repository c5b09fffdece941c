"""Which seeds the backends of a test were made from: what is printed when it fails."""

from __future__ import annotations


class Seeds:
    """`session` is what `--interlock-seed` says, `simulations` what `--interlock-simulations` does, `taken` what the running test used."""

    def __init__(self) -> None:
        self.session = self.simulations = 0
        self.taken: list[int] = []

    def take(self, seed: int) -> int:
        """The seed of one backend: its own, or the session's."""
        seed = seed or self.session
        if seed not in self.taken:
            self.taken.append(seed)
        return seed


seeds = Seeds()
"""The plugin's and the backends' own: pytest runs one test at a time."""
