"""What is measured: each piece of work by each contestant, by turns."""

from __future__ import annotations

import resource
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks import docker, traffic
from benchmarks.contestants import (
    BATCH,
    DOCKER,
    FLOOR,
    ISOLATED,
    LABCTL,
    MININET,
    MUNET,
    PODMAN,
    SCRIPT,
    TWO,
    Build,
    Contestant,
    Step,
    engine,
    interpreter,
    labctl,
    nodes,
    of_labctl,
    slug,
    two_containers,
)
from benchmarks.networks import Network
from benchmarks.room import Failure, Sample

BUDGET = 20.0  # seconds: whose turns take longer together takes no more of them
LARGEST = {MUNET: 10, DOCKER: 100, PODMAN: 100, MININET: 500, SCRIPT: 500, BATCH: 1000, ISOLATED: 1000}
QUICK = {MUNET: 2, DOCKER: 10, PODMAN: 10, MININET: 10, SCRIPT: 10, BATCH: 100, ISOLATED: 100}
IP_NETNS, PYTHON = "ip netns exec", "python -c pass"
TRAFFIC = "traffic"
MEMORY, DESCRIPTORS = 300, 2  # kilobytes, and open files, that a node takes at most


@dataclass
class Work:
    """One table: the samples of every contestant, and a line about each that is missing or took fewer turns."""

    name: str
    title: str
    rounds: int
    network: Network | None = None
    builders: tuple[str, ...] = ()  # only these can do it; else all
    samples: dict[str, dict[str, list[Sample]]] = field(default_factory=dict)
    figures: dict[str, dict[str, list[float]]] = field(default_factory=dict)  # what traffic has in place of samples
    notes: dict[str, str] = field(default_factory=dict)
    fewer: dict[str, int] = field(default_factory=dict)  # the rounds of those whose turns take long
    smaller: dict[str, int] = field(default_factory=dict)  # the most nodes that take a contestant a reasonable time
    failed: set[str] = field(default_factory=set)

    @property
    def size(self) -> int:
        return self.network.nodes if self.network else 1


def chosen(quick: bool, only: Collection[str] = ()) -> list[Work]:
    """The tables of this run."""
    few = 1 if quick else 5
    several = (LABCTL, ISOLATED, BATCH)
    works = [
        Work("two-containers", "two-containers.yaml, web servers included", 3 if quick else 15),
        Work("nodes-10", "10 nodes on one bridge", few, Network(10)),
        Work("nodes-100", "100 nodes on one bridge", few, Network(100)),
        Work("nodes-500", "500 nodes on one bridge", 1 if quick else 3, Network(500)),
        Work("nodes-1000", "1000 nodes on one bridge", 1 if quick else 3, Network(1000)),
        Work("nodes-5000", "5000 nodes on five bridges", 1, Network(5000, bridges=5)),
        Work("networks", "50 nodes, each on four bridges", few, Network(50, 4, everywhere=True), several),
        Work("ports", "10 nodes with 20 published ports each", few, Network(10, ports=20), (LABCTL, ISOLATED, DOCKER)),
        Work("exec", "`true` in a running node", 5 if quick else 30),
        Work(TRAFFIC, "traffic, one TCP stream", 1 if quick else 3),
    ]
    return [work for work in works if work.name in only or (not only and not (quick and work.size > 1000))]


def measure(work: Work, folder: Path, quick: bool, wanted: Collection[str] = ()) -> None:
    """Does one table's work; whatever happens, its rooms are gone afterwards."""
    with ExitStack() as stack:
        if work.name == TRAFFIC:
            return traffic.measure(work, folder, stack, 1 if quick else 2, wanted)
        if work.name == "exec":
            contestants = exec_true(work, folder, stack, wanted)
        else:
            builds = nodes(work.network) if work.network else two_containers()
            largest = QUICK if quick else LARGEST
            contestants = list(_entered(work, builds, largest, folder, stack, wanted))
        _by_turns(work, contestants, warm=work.size < 200)


def _entered(
    work: Work,
    builds: dict[str, Build],
    largest: dict[str, int],
    folder: Path,
    stack: ExitStack,
    wanted: Collection[str],
) -> Iterator[Contestant]:
    for name, build in builds.items():
        if (wanted and slug(name) not in wanted) or (work.builders and name not in work.builders):
            continue
        if work.size > largest.get(name, work.size):
            work.smaller[name] = largest[name]
        elif work.network and (lacking := _lacking(work.network)):
            work.notes[name] = lacking
        else:
            try:
                place, steps = build(folder / slug(name), stack)
            except Failure as failure:
                work.notes[name] = str(failure)
            else:
                yield Contestant(name, place, steps)


def _lacking(network: Network) -> str:
    """What of this machine is too little for a network."""
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable"))
    if files < network.nodes * DESCRIPTORS + 100:
        return f"a process may open {files} files here, too few for {network.nodes} nodes"
    if int(memory.split()[1]) < network.nodes * MEMORY:
        return f"too little memory for {network.nodes} nodes"
    return ""


def exec_true(work: Work, folder: Path, stack: ExitStack, wanted: Collection[str]) -> list[Contestant]:
    """`true` in a node of a running lab, and what there is to compare it with."""
    place = of_labctl(folder / slug(LABCTL), stack)
    place.run([*labctl(), "up", str(TWO)])
    commands = {
        LABCTL: [*labctl(), "exec", "container1", "true"],
        IP_NETNS: ["ip", "netns", "exec", "container1", "true"],
        PYTHON: [interpreter(), "-c", "pass"],
    }
    contestants = [Contestant(name, place, [Step("exec", command)]) for name, command in commands.items()]
    for name in (PODMAN, DOCKER):
        if wanted and slug(name) not in wanted:
            continue
        try:
            place, run = engine(name, folder / slug(name), stack)
            line = f"{run.format(name='container1', options='')} {docker.IMAGE} /bin/busybox httpd -f"
            place.run(["sh", "-c", line])
            inside = [name.lower(), "exec", "container1", "/bin/busybox", "true"]
            contestants.append(Contestant(name, place, [Step("exec", inside)]))
        except Failure as failure:
            work.notes[name] = str(failure)
    return contestants


def _by_turns(work: Work, contestants: list[Contestant], warm: bool) -> None:
    """Every contestant once a round, each round beginning with another; the first round may only warm up."""
    playing = list(contestants)
    for number in range(-warm, work.rounds):
        for contestant in _rotated(contestants, number):
            if contestant not in playing:
                continue
            try:
                turn = list(_turn(contestant))
            except Failure as failure:
                playing.remove(contestant)
                work.failed.add(contestant.name)
                done = len(next(iter(contestant.samples.values()), []))
                work.notes[contestant.name] = f"failed after {done} rounds: {failure}"
                continue
            contestant.spent += sum(sample.wall for _, sample in turn)
            enough = contestant.spent > BUDGET and contestant.name not in (LABCTL, ISOLATED, FLOOR)
            if number >= 0 or enough:
                for phase, sample in turn:
                    contestant.samples.setdefault(phase, []).append(sample)
            if enough and number < work.rounds - 1:
                playing.remove(contestant)
                work.fewer[contestant.name] = len(next(iter(contestant.samples.values())))
    work.samples = {each.name: each.samples for each in contestants if each.samples}


def _rotated(contestants: list[Contestant], number: int) -> list[Contestant]:
    first = number % len(contestants) if contestants else 0
    return contestants[first:] + contestants[:first]


def _turn(contestant: Contestant) -> Iterator[tuple[str, Sample]]:
    for step in contestant.steps:
        if len(contestant.steps) > 1:
            _quiet()
        yield step.phase, contestant.room.run(step.command, step.timeout)
        contestant.room.wait_for(step.then)


def _quiet() -> None:
    """Waits until the kernel has freed the namespaces of whoever was before: a thread of its own does that, and is
    called so while it does. Not for ever: others on the machine may have namespaces too."""
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline and any("+netns" in name for name in _threads()):
        time.sleep(0.02)


def _threads() -> Iterator[str]:
    for file in Path("/proc").glob("[0-9]*/comm"):
        try:
            yield file.read_text()
        except OSError:
            continue  # ended meanwhile


def total(samples: dict[str, list[Sample]], phases: Sequence[str]) -> list[Sample]:
    """Each round's phases together."""
    rounds = zip(*(samples[phase] for phase in phases), strict=True)
    return [sum(several[1:], several[0]) for several in rounds]


def seconds(work: Work, name: str, *phases: str) -> float | None:
    """The median of phases together; of several contestants, as in "a + b", the sum. None where it was not measured."""
    parts = name.split(" + ")
    if not all(phase in work.samples.get(part, {}) for part in parts for phase in phases):
        return None
    return sum(median(sample.wall for sample in total(work.samples[part], phases)) for part in parts)
