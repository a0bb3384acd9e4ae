"""Sysctls by their dotted names, in the network namespace of the calling thread."""

from __future__ import annotations

import os

SWAPPED = str.maketrans("./", "/.")
LONGEST = 64 * 1024  # bytes of a value


def path(sysctl: str) -> str:
    """The file below /proc/sys; in sysctl(8)'s dotted form an interface's own dots are slashes."""
    return "/proc/sys/" + sysctl.translate(SWAPPED)


def write(sysctl: str, value: str) -> None:
    """In one write(2), which is how a sysctl is set. Raises OSError."""
    fd = os.open(path(sysctl), os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, f"{value}\n".encode())
    finally:
        os.close(fd)


def read(sysctl: str) -> str | None:
    """The value in the calling thread's namespace, several fields separated by single spaces; None where unknown."""
    try:
        fd = os.open(path(sysctl), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return " ".join(os.read(fd, LONGEST).decode().split())
    finally:
        os.close(fd)
