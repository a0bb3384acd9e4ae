"""What labctl is to reach, judged by the figures of the same run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median

from benchmarks import contestants as of
from benchmarks.work import IP_NETNS, PYTHON, Work, seconds

AGAINST_OTHERS = {of.DOCKER: 0.25, of.MININET: 0.35}  # two-containers, whole processes
AGAINST_FLOOR = 1.3
FEW, SIZES = 10, (100, 500, 1000)
EXEC = 2.5  # times bare Python and `ip netns exec` together
SECONDS = {"again": 1.5, "change": 1.7}  # of 1000 nodes
MEGABYTES = 120  # at the peak of an `up` of 1000 nodes


@dataclass(frozen=True)
class Aim:
    """A figure that should not be above a limit, both in `unit`."""

    what: str
    figure: float
    limit: float
    unit: str = "×"

    @property
    def met(self) -> bool:
        return self.figure <= self.limit


def judged(works: Mapping[str, Work]) -> Iterator[Aim]:
    """The aims about which this run has figures."""
    if two := works.get("two-containers"):
        for other, limit in AGAINST_OTHERS.items():
            for phases in (("up",), ("up", "down")):
                yield from _ratio(two, phases, other, limit, "two-containers")
    for size in SIZES:
        if work := works.get(f"nodes-{size}"):
            for phase in ("up", "down"):
                yield from _ratio(work, (phase,), of.FLOOR, AGAINST_FLOOR, f"{size} nodes")
                yield from _of_each_more(works.get(f"nodes-{FEW}"), work, phase, f"{size} nodes")
    if (work := works.get("nodes-1000")) and (mine := work.samples.get(of.LABCTL)):
        for phase, limit in SECONDS.items():
            what = {"again": "up without a change", "change": "up with one node changed"}[phase]
            yield Aim(f"1000 nodes, {what}", median(sample.wall for sample in mine[phase]), limit, "s")
        yield Aim("1000 nodes, up: peak", max(sample.rss for sample in mine["up"]) / 1024, MEGABYTES, "MB")
    if work := works.get("exec"):
        yield from _ratio(work, ("exec",), f"{IP_NETNS} + {PYTHON}", EXEC, "exec true")


def _of_each_more(few: Work | None, many: Work, phase: str, title: str) -> Iterator[Aim]:
    """What a node costs without the start: what a network takes longer than a small one."""
    found = [(seconds(few, who, phase), seconds(many, who, phase)) for who in (of.LABCTL, of.FLOOR)] if few else []
    more = [late - early for early, late in found if early and late]
    if len(more) == 2 and more[1] > 0:
        what = f"{title}, {phase}, each after the first {FEW}: labctl / {of.FLOOR}"
        yield Aim(what, more[0] / more[1], AGAINST_FLOOR)


def _ratio(work: Work, phases: tuple[str, ...], other: str, limit: float, title: str) -> Iterator[Aim]:
    mine, theirs = seconds(work, of.LABCTL, *phases), seconds(work, other, *phases)
    if mine and theirs:
        yield Aim(f"{title}, {' + '.join(phases)}: labctl / {other}", mine / theirs, limit)
