"""How far a long piece of work is: who does it counts, and whoever waits for it looks now and then. Values only."""

from __future__ import annotations

from collections.abc import Callable

from labctl.fields import dataclass


def _nobody(_: Progress) -> None:
    """Looks at nothing."""


@dataclass
class Progress:
    """Work in units of about equal time. `watch` is called in the main thread only, a few times a second and more; the
    thread that works just counts."""

    watch: Callable[[Progress], None] = _nobody
    what: str = ""  # up or down
    nodes: int = 0  # that the work is for
    total: float = 0.0
    done: float = 0.0

    @property
    def watched(self) -> bool:
        return self.watch is not _nobody

    def expect(self, what: str, nodes: int, total: float) -> None:
        """The work begins, anew if there was some before."""
        self.what, self.nodes, self.total, self.done = what, nodes, total, 0.0
        self.look()

    def reach(self, done: float) -> None:
        """So much is done, and no less than before."""
        self.done = max(self.done, done)
        self.look()

    def look(self) -> None:
        self.watch(self)
