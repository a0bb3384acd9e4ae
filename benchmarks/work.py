"""What is measured: each piece of work as commands for each contestant, in rooms of their own, by turns."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import docker, floor
from benchmarks.room import Failure, Room, Sample

ROOT = Path(__file__).parents[1]
SCRIPTS = Path(__file__).with_name("scripts")
NO_LINKS = ["sh", "-c", 'test "$(ip -o link | wc -l)" = 1 && test -z "$(ip netns)"']
LABCTL, ISOLATED, SCRIPT, DOCKER = "labctl", "labctl --isolated", "ip script", "Docker"
FLOOR = "floor"


@dataclass(frozen=True)
class Step:
    """One measured command; `then` is not measured and waits until the command's work shows."""

    phase: str
    command: list[str]
    then: list[str] = field(default_factory=lambda: ["true"])


@dataclass
class Contestant:
    name: str
    room: Room
    steps: list[Step]
    samples: dict[str, list[Sample]] = field(default_factory=dict)


@dataclass
class Work:
    """One table: the samples of every contestant, and why one is missing."""

    name: str
    title: str
    rounds: int
    size: int = 1
    samples: dict[str, dict[str, list[Sample]]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    wanted: tuple[str, ...] = ()


def labctl() -> list[str]:
    """The command of $VENV or this Python's environment, else this Python with the package."""
    for folder in (os.environ.get("VENV", ROOT / ".venv"), Path(sys.executable).parents[1]):
        if os.access(command := Path(folder) / "bin/labctl", os.X_OK):
            return [str(command)]
    return [sys.executable, "-m", "labctl"]


def interpreter() -> str:
    """The Python that runs labctl."""
    beside = Path(labctl()[0]).with_name("python")
    return str(beside) if beside.exists() else sys.executable


def two_containers(work: Work, folder: Path, stack: ExitStack, warm: bool) -> None:
    """Two web servers on docker0, up until the command returns and down."""
    file = str(ROOT / "topologies/two-containers.yaml")
    contestants = []
    for name, options in ((LABCTL, []), (ISOLATED, ["--isolated"])):
        room = stack.enter_context(_room(folder, name))
        up = Step("up", [*labctl(), "up", file, *options], [*labctl(), "exec", "container1", *_fetch("172.17.0.3")])
        contestants.append(Contestant(name, room, [up, Step("down", [*labctl(), "down"], NO_LINKS)]))
    room = stack.enter_context(_room(folder, SCRIPT))
    (room.folder / "index.html").write_text(docker.PAGE)
    serving = ["ip", "netns", "exec", "container1", *_fetch("172.17.0.3")]
    script = [str(SCRIPTS / "two-containers-up.sh"), str(room.folder)]
    down = Step("down", [str(SCRIPTS / "two-containers-down.sh")], NO_LINKS)
    contestants.append(Contestant(SCRIPT, room, [Step("up", script, serving), down]))
    if room_of_docker := _docker(work, folder, stack):
        run = "docker run --detach --name container{} " + f"{docker.IMAGE} /bin/busybox httpd -f -h /www"
        up = Step("up", ["sh", "-ec", f"{run.format(1)}; {run.format(2)}"], _fetch("172.17.0.3"))
        down = Step("down", ["docker", "rm", "--force", "container1", "container2"])
        contestants.append(Contestant(DOCKER, room_of_docker, [up, down]))
    _by_turns(work, contestants, warm)


def nodes(work: Work, folder: Path, stack: ExitStack, warm: bool) -> None:
    """`work.size` nodes on one bridge."""
    size = str(work.size)
    file = folder / "nodes.yaml"
    file.write_text(_topology(work.size))
    ping = ["sh", "-c", f"ip netns exec node{size} ping -qc1 -W1 10.0.0.1 && test $(ip netns | wc -l) = {size}"]
    steps = [
        Step("up", [*labctl(), "up", str(file)], ping),
        Step("again", [*labctl(), "up", str(file)]),
        Step("down", [*labctl(), "down"], NO_LINKS),
    ]
    by_hand = [
        Step("up", [str(SCRIPTS / "nodes-up.sh"), size], ping),
        Step("down", [str(SCRIPTS / "nodes-down.sh"), size], NO_LINKS),
    ]
    known = {LABCTL: steps}
    if work.size <= 500:
        known[SCRIPT] = by_hand
    if program := floor.program():
        known[FLOOR] = [
            Step("up", [str(program), "up", size, "1"], ping),
            Step("down", [str(program), "down", size, "1"], NO_LINKS),
        ]
    else:
        work.missing[FLOOR] = floor.MISSING
    contestants = [
        Contestant(name, stack.enter_context(_room(folder, name)), found)
        for name, found in known.items()
        if not work.wanted or name in work.wanted
    ]
    _by_turns(work, contestants, warm)


def exec_true(work: Work, folder: Path, stack: ExitStack, warm: bool) -> None:
    """`true` in a node of a running lab."""
    room = stack.enter_context(_room(folder, LABCTL))
    room.run([*labctl(), "up", str(ROOT / "topologies/two-containers.yaml")])
    commands = {
        LABCTL: [*labctl(), "exec", "container1", "true"],
        "ip netns exec": ["ip", "netns", "exec", "container1", "true"],
        "python -c pass": [interpreter(), "-c", "pass"],
    }
    contestants = [Contestant(name, room, [Step("exec", command)]) for name, command in commands.items()]
    if room_of_docker := _docker(work, folder, stack):
        room_of_docker.run(
            ["docker", "run", "--detach", "--name", "container1", docker.IMAGE, "/bin/busybox", "httpd", "-f"]
        )
        inside = ["docker", "exec", "container1", "/bin/busybox", "true"]
        contestants.append(Contestant(DOCKER, room_of_docker, [Step("exec", inside)]))
    _by_turns(work, contestants, warm)


def _docker(work: Work, folder: Path, stack: ExitStack) -> Room | None:
    """A room with a daemon, or the reason why there is none."""
    if not (engine := docker.find()):
        work.missing[DOCKER] = docker.MISSING
        return None
    try:
        return stack.enter_context(docker.running(engine, folder / DOCKER))
    except Failure as failure:
        work.missing[DOCKER] = f"failed: {failure}"
        return None


def _by_turns(work: Work, contestants: list[Contestant], warm: bool) -> None:
    """Every contestant once a round, each round beginning with another; the first round may only warm up."""
    for number in range(-warm, work.rounds):
        for contestant in _rotated(contestants, number):
            if contestant.name in work.missing:
                continue
            try:
                for phase, sample in _turn(contestant):
                    if number >= 0:
                        contestant.samples.setdefault(phase, []).append(sample)
            except Failure as failure:
                work.missing[contestant.name] = f"failed: {failure}"
    work.samples = {each.name: each.samples for each in contestants if each.name not in work.missing}


def _rotated(contestants: list[Contestant], number: int) -> list[Contestant]:
    first = number % len(contestants)
    return contestants[first:] + contestants[:first]


def _turn(contestant: Contestant) -> Iterator[tuple[str, Sample]]:
    for step in contestant.steps:
        yield step.phase, contestant.room.run(step.command)
        contestant.room.wait_for(step.then)


def _room(folder: Path, name: str) -> Room:
    return Room(folder / name.replace(" ", ""), {"PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"})


def _fetch(address: str) -> list[str]:
    return [shutil.which("curl") or "curl", "--fail", "--silent", "--max-time", "2", f"http://{address}/"]


def _topology(size: int) -> str:
    nodes = "\n".join(f"  node{number}:\n    networks: [br0]" for number in range(1, size + 1))
    return f"name: nodes-{size}\nbridges:\n  br0:\n    subnet: 10.0.0.0/16\nnamespaces:\n{nodes}\n"


KINDS: dict[str, Callable[[Work, Path, ExitStack, bool], None]] = {
    "two-containers": two_containers,
    "nodes": nodes,
    "exec": exec_true,
}


def chosen(quick: bool, only: str | None, wanted: tuple[str, ...] = ()) -> list[Work]:
    """The tables of this run."""
    few = [3, 1, 1, 5] if quick else [15, 5, 3, 30]
    works = [
        Work("two-containers", "two-containers.yaml, web servers included", few[0]),
        Work("nodes-100", "100 nodes on one bridge", few[1], 100, wanted=wanted),
        Work("nodes-500", "500 nodes on one bridge", few[2], 500, wanted=wanted),
        Work("nodes-1000", "1000 nodes on one bridge", few[2], 1000, wanted=wanted),
        Work("exec", "`true` in a running node", few[3]),
    ]
    return [work for work in works if only in (None, work.name)]


def measure(work: Work, folder: Path) -> None:
    """Runs one table's work; whatever happens, its rooms are gone afterwards."""
    kind = KINDS[work.name.partition("-")[0] if work.name.startswith("nodes") else work.name]
    with ExitStack() as stack:
        kind(work, folder, stack, work.size < 200)
