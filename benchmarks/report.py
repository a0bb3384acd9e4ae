"""From samples to a table for people, ratios first, and JSON for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from statistics import median

from benchmarks.aims import Aim
from benchmarks.contestants import BATCH, DOCKER, FLOOR, ISOLATED, LABCTL, MININET, MUNET, PODMAN, SCRIPT
from benchmarks.room import Sample
from benchmarks.work import IP_NETNS, PYTHON, TRAFFIC, Work, seconds, total

OTHERS = (FLOOR, BATCH, SCRIPT, MININET, MUNET, PODMAN, DOCKER, f"{IP_NETNS} + {PYTHON}")
Samples = Sequence[Sample]
WIDTH = 90  # of a line, at most


def compared(work: Work) -> list[tuple[str, ...]]:
    """The phases, added up, by which contestants are compared."""
    return [("exec",)] if work.name == "exec" else [("up",), ("up", "down")]


def ratios(work: Work, name: str = LABCTL) -> Iterator[tuple[str, str, float]]:
    """How many times as long as others labctl took, by the medians of one run: phases, the other one, quotient."""
    for phases in compared(work):
        mine = seconds(work, name, *phases)
        for other in OTHERS:
            theirs = seconds(work, other, *phases)
            if mine and theirs:
                yield " + ".join(phases), other, mine / theirs


def table(work: Work, smallest: int) -> Iterator[str]:
    """At most 90 columns. `smallest` is the memory in kilobytes below which nothing can be seen."""
    yield f"{work.title} · {work.rounds} round{'s' if work.rounds > 1 else ''} · median (min–max)"
    if work.name == TRAFFIC:
        yield from _traffic(work)
    elif work.samples:
        yield from _ratio_lines(work)
        header = f"  {'':18} {'phase':6} {'wall ms':>24} {'CPU ms':>8} {'peak MB':>8}"
        yield header + (f" {'ms/node':>8}" if work.size > 1 else "")
        for name, phases in work.samples.items():
            yield from _rows(work, name, phases, smallest)
    if work.fewer:
        yield from _wrapped("  fewer rounds, as they take long: ", [f"{name} {n}" for name, n in work.fewer.items()])
    if work.smaller:
        yield from _wrapped(
            "  minutes, so only with fewer nodes: ", [f"{n} ≤ {most}" for n, most in work.smaller.items()]
        )
    for name, why in work.notes.items():
        yield from _wrapped(f"  {name:18}", f" {_last_line(why)}".split(" "), " ")


def _last_line(text: str) -> str:
    """Where a reason quotes a command's output, its end says most; but there may be none."""
    first, *rest = text.splitlines()
    return f"{first.partition(':')[0]}: {rest[-1]}" if rest else first.rstrip(":")


def _ratio_lines(work: Work) -> Iterator[str]:
    """A line for each pair of phases: labctl's quotients with all the others."""
    for name in (LABCTL, ISOLATED):
        found = list(ratios(work, name))
        for phases in dict.fromkeys(phases for phases, _, _ in found):
            quotients = [f"{ratio:.2f} × {other}" for of, other, ratio in found if of == phases]
            yield from _wrapped(f"  {name}, {phases}: ", quotients)


def _wrapped(start: str, parts: Sequence[str], between: str = ", ") -> Iterator[str]:
    line = start + parts[0]
    for part in parts[1:]:
        if len(line + between + part) >= WIDTH:
            yield line + between.rstrip()
            line = " " * 6 + part
        else:
            line += between + part
    yield line


def _rows(work: Work, name: str, phases: dict[str, list[Sample]], smallest: int) -> Iterator[str]:
    shown = dict(phases)
    if len(phases) > 1 and work.size == 1:
        shown["both"] = total(phases, list(phases))
    for phase, samples in shown.items():
        yield _row(name, phase, samples, smallest) + (_each(samples, work.size) if work.size > 1 else "")
        name = ""


def _row(name: str, phase: str, samples: Samples, smallest: int) -> str:
    memory = max(sample.rss for sample in samples)
    peak = f"< {smallest / 1024:.0f}" if memory <= smallest * 1.05 else f"{memory / 1024:.0f}"
    walls = _spread([1000 * sample.wall for sample in samples])
    return f"  {name:18} {phase:6} {walls:>24} {_milliseconds(samples, lambda s: s.cpu):8.0f} {peak:>8}"


def _spread(values: Sequence[float], digits: int | None = None) -> str:
    digits = (1 if median(values) < 100 else 0) if digits is None else digits
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def _each(samples: Samples, size: int) -> str:
    return f" {_milliseconds(samples, lambda s: s.wall) / size:8.2f}"


def _milliseconds(samples: Samples, value: Callable[[Sample], float]) -> float:
    return 1000 * median(map(value, samples))


def _traffic(work: Work) -> Iterator[str]:
    """Gbit/s, except for the ping."""
    names = sorted(work.figures, key=(LABCTL, DOCKER).index)
    if not names:
        return
    yield f"  {'Gbit/s':28}" + "".join(f" {name:>22}" for name in names) + f" {'ratio':>8}"
    for what in work.figures[names[0]]:
        figures = [work.figures[name][what] for name in names if what in work.figures[name]]
        cells = "".join(f" {_spread(values, 1):>22}" for values in figures)
        ratio = f" {median(figures[0]) / median(figures[1]):6.2f} ×" if len(figures) == 2 else ""
        yield f"  {what:28}{cells}{ratio}"


def aims_table(aims: Sequence[Aim]) -> Iterator[str]:
    """What this run says of each aim."""
    yield "Aims"
    for aim in aims:
        verdict = "met" if aim.met else "missed"
        yield f"  {aim.what:58} {aim.figure:7.2f} {aim.unit:2} ≤ {aim.limit:6.2f} {aim.unit:2} {verdict}"


def as_json(works: Sequence[Work], machine: dict[str, str], smallest: int, aims: Sequence[Aim]) -> dict[str, object]:
    """Every sample of the run: seconds and kilobytes."""
    return {
        "machine": machine,
        "smallest_rss": smallest,
        "works": {work.name: _work_as_json(work) for work in works},
        "aims": [asdict(aim) | {"met": aim.met} for aim in aims],
    }


def _work_as_json(work: Work) -> dict[str, object]:
    said = {f"{phases}: {name} / {other}": r for name in (LABCTL, ISOLATED) for phases, other, r in ratios(work, name)}
    return {**asdict(work), "failed": sorted(work.failed), "ratios": said}
