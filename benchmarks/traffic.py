"""What passes through a finished network: one TCP stream by iperf3 and small packets by ping, beside Docker's."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks import contestants, docker, packages
from benchmarks.room import Failure, Room

if TYPE_CHECKING:
    from benchmarks.work import Work

PORT = 5201
OUTSIDE = "192.0.2.1"  # an address of the host that is on no bridge
RTT = "ping, microseconds"
PATHS = ("node to node", "host to 127.0.0.1:port", f"host to {OUTSIDE}:port")
PINGS = 200
TOPOLOGY = f"""name: traffic
bridges:
  docker0:
    subnet: 172.17.0.0/16
namespaces:
  container1:
    networks: [docker0]
  container2:
    networks: [docker0]
    ports: ["{PORT}:{PORT}"]
"""


@dataclass(frozen=True)
class Track:
    """Two nodes in a room: how to enter the first and the second one."""

    room: Room
    first: list[str]
    second: list[str]


def measure(work: Work, folder: Path, stack: ExitStack, seconds: int, wanted: Collection[str]) -> None:
    """Fills `work.figures`: Gbit/s by path, and the median round trip."""
    program = packages.program("iperf3", "iperf3")
    tracks = {}
    for name, lay in ((contestants.LABCTL, _by_labctl), (contestants.DOCKER, _by_docker)):
        if wanted and contestants.slug(name) not in wanted:
            continue
        try:
            if not program:
                raise Failure(packages.missing("iperf3"))
            tracks[name] = lay(folder / contestants.slug(name), stack)
            _serve(tracks[name], str(program))
        except Failure as failure:
            tracks.pop(name, None)
            work.notes[name] = str(failure)
    for number in range(work.rounds):
        names = list(tracks)[:: -1 if number % 2 else 1]
        for name in names:
            try:
                figures = _figures(tracks[name], str(program), seconds)
            except (Failure, ValueError, KeyError) as failure:
                work.notes[name] = f"failed: {failure}"
                continue
            for what, figure in figures.items():
                work.figures.setdefault(name, {}).setdefault(what, []).append(figure)


def _by_labctl(folder: Path, stack: ExitStack) -> Track:
    room = contestants.of_labctl(folder, stack)
    file = folder / "traffic.yaml"
    file.write_text(TOPOLOGY)
    room.run(["ip", "address", "add", f"{OUTSIDE}/32", "dev", "lo"])
    room.run([*contestants.labctl(), "up", str(file)])
    return Track(room, *(["nsenter", f"--net=/run/netns/container{number}"] for number in (1, 2)))


def _by_docker(folder: Path, stack: ExitStack) -> Track:
    room, run = contestants.engine(contestants.DOCKER, folder, stack)
    room.run(["ip", "address", "add", f"{OUTSIDE}/32", "dev", "lo"])
    insides = []
    for name, options in (("container1", ""), ("container2", f"--publish {PORT}:{PORT}")):
        room.run(["sh", "-c", f"{run.format(name=name, options=options)} {docker.IMAGE} /bin/busybox sleep 1000000"])
        place = room.output(["docker", "inspect", "--format", "{{.NetworkSettings.SandboxKey}}", name])
        insides.append(["nsenter", f"--net={place}"])
    return Track(room, *insides)


def _serve(track: Track, iperf3: str) -> None:
    """An iperf3 server in the second node."""
    libraries = packages.libraries(packages.CACHE / "iperf3")
    track.room.start([*track.second, "env", f"LD_LIBRARY_PATH={libraries}", iperf3, "--server"], "iperf3.log")
    track.room.wait_for([*track.second, "sh", "-c", f"ss -Hltn sport = :{PORT} | grep -q ."])


def _figures(track: Track, iperf3: str, seconds: int) -> dict[str, float]:
    libraries = packages.libraries(packages.CACHE / "iperf3")
    figures = {}
    for path, inside, to in zip(PATHS, (track.first, [], []), ("172.17.0.3", "127.0.0.1", OUTSIDE), strict=True):
        client = ["env", f"LD_LIBRARY_PATH={libraries}", iperf3, "--client", to, "--time", str(seconds), "--json"]
        answer = json.loads(track.room.output([*inside, *client]))
        figures[path] = answer["end"]["sum_received"]["bits_per_second"] / 1e9
    printed = track.room.output([*track.first, "ping", "-c", str(PINGS), "-i", "0.002", "172.17.0.3"])
    figures[RTT] = 1000 * median(float(value) for value in re.findall(r" time=([\d.]+) ms", printed))
    return figures
