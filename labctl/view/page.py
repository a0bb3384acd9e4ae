"""Lines of 80 columns: tables, headings, folds, colour. Knows nothing of labs or terminals."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TypeVar

from labctl.fields import dataclass

WIDTH = 80
GAP = "  "
INDENT = "  "
MARGIN = "    "  # of the second and later lines of a row that is broken
MOST = 12  # rows of a list that is not cut short
FIRST = 3  # rows of one that is, and then its last
RUN = 20  # nodes, one after the other and alike, that are all told
NARROWEST = 24  # of a last column that is wrapped
BOLD, DIM, RED, GREEN, YELLOW, CYAN = "1", "2", "31", "32", "33", "36"

T = TypeVar("T")
Row = Sequence[str]
Colours = Mapping[int, Callable[[str], str]]  # column → the colour of a text in it; empty for none

STATES = {
    "UP": GREEN, "DOWN": RED, "LOWERLAYERDOWN": RED,
    "REACHABLE": GREEN, "FAILED": RED, "INCOMPLETE": YELLOW, "STALE": DIM,
    "running": GREEN, "waiting": YELLOW, "restarting": YELLOW, "exited": RED, "killed": RED, "gone": RED,
}  # fmt: skip


def by_state(text: str) -> str:
    """A column's colour by the last word of its texts, what follows in brackets excepted."""
    return STATES.get(text.partition(" (")[0].rpartition(" ")[2], "")


def always(code: str) -> Callable[[str], str]:
    return lambda _: code


@dataclass(frozen=True)
class Page:
    """How to write: with colour or without, whole lists or only their beginning, and how far tables are set in."""

    colour: bool = False
    whole: bool = True
    indent: str = INDENT

    def paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and code and text.strip() else text

    def heading(self, title: str, remark: str = "") -> str:
        return self.paint(title, BOLD) + (" " + self.paint(f"({remark})", DIM) if remark else "")

    def beginning(self, rows: Sequence[Row], more: str, colours: Colours) -> list[str]:
        """A table, or its first rows and its last; the command `more` shows those between."""
        first, rest, last = self.cut(rows)
        lines = self.table([*first, *last], colours)
        end = len(lines) - len(self.table(last, colours)) if last else 0
        return [*lines[:end], f"{self.indent}… {rest} more: {more}", *lines[end:]] if rest else lines

    def cut(self, rows: Sequence[T]) -> tuple[Sequence[T], int, Sequence[T]]:
        """The first rows to show, how many are left out, and the last."""
        if self.whole or len(rows) <= MOST:
            return rows, 0, ()
        return rows[:FIRST], len(rows) - FIRST - 1, rows[-1:]

    def table(self, rows: Sequence[Row], colours: Colours | None = None, *, head: bool = False) -> list[str]:
        """Columns as wide as their widest text; the last one is wrapped, or set below, where it does not fit."""
        if not rows:
            return [f"{self.indent}none"]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        bold = dict.fromkeys(range(len(widths)), always(BOLD))
        lines: list[str] = []
        for number, row in enumerate(rows):
            lines += self._row(row, widths, bold if head and not number else colours or {})
        return lines

    def _row(self, row: Row, widths: Sequence[int], colours: Colours) -> list[str]:
        painted = [self.paint(text, colours.get(n, always(""))(text)) for n, text in enumerate(row)]
        gaps = [" " * (width - len(text) + len(GAP)) for text, width in zip(row, widths, strict=True)]
        front = self.indent + "".join(shown + gap for shown, gap in zip(painted[:-1], gaps, strict=False))
        start = len(self.indent) + sum(width + len(GAP) for width in widths[:-1])
        if start + len(row[-1]) <= WIDTH:
            return [(front + painted[-1]).rstrip()]
        code = colours.get(len(row) - 1, always(""))(row[-1])
        if WIDTH - start < NARROWEST:
            pieces = [(piece, self.paint(piece, code)) for piece in wrapped(row[-1], WIDTH - 2 * len(MARGIN), "")]
            return self._broken([*zip(row[:-1], painted, strict=False), *pieces])
        first, *rest = (self.paint(piece, code) for piece in wrapped(row[-1], WIDTH - start))
        return [front + first, *(" " * start + piece for piece in rest)]

    def _broken(self, cells: Iterable[tuple[str, str]]) -> list[str]:
        """Cells, each plain and painted, one after the other without regard to columns."""
        lines, used = [self.indent], len(self.indent)
        for plain, shown in cells:
            if used + len(plain) > WIDTH and lines[-1].strip():
                lines.append(self.indent + MARGIN)
                used = len(lines[-1])
            lines[-1] += shown + GAP
            used += len(plain) + len(GAP)
        return [line.rstrip() for line in lines]


def wrapped(text: str, width: int, indent: str = GAP) -> list[str]:
    """A text in lines of a width, the second and later ones set in; words stay whole."""
    return textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def folded(items: Iterable[T], shape: Callable[[T], Hashable], most: int = RUN) -> Iterator[T | int]:
    """Of a run of items of one shape that is longer than `most` the first and the last, and between them how many more
    there are."""
    for _, run in groupby(items, shape):
        alike = list(run)
        yield from alike if len(alike) <= most else (alike[0], len(alike) - 2, alike[-1])


def size(number: int) -> str:
    """Bytes as ifconfig's bracket has them: 1.7 MiB."""
    value, units = float(number), ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
    for unit in units[:-1]:
        if value < 1024:
            return f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} {units[-1]}"
