"""A real Docker engine in a room: Debian's docker.io, of the machine or unpacked into .cache without installing it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.room import Failure, Room

UNPACKED = Path(__file__).parents[1] / ".cache/benchmarks/docker"
IMAGE = "busybox-httpd"
MISSING = "not installed; --setup unpacks Debian's docker.io into .cache"
PAGE = "<html><body><h1>It works!</h1></body></html>\n"
CGROUPS = Path("/sys/fs/cgroup")
PARENT = "labctl-benchmark-"
DRIVERS = ("overlay2", "vfs")


@dataclass(frozen=True)
class Engine:
    """Where the programs of one Docker engine are: folders for PATH."""

    daemon: Path
    folders: tuple[Path, ...]

    def environment(self) -> dict[str, str]:
        path = ":".join([*map(str, self.folders), "/usr/sbin:/usr/bin:/sbin:/bin"])
        libraries = UNPACKED / f"usr/lib/{os.uname().machine}-linux-gnu"
        return {"PATH": path} | ({"LD_LIBRARY_PATH": str(libraries)} if libraries.exists() else {})


def find() -> Engine | None:
    """The unpacked engine, else Debian's of this machine."""
    for root in (UNPACKED, Path("/")):
        daemon = root / "usr/sbin/dockerd"
        if daemon.exists() and Path("/bin/busybox").exists():
            return Engine(daemon, (root / "usr/sbin", root / "usr/bin"))
    return None


def setup() -> None:
    """Downloads docker.io and what it needs, and unpacks it: nothing is installed, no daemon of the machine starts."""
    packages = UNPACKED.with_name("packages")
    (packages / "partial").mkdir(parents=True, exist_ok=True)
    get = ["apt-get", "--quiet=2", "--no-install-recommends"]
    subprocess.run([*get, "update"], check=False, timeout=300)
    download = [*get, "install", "--download-only", "--reinstall", "--option", f"Dir::Cache::Archives={packages}"]
    subprocess.run([*download, "docker.io", "busybox-static"], check=True, timeout=900, stdout=subprocess.DEVNULL)
    for package in sorted(packages.glob("*.deb")):
        subprocess.run(["dpkg", "--extract", package, UNPACKED], check=True, timeout=300)
    tool = UNPACKED / "usr/sbin/iptables"
    if not shutil.which("iptables") and not tool.exists():
        tool.symlink_to("iptables-nft")  # elsewhere the package's installation makes this link
    if not Path("/bin/busybox").exists():
        raise Failure("please install busybox-static: Docker's image is made of it")
    shutil.rmtree(packages)


@contextmanager
def running(engine: Engine, folder: Path) -> Iterator[Room]:
    """A room with a Docker daemon and an image; Docker's own folders die with `folder`."""
    socket = folder / "docker.sock"
    environment = engine.environment() | {"DOCKER_HOST": f"unix://{socket}"}
    try:
        with Room(folder, environment, daemons=True) as room:
            daemon = [str(engine.daemon), "--host", f"unix://{socket}", "--cgroup-parent", f"{PARENT}{os.getpid()}"]
            daemon += ["--exec-root", "/run/docker", "--pidfile", "/run/docker.pid"]
            _start(room, daemon)
            room.run(["docker", "import", str(_image(folder)), IMAGE])
            yield room
    finally:
        _forget()


def _start(room: Room, daemon: list[str]) -> None:
    for driver in DRIVERS:
        options = ["--data-root", str(room.folder / driver), "--storage-driver", driver]
        room.start([*daemon, *options], f"dockerd-{driver}.log")
        try:
            return room.wait_for(["docker", "version"])
        except Failure as error:
            failure = error
    raise failure


def _image(folder: Path) -> Path:
    """Nothing but busybox and a page."""
    page, image = folder / "index.html", folder / "image.tar"
    page.write_text(PAGE)
    with tarfile.open(image, "w") as tar:
        tar.add("/bin/busybox", "bin/busybox")
        tar.add(page, "www/index.html")
    return image


def _forget() -> None:
    """Removes the empty control groups of our daemons, also of a benchmark that was killed."""
    for group in CGROUPS.rglob(f"{PARENT}*"):
        pid = int(group.name.removeprefix(PARENT))
        if pid == os.getpid() or not Path(f"/proc/{pid}").exists():
            for folder in (*sorted((each for each in group.rglob("*") if each.is_dir()), reverse=True), group):
                folder.rmdir()
