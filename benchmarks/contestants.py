"""Who builds a network: each contestant's commands, in a room of its own."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import docker, floor, packages, podman
from benchmarks.networks import Network
from benchmarks.room import Failure, Room, Sample

ROOT = Path(__file__).parents[1]
SCRIPTS = Path(__file__).with_name("scripts")
TWO = ROOT / "topologies/two-containers.yaml"
NO_LINKS = ["sh", "-c", 'test "$(ip -o link | wc -l)" = 1 && test -z "$(ls /run/netns 2>/dev/null)"']
LABCTL, ISOLATED, FLOOR, BATCH, SCRIPT = "labctl", "labctl --isolated", "floor", "ip -batch", "ip script"
MININET, MUNET, PODMAN, DOCKER = "Mininet", "munet", "Podman", "Docker"
SERVER = "/bin/busybox httpd -f -h /www"


@dataclass(frozen=True)
class Step:
    """One measured command; `then` is not measured and waits until the command's work shows."""

    phase: str
    command: list[str]
    then: list[str] = field(default_factory=lambda: ["true"])
    timeout: float = 60.0  # seconds


@dataclass
class Contestant:
    name: str
    room: Room
    steps: list[Step]
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    spent: float = 0.0  # seconds


Build = Callable[[Path, ExitStack], tuple[Room, list[Step]]]  # raises Failure


def slug(name: str) -> str:
    """A contestant's name as an option says it."""
    return "-".join(name.lower().replace("-", " ").split())


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


def room(folder: Path, stack: ExitStack, environment: Mapping[str, str] | None = None, *daemons: str) -> Room:
    return stack.enter_context(Room(folder, {"LC_ALL": "C.UTF-8"} | dict(environment or {}), daemons))


def of_labctl(folder: Path, stack: ExitStack) -> Room:
    return room(folder, stack, {"PYTHONPATH": str(ROOT)})


def fetch(address: str) -> list[str]:
    return [shutil.which("curl") or "curl", "--fail", "--silent", "--max-time", "2", f"http://{address}/"]


def two_containers() -> dict[str, Build]:
    """Two web servers on one bridge."""
    return {
        LABCTL: lambda folder, stack: _two_by_labctl(folder, stack, []),
        ISOLATED: lambda folder, stack: _two_by_labctl(folder, stack, ["--isolated"]),
        SCRIPT: _two_by_script,
        MININET: lambda folder, stack: _emulator(MININET, 2, folder, stack, serve=True),
        MUNET: lambda folder, stack: _emulator(MUNET, 2, folder, stack, serve=True),
        PODMAN: lambda folder, stack: _containers(PODMAN, Network(2), folder, stack, answered=True),
        DOCKER: lambda folder, stack: _containers(DOCKER, Network(2), folder, stack, answered=True),
    }


def nodes(network: Network) -> dict[str, Build]:
    """Nodes on bridges, without services."""
    return {
        LABCTL: lambda folder, stack: _by_labctl(network, folder, stack, []),
        ISOLATED: lambda folder, stack: _by_labctl(network, folder, stack, ["--isolated"]),
        FLOOR: lambda folder, stack: _by_floor(network, folder, stack),
        BATCH: lambda folder, stack: _by_batch(network, folder, stack),
        SCRIPT: lambda folder, stack: _by_script(network, folder, stack),
        MININET: lambda folder, stack: _emulator(MININET, network.nodes, folder, stack),
        MUNET: lambda folder, stack: _emulator(MUNET, network.nodes, folder, stack),
        PODMAN: lambda folder, stack: _containers(PODMAN, network, folder, stack),
        DOCKER: lambda folder, stack: _containers(DOCKER, network, folder, stack),
    }


def _two_by_labctl(folder: Path, stack: ExitStack, options: list[str]) -> tuple[Room, list[Step]]:
    up = Step("up", [*labctl(), "up", str(TWO), *options], [*labctl(), "exec", "container1", *fetch("172.17.0.3")])
    return of_labctl(folder, stack), [up, Step("down", [*labctl(), "down"], NO_LINKS)]


def _two_by_script(folder: Path, stack: ExitStack) -> tuple[Room, list[Step]]:
    place = room(folder, stack)
    (folder / "index.html").write_text(docker.PAGE)
    serving = ["ip", "netns", "exec", "container1", *fetch("172.17.0.3")]
    up = Step("up", [str(SCRIPTS / "two-containers-up.sh"), str(folder)], serving)
    return place, [up, Step("down", [str(SCRIPTS / "two-containers-down.sh")], NO_LINKS)]


def _by_labctl(network: Network, folder: Path, stack: ExitStack, options: list[str]) -> tuple[Room, list[Step]]:
    place = of_labctl(folder, stack)
    written, changed = folder / "lab.yaml", folder / "changed.yaml"
    written.write_text(network.topology())
    changed.write_text(network.topology(changed=True))
    prefix = f"{network.name}-" if options else ""
    other = f"ip -n {prefix}node{network.middle} -o address | grep -F {network.changed_address()}/"
    up = [*labctl(), "up"]
    seconds = _seconds(network)
    return place, [
        Step("up", [*up, str(written), *options], _works(network, prefix), seconds),
        Step("again", [*up, str(written), *options], timeout=seconds),
        Step("change", [*up, str(changed), *options], ["sh", "-c", other], seconds),
        Step("down", [*labctl(), "down"], NO_LINKS, seconds),
    ]


def _by_floor(network: Network, folder: Path, stack: ExitStack) -> tuple[Room, list[Step]]:
    if not (program := floor.program()):
        raise Failure(floor.MISSING)
    words = [str(network.nodes), str(network.bridges)]
    up = Step("up", [str(program), "up", *words], _works(network))
    return room(folder, stack), [up, Step("down", [str(program), "down", *words], NO_LINKS)]


def _by_batch(network: Network, folder: Path, stack: ExitStack) -> tuple[Room, list[Step]]:
    place = room(folder, stack)
    network.write_batches(folder)
    seconds = _seconds(network)
    up = Step("up", [str(SCRIPTS / "batch-up.sh"), str(folder)], _works(network), seconds)
    return place, [up, Step("down", [str(SCRIPTS / "batch-down.sh"), str(folder)], NO_LINKS, seconds)]


def _by_script(network: Network, folder: Path, stack: ExitStack) -> tuple[Room, list[Step]]:
    size, seconds = str(network.nodes), _seconds(network)
    up = Step("up", [str(SCRIPTS / "nodes-up.sh"), size], _works(network), seconds)
    return room(folder, stack), [up, Step("down", [str(SCRIPTS / "nodes-down.sh"), size], NO_LINKS, seconds)]


def _emulator(name: str, size: int, folder: Path, stack: ExitStack, serve: bool = False) -> tuple[Room, list[Step]]:
    """Mininet or munet, whose networks live in a process of theirs."""
    root = packages.CACHE / name.lower()
    if not root.exists():
        raise Failure(packages.missing(name.lower()))
    environment = packages.environment(root)
    if name == MUNET:
        environment["PYTHONPATH"] = str(root)
    place = room(folder, stack, environment, "emulator")
    (folder / "index.html").write_text(docker.PAGE)
    words = [interpreter(), str(SCRIPTS / f"{name.lower()}_lab.py"), str(size), *([str(folder)] if serve else [])]
    up = Step("up", [str(SCRIPTS / "emulator-up.sh"), *words], timeout=60 + 0.3 * size)
    if serve and name == MININET:
        up = Step(
            "up", up.command, ["sh", "-c", f"mnexec -a $(pgrep -f 'mininet:[h]1$') {shlex.join(fetch('10.0.0.3'))}"]
        )
    return place, [up, Step("down", [str(SCRIPTS / "emulator-down.sh")], NO_LINKS, 60 + 0.3 * size)]


def _containers(
    name: str, network: Network, folder: Path, stack: ExitStack, answered: bool = False
) -> tuple[Room, list[Step]]:
    """Docker or Podman: containers with a web server each, on the network that the engine has from the start.

    `answered` says that the second one is asked for its page, at the address that it got.
    """
    place, run = engine(name, folder, stack)
    lines = ["set -e"]
    for node in range(1, network.nodes + 1):
        ports = " ".join(f"--publish {port}:80" for port in network.published(node))
        lines.append(f"{run.format(name=f'container{node}', options=ports)} {docker.IMAGE} {SERVER}")
    script = folder / "up.sh"
    script.write_text("\n".join(lines) + "\n")
    seconds = 60 + network.nodes + network.ports * network.nodes / 5
    remove = ["docker", "rm", "--force"] if name == DOCKER else ["podman", "rm", "--force", "--time", "0"]
    everyone = [f"container{node}" for node in range(1, network.nodes + 1)]
    address = f"$({name.lower()} inspect --format '{{{{.NetworkSettings.IPAddress}}}}' container2)"
    then = ["sh", "-c", shlex.join(fetch("")).replace("http:///", f"http://{address}/")] if answered else ["true"]
    up = Step("up", ["sh", str(script)], then, seconds)
    return place, [up, Step("down", [*remove, *everyone], timeout=seconds)]


def engine(name: str, folder: Path, stack: ExitStack) -> tuple[Room, str]:
    """A container engine at work in a room, and its line to run a container called {name}, with {options}."""
    if name == PODMAN:
        line = f"podman run --detach --name {{name}} {podman.OPTIONS} {podman.PARENT}{os.getpid()} {{options}}"
        return stack.enter_context(podman.running(folder)), line
    if not (found := docker.find()):
        raise Failure(docker.MISSING)
    line = "docker run --detach --name {name} {options}"
    return stack.enter_context(docker.running(found, folder)), line


def _works(network: Network, prefix: str = "") -> list[str]:
    """The last node reaches its gateway, and all the others have a name; an isolated lab's host has one too."""
    bridge, _ = next(network.interfaces(network.nodes))
    ping = f"ip netns exec {prefix}node{network.nodes} ping -qc1 -W1 10.{bridge}.0.1"
    return ["sh", "-c", f"{ping} && test $(ls /run/netns | wc -l) = {network.nodes + bool(prefix)}"]


def _seconds(network: Network) -> float:
    """Long enough for anybody."""
    return 60 + 0.1 * network.nodes
