"""From samples to a table for people, ratios first, and JSON for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from statistics import median

from benchmarks.room import Sample
from benchmarks.work import DOCKER, FLOOR, ISOLATED, LABCTL, SCRIPT, Work

RATIOS = {  # the phases that are added up, and whom labctl is compared with
    "two-containers": (("up", "down"), [DOCKER, SCRIPT]),
    "nodes-100": (("up", "down"), [SCRIPT, FLOOR]),
    "nodes-500": (("up", "down"), [SCRIPT, FLOOR]),
    "nodes-1000": (("up", "down"), [FLOOR]),
    "exec": (("exec",), [DOCKER, "ip netns exec + python -c pass"]),
}
Samples = Sequence[Sample]


def total(samples: dict[str, list[Sample]], phases: Sequence[str]) -> list[Sample]:
    """Each round's phases together."""
    rounds = zip(*(samples[phase] for phase in phases), strict=True)
    return [sum(several[1:], several[0]) for several in rounds]


def ratios(work: Work) -> Iterator[tuple[str, float]]:
    """How many times as long as others labctl took, by the medians of one run."""
    phases, others = RATIOS[work.name]
    what = " + ".join(phases)
    for name in (LABCTL, ISOLATED):
        for other in others:
            parts = other.split(" + ")
            if all(each in work.samples for each in (name, *parts)):
                theirs = sum(_seconds(total(work.samples[part], phases)) for part in parts)
                yield f"{what}: {name} / {other}", _seconds(total(work.samples[name], phases)) / theirs


def _seconds(samples: Samples) -> float:
    return median(sample.wall for sample in samples)


def table(work: Work, smallest: int) -> Iterator[str]:
    """At most 80 columns. `smallest` is the memory in kilobytes below which nothing can be seen."""
    yield f"{work.title} · {work.rounds} rounds · median (min–max)"
    for text, ratio in ratios(work):
        yield f"  {text:60} {ratio:6.2f} ×"
    header = f"  {'':18} {'phase':6} {'wall ms':>22} {'CPU ms':>8} {'peak MB':>8}"
    yield header + (f" {'ms/node':>8}" if work.size > 1 else "")
    for name, phases in work.samples.items():
        shown = dict(phases)
        if len(phases) > 1 and work.size == 1:
            shown["both"] = total(phases, list(phases))
        for phase, samples in shown.items():
            yield _row(name, phase, samples, smallest) + (_each(samples, work.size) if work.size > 1 else "")
            name = ""
    for name, why in work.missing.items():
        yield f"  {name:18} {why.splitlines()[0]:.59}"


def _row(name: str, phase: str, samples: Samples, smallest: int) -> str:
    memory = max(sample.rss for sample in samples)
    peak = f"< {smallest / 1024:.0f}" if memory <= smallest * 1.05 else f"{memory / 1024:.0f}"
    return f"  {name:18} {phase:6} {_spread(samples):>22} {_milliseconds(samples, lambda s: s.cpu):8.0f} {peak:>8}"


def _spread(samples: Samples) -> str:
    walls = [1000 * sample.wall for sample in samples]
    digits = 1 if median(walls) < 100 else 0
    return f"{median(walls):.{digits}f} ({min(walls):.{digits}f}–{max(walls):.{digits}f})"


def _each(samples: Samples, size: int) -> str:
    return f" {_milliseconds(samples, lambda s: s.wall) / size:8.2f}"


def _milliseconds(samples: Samples, value: Callable[[Sample], float]) -> float:
    return 1000 * median(map(value, samples))


def as_json(works: Sequence[Work], machine: dict[str, str], smallest: int) -> dict[str, object]:
    """Every sample of the run: seconds and kilobytes."""
    return {
        "machine": machine,
        "smallest_rss": smallest,
        "works": {work.name: asdict(work) | {"ratios": dict(ratios(work))} for work in works},
    }
