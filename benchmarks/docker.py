"""A real Docker engine in a room: Debian's docker.io, of the machine or unpacked into .cache without installing it."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import packages
from benchmarks.room import Failure, Room

UNPACKED = packages.CACHE / "docker"
IMAGE = "busybox-httpd"
MISSING = packages.missing("docker")
PAGE = "<html><body><h1>It works!</h1></body></html>\n"
CGROUPS = Path("/sys/fs/cgroup")
PARENT = "labctl-benchmark-"
DRIVERS = ("overlay2", "vfs")
# containerd makes a folder in /opt, whatever its configuration: here in one that dies with the room's /run.
OPT = "mkdir -p /run/opt/upper /run/opt/work && mount -t overlay overlay /opt -o lowerdir=/opt"
OPT += ",upperdir=/run/opt/upper,workdir=/run/opt/work"


@dataclass(frozen=True)
class Engine:
    """Where the programs of one Docker engine are: folders for PATH; and the only program of the image."""

    daemon: Path
    folders: tuple[Path, ...]
    busybox: Path

    def command(self, socket: Path, control_group: str) -> list[str]:
        """The daemon, but for where its data go."""
        words = [str(self.daemon), "--host", f"unix://{socket}", "--cgroup-parent", control_group]
        return [*words, "--exec-root", "/run/docker", "--pidfile", "/run/docker.pid"]

    def environment(self) -> dict[str, str]:
        return packages.environment(UNPACKED) | {"PATH": ":".join([*map(str, self.folders), packages.SYSTEM])}


def find() -> Engine | None:
    """The unpacked engine, else Debian's of this machine."""
    for root in (UNPACKED, Path("/")):
        folders = (root / "usr/sbin", root / "usr/bin", root / "bin")
        daemon, busybox = (
            next((each / name for each in folders if (each / name).exists()), None) for name in ("dockerd", "busybox")
        )
        if daemon and busybox:
            return Engine(daemon, folders[:2], busybox)
    return None


def setup() -> None:
    """Unpacks docker.io and what it needs, anew."""
    packages.update()
    packages.unpack("docker")


@contextmanager
def running(engine: Engine, folder: Path) -> Iterator[Room]:
    """A room with a Docker daemon and an image; Docker's own folders die with `folder`."""
    socket = folder / "docker.sock"
    environment = engine.environment() | {"DOCKER_HOST": f"unix://{socket}"}
    try:
        with Room(folder, environment, daemons=("dockerd", "containerd")) as room:
            room.run(["sh", "-c", OPT])
            _start(room, engine.command(socket, f"{PARENT}{os.getpid()}"))
            room.run(["docker", "import", str(image(engine, folder)), IMAGE])
            yield room
    finally:
        forget(PARENT, os.getpid())


def _start(room: Room, daemon: list[str]) -> None:
    for driver in DRIVERS:
        options = ["--data-root", str(room.folder / driver), "--storage-driver", driver]
        room.start([*daemon, *options], f"dockerd-{driver}.log")
        try:
            return room.wait_for(["docker", "version"])
        except Failure as error:
            failure = error
    raise failure


def image(engine: Engine, folder: Path) -> Path:
    """A file for `docker import`: nothing but busybox and a page."""
    page, packed = folder / "index.html", folder / "image.tar"
    page.write_text(PAGE)
    with tarfile.open(packed, "w") as tar:
        tar.add(engine.busybox, "bin/busybox")
        tar.add(page, "www/index.html")
    return packed


def forget(parent: str, mine: int) -> bool:
    """Removes the control groups of this run and of those that were killed; answers whether none was in use."""
    try:
        for group in [*CGROUPS.rglob(f"{parent}*")]:
            pid = int(group.name.removeprefix(parent))
            if pid == mine or not Path(f"/proc/{pid}").exists():
                for folder in (*sorted((each for each in group.rglob("*") if each.is_dir()), reverse=True), group):
                    folder.rmdir()
    except OSError:  # a process has not quite ended, or another run removes them too
        return False
    return True


if __name__ == "__main__":
    try:
        setup()
    except (OSError, subprocess.SubprocessError) as error:
        sys.exit(f"docker: {error}")
