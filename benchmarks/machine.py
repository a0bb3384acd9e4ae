"""The machine and the programs that a run was made with."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import docker, packages
from benchmarks.contestants import ROOT, interpreter, labctl


def described() -> dict[str, str]:
    """What a reader needs to judge the figures."""
    engine = docker.find()
    commit = _says(["git", "-C", str(ROOT), "describe", "--always", "--dirty"])
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 1024**2
    return {
        "kernel": f"{platform.release()} {platform.machine()}",
        "processor": f"{os.cpu_count()} × {_processor()}, {memory:.0f} GB",
        "load": " ".join(f"{value:.2f}" for value in os.getloadavg()) + " (before the run)",
        "python": _says([interpreter(), "--version"]),
        "labctl": f"{_says([*labctl(), '--version'])}, commit {commit}",
        "iproute2": _says(["ip", "-V"]),
        "nftables": _says(["nft", "--version"]),
        "docker": _says([str(engine.daemon), "--version"]) if engine else "not installed",
        "compiler": _says(["cc", "--version"]),
    } | {name: version for name in ("podman", "mininet", "munet", "iperf3") if (version := _unpacked(name))}


def _unpacked(name: str) -> str:
    """The version of what --setup unpacked; empty for what it did not."""
    root = packages.CACHE / name
    if found := next(root.glob("munet-*.dist-info"), None):
        return found.name.removeprefix("munet-").removesuffix(".dist-info")
    program = next((path for path in (root / "usr/bin").glob("mn" if name == "mininet" else name)), None)
    return _says([str(program), "--version"], packages.environment(root)) if program else ""


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _says(command: Sequence[str], more: Mapping[str, str] | None = None) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | dict(more or {})
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
    except OSError:
        return "not found"
    return (done.stdout.splitlines() or done.stderr.splitlines() or ["?"])[0].strip()
