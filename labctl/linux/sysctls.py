"""Sysctls by their dotted names, in the network namespace of the calling thread."""

from __future__ import annotations

from pathlib import Path


def path(sysctl: str) -> Path:
    """The file below /proc/sys; in sysctl(8)'s dotted form an interface's own dots are slashes."""
    return Path("/proc/sys", sysctl.translate(str.maketrans("./", "/.")))


def write(sysctl: str, value: str) -> None:
    path(sysctl).write_text(f"{value}\n")


def read(sysctl: str) -> str | None:
    """The value in the calling thread's namespace, several fields separated by single spaces; None where unknown."""
    try:
        return " ".join(path(sysctl).read_text().split())
    except FileNotFoundError:
        return None
