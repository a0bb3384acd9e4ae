"""The progress of `up` and `down` on a terminal: one line at the bottom that is drawn anew, and erased at the end."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from types import TracebackType

from labctl.progress import Progress
from labctl.view.bar import bar, left

MOMENT = 0.5  # seconds; shorter work, or what is nearly done by then, shows nothing
PACE = 0.2  # seconds between two drawings
ERASE = "\r\x1b[K"


class Bar:
    """Shows the work on a lab from `with` to its end, if standard error is a terminal that can go back in a line."""

    def __init__(self, lab: str, wanted: bool = True) -> None:
        can = wanted and sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self.progress = Progress(self._look) if can else Progress()
        self._lab = lab
        self._work: tuple[str, float] = ("", 0.0)
        self._begun = self._changed = self._drawn = self._done = 0.0
        self._shown = False

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.erase()

    def erase(self) -> None:
        if self._shown:
            _write(ERASE)
            self._shown = False

    def _look(self, progress: Progress) -> None:
        now, work = time.monotonic(), (progress.what, progress.total)
        if self._work != work:
            self._work, self._begun, self._changed, self._done = work, now, now, 0.0
        if self._done != progress.done:
            self._done, self._changed = progress.done, now
        if now - self._drawn < PACE:
            return
        seconds = left(self._done, progress.total, self._changed - self._begun, now - self._changed)
        if self._shown or (now - self._begun >= MOMENT and (seconds is None or seconds >= MOMENT)):
            self._draw(progress, seconds)
            self._drawn = now

    def _draw(self, progress: Progress, seconds: float | None) -> None:
        try:
            width = os.get_terminal_size(sys.stderr.fileno()).columns or 80
        except OSError:
            width = 80
        share = self._done / progress.total if progress.total else 0.0
        self._shown = True
        _write(ERASE + bar(f"{self._lab}: {progress.what}", share, progress.nodes, seconds, width - 1))


def _write(text: str) -> None:
    """To a terminal that may have gone: no reason to end the work."""
    with suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()
