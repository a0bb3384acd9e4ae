"""What the contestants need, unpacked into .cache: Debian's packages by apt, munet by pip. Nothing is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

CACHE = Path(__file__).parents[1] / ".cache/benchmarks"
DEBIAN = {
    "docker": ["docker.io", "busybox-static"],
    "podman": ["podman", "runc"],
    "mininet": ["mininet"],
    "iperf3": ["iperf3"],
}
PYPI = {"munet": ["munet"]}
XTABLES = ("iptables", "iptables-save", "ip6tables", "ip6tables-save")
SYSTEM = "/usr/sbin:/usr/bin:/sbin:/bin"


def missing(name: str) -> str:
    """Why a contestant does not take part, in one line."""
    return f"not here; --setup unpacks {(DEBIAN | PYPI)[name][0]} into .cache"


def setup() -> None:
    """Unpacks what is not there yet; says what cannot be had, and goes on."""
    wanted = [name for name in (*DEBIAN, *PYPI) if not (CACHE / name).exists()]
    if any(name in DEBIAN for name in wanted):
        update()
    for name in wanted:
        try:
            unpack(name) if name in DEBIAN else collect(name)
        except (OSError, subprocess.SubprocessError) as error:
            sys.stderr.write(f"benchmarks: no {name}: {error}\n")


def update() -> None:
    subprocess.run([*_apt_get(), "update"], check=False, timeout=300)


def unpack(name: str) -> None:
    """Downloads packages and what they need, and unpacks them: no script of a package runs, no daemon starts."""
    root, packages, partial = CACHE / name, CACHE / f"{name}-packages", CACHE / f"{name}-partial"
    for folder in (root, packages, partial):
        shutil.rmtree(folder, ignore_errors=True)
    (packages / "partial").mkdir(parents=True)
    where = ["--option", f"Dir::Cache::Archives={packages}"]
    download = [*_apt_get(), "install", "--download-only", "--reinstall", *where, *DEBIAN[name]]
    subprocess.run(download, check=True, timeout=900, stdout=subprocess.DEVNULL)
    for package in sorted(packages.glob("*.deb")):
        subprocess.run(["dpkg", "--extract", package, partial], check=True, timeout=300)
    if (partial / "usr/sbin/xtables-nft-multi").exists():
        for tool in XTABLES:
            if not shutil.which(tool) and not (link := partial / "usr/sbin" / tool).exists():
                link.symlink_to(tool.replace("tables", "tables-nft"))  # elsewhere the package's installation does this
    partial.rename(root)  # whole or not at all
    shutil.rmtree(packages)


def collect(name: str) -> None:
    """A Python package and what it needs, into a folder of its own."""
    partial = CACHE / f"{name}-partial"
    shutil.rmtree(partial, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--target", partial, *PYPI[name]], check=True, timeout=600)
    partial.rename(CACHE / name)


def environment(root: Path) -> dict[str, str]:
    """In which unpacked programs find one another, their libraries and their Python modules."""
    found = {
        "LD_LIBRARY_PATH": libraries(root),
        "XTABLES_LIBDIR": libraries(root) / "xtables",
        "PYTHONPATH": root / "usr/lib/python3/dist-packages",
    }
    path = f"{root}/usr/sbin:{root}/usr/bin:{root}/bin:{SYSTEM}"
    return {"PATH": path} | {name: str(folder) for name, folder in found.items() if folder.exists()}


def libraries(root: Path) -> Path:
    return root / f"usr/lib/{os.uname().machine}-linux-gnu"


def program(name: str, command: str) -> Path | None:
    """An unpacked program, else the machine's own."""
    unpacked = next((path for path in (CACHE / name).glob(f"usr/*bin/{command}")), None)
    found = unpacked or shutil.which(command)
    return Path(found) if found else None


def _apt_get() -> list[str]:
    return ["apt-get", "--quiet=2", "--no-install-recommends", "--option", "APT::Sandbox::User=root"]
