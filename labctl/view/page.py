"""Lines of 80 columns: tables, headings, folds, colour. Knows nothing of labs or terminals."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from labctl.fields import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")

WIDTH = 80
GAP = "  "
INDENT = "  "
MARGIN = "    "  # of the second and later lines of a row that is broken
MOST = 12  # rows of a list that is not cut short
FIRST = 3  # rows of one that is, and then its last
RUN = 20  # nodes, one after the other and alike, that are all told
NARROWEST = 24  # of a last column that is wrapped
BOLD, DIM, RED, GREEN, YELLOW, CYAN = "1", "2", "31", "32", "33", "36"

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

    def beginning(self, rows: Sequence[Row], more: str, colours: Colours, *, by_node: bool = False) -> list[str]:
        """A table, or its first rows and its last; the command `more` shows those between. What the first column has is
        told once for rows that have the same, if they are `by_node`."""
        first, rest, last = self.cut(rows)
        shown = [*first, *last]
        blocks = self._blocks(once(shown) if by_node else shown, colours or {})
        if rest:
            blocks.insert(len(first), [f"{self.indent}… {rest} more: {more}"])
        return [line for block in blocks for line in block]

    def cut(self, rows: Sequence[T]) -> tuple[Sequence[T], int, Sequence[T]]:
        """The first rows to show, how many are left out, and the last."""
        if self.whole or len(rows) <= MOST:
            return rows, 0, ()
        return rows[:FIRST], len(rows) - FIRST - 1, rows[-1:]

    def folded(self, items: Iterable[T], shape: Callable[[T], Hashable]) -> Iterator[T | int]:
        """All items on a whole page; else of a long run of one shape the first and the last, and between them how many
        more there are."""
        for _, run in groupby(items, shape):
            alike = list(run)
            yield from alike if self.whole or len(alike) <= RUN else (alike[0], len(alike) - 2, alike[-1])

    def table(self, rows: Sequence[Row], colours: Colours | None = None, *, head: bool = False) -> list[str]:
        """Columns as wide as their widest text; the last one is wrapped, or set below, where it does not fit."""
        return [line for block in self._blocks(rows, colours or {}, head=head) for line in block]

    def _blocks(self, rows: Sequence[Row], colours: Colours, *, head: bool = False) -> list[list[str]]:
        """The lines of each row."""
        if not rows:
            return [[f"{self.indent}none"]]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        bold = dict.fromkeys(range(len(widths)), always(BOLD))
        return [self._row(row, widths, bold if head and not n else colours) for n, row in enumerate(rows)]

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


def stem(node: str) -> str:
    """What nodes that were made by one entry, or named by one hand, have in common: all but the last number."""
    return node.rstrip("0123456789")


def once(rows: Iterable[Row]) -> list[Row]:
    """What the first column has only where it is not the same as above."""
    named: list[Row] = []
    last = None
    for first, *cells in rows:
        named.append((first if first != last else "", *cells))
        last = first
    return named


def size(number: int) -> str:
    """Bytes as ifconfig's bracket has them: 1.7 MiB."""
    value, units = float(number), ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
    for unit in units[:-1]:
        if value < 1024:
            return f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} {units[-1]}"
