"""The picture: milliseconds a node against the number of nodes, both axes logarithmic, as SVG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import log10

from benchmarks.contestants import BATCH, DOCKER, FLOOR, LABCTL, MININET, MUNET, PODMAN, SCRIPT
from benchmarks.work import Work, seconds

WIDTH, HEIGHT = 880, 520  # of the picture
LEFT, TOP, RIGHT, BOTTOM = 56, 40, 630, 464  # of the field in it
CURVES = {  # whose phase, in which colour, dashed?
    (LABCTL, "up"): ("#2f81f7", ""),
    (LABCTL, "again"): ("#2f81f7", "2 4"),
    (LABCTL, "change"): ("#a371f7", "2 4"),
    (LABCTL, "down"): ("#2f81f7", "8 4"),
    (FLOOR, "up"): ("#3fb950", ""),
    (FLOOR, "down"): ("#3fb950", "8 4"),
    (BATCH, "up"): ("#d29922", ""),
    (SCRIPT, "up"): ("#db6d28", ""),
    (MININET, "up"): ("#f85149", ""),
    (MUNET, "up"): ("#bf8700", "8 4"),
    (PODMAN, "up"): ("#db61a2", ""),
    (DOCKER, "up"): ("#8b949e", ""),
}
NAMES = {FLOOR: "floor in C"}
WORDS = {"again": "up, nothing to do", "change": "up, one node changed"}
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #737b84; }
  .title { font-size: 15px; font-weight: 600; }
  .grid { stroke: #737b84; stroke-opacity: 0.25; }
  .curve { fill: none; stroke-width: 2; }
"""


@dataclass(frozen=True)
class Curve:
    """Points are (nodes, milliseconds a node)."""

    label: str
    colour: str
    dashes: str
    points: list[tuple[int, float]]


def picture(works: Sequence[Work]) -> str:
    """Legible on a light and on a dark page: the colours are in between, and there is no background."""
    curves = [curve for curve in _curves(works) if curve.points]
    if not curves:
        return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"/>\n'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        "<title>Milliseconds a node against the number of nodes</title>",
        f"<style>{STYLE}</style>",
        f'<text class="title" x="{LEFT}" y="22">Milliseconds a node, whole processes, both axes logarithmic</text>',
        f'<text x="{(LEFT + RIGHT) / 2}" y="{HEIGHT - 14}" text-anchor="middle">nodes</text>',
    ]
    scale = Scale(curves)
    lines += [*scale.grid(), *(line for curve in curves for line in _drawn(curve, scale)), *_labels(curves, scale)]
    return "\n".join([*lines, "</svg>"]) + "\n"


def _curves(works: Sequence[Work]) -> Iterator[Curve]:
    sizes = sorted((work for work in works if work.name.startswith("nodes-")), key=lambda work: work.size)
    for (name, phase), (colour, dashes) in CURVES.items():
        found = [(work.size, wall) for work in sizes if (wall := seconds(work, name, phase))]
        points = [(size, 1000 * wall / size) for size, wall in found]
        yield Curve(f"{NAMES.get(name, name)} {WORDS.get(phase, phase)}", colour, dashes, points)


class Scale:
    """From figures to places; each axis begins and ends at a round figure."""

    def __init__(self, curves: Sequence[Curve]) -> None:
        sizes = {size for curve in curves for size, _ in curve.points}
        values = [value for curve in curves for _, value in curve.points]
        self._sizes = sorted(sizes)
        self._marks = [mark for mark in _round_figures() if min(values) / 2.5 < mark < max(values) * 2.5]
        self._bottom, self._top = min(self._marks), max(self._marks)

    def x(self, size: float) -> float:
        first, last = self._sizes[0], self._sizes[-1]
        part = log10(size / first) / log10(last / first) if last > first else 0.5
        return round(LEFT + part * (RIGHT - LEFT), 1)

    def y(self, value: float) -> float:
        part = log10(value / self._bottom) / log10(self._top / self._bottom)
        return round(BOTTOM - part * (BOTTOM - TOP), 1)

    def grid(self) -> Iterator[str]:
        for mark in self._marks:
            y = self.y(mark)
            yield f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{y}" y2="{y}"/>'
            yield f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{mark:g}</text>'
        for size in self._sizes:
            x = self.x(size)
            yield f'<line class="grid" x1="{x}" x2="{x}" y1="{TOP}" y2="{BOTTOM}"/>'
            yield f'<text x="{x}" y="{BOTTOM + 20}" text-anchor="middle">{size}</text>'


def _round_figures() -> Iterator[float]:
    for power in range(-3, 6):
        for first in (1, 2, 5):
            yield first * 10.0**power


def _drawn(curve: Curve, scale: Scale) -> Iterator[str]:
    places = [(scale.x(size), scale.y(value)) for size, value in curve.points]
    dashes = f' stroke-dasharray="{curve.dashes}"' if curve.dashes else ""
    path = " ".join(f"{x},{y}" for x, y in places)
    yield f'<polyline class="curve" stroke="{curve.colour}"{dashes} points="{path}"/>'
    for (x, y), (size, value) in zip(places, curve.points, strict=True):
        tip = f"<title>{escape(curve.label)}, {size} nodes: {value:.2f} ms</title>"
        yield f'<circle cx="{x}" cy="{y}" r="3" fill="{curve.colour}">{tip}</circle>'


def _labels(curves: Sequence[Curve], scale: Scale) -> Iterator[str]:
    """To the right, in the order of the curves' ends, with as much space between them as words need."""
    y = TOP - 17.0
    for curve in sorted(curves, key=lambda curve: -curve.points[-1][1]):
        y = max(y + 17, scale.y(curve.points[-1][1]))
        dashes = f' stroke-dasharray="{curve.dashes}"' if curve.dashes else ""
        x = RIGHT + 16
        yield f'<line class="curve" stroke="{curve.colour}"{dashes} x1="{x}" x2="{x + 24}" y1="{y}" y2="{y}"/>'
        yield f'<text x="{x + 32}" y="{y + 4}">{escape(curve.label)}</text>'
