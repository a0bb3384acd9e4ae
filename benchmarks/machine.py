"""The machine and the programs that a run was made with."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

from benchmarks import docker
from benchmarks.work import ROOT, interpreter, labctl


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
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _says(command: Sequence[str]) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
    except OSError:
        return "not found"
    return (done.stdout.splitlines() or done.stderr.splitlines() or ["?"])[0].strip()
