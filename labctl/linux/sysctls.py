"""Sysctls by their dotted names, in the network namespace of the calling thread."""

from __future__ import annotations

import os

from labctl.linux import libc

SWAPPED = str.maketrans("./", "/.")
LONGEST = 64 * 1024  # bytes of a value
USES = 200  # of one procfs: to take another one costs as much as 200 look-ups in a chain of 200


def path(sysctl: str) -> str:
    """The file below /proc/sys; in sysctl(8)'s dotted form an interface's own dots are slashes."""
    return "/proc/sys/" + sysctl.translate(SWAPPED)


def write(sysctl: str, value: str) -> None:
    """In one write(2), which is how a sysctl is set. Raises OSError."""
    _write(os.open(path(sysctl), os.O_WRONLY | os.O_CLOEXEC), value)


def read(sysctl: str) -> str | None:
    """The value in the calling thread's namespace, several fields separated by single spaces; None where unknown."""
    try:
        return _read(os.open(path(sysctl), os.O_RDONLY | os.O_CLOEXEC))
    except FileNotFoundError:
        return None


class OfMany:
    """Sysctls of one namespace after the other.

    The kernel's name cache keeps the files below /proc/sys/net of all namespaces under the same names, in one chain,
    which every open walks (fs/proc/proc_sysctl.c, proc_sys_compare): with 1000 namespaces 0.1 ms each, with 3000
    0.4 ms. So after some time another procfs is used, whose cache is empty; where there can be none, it takes longer.
    """

    def __init__(self) -> None:
        self._uses = 0
        self._proc: int | None = None

    def close(self) -> None:
        if self._proc is not None:
            os.close(self._proc)
            self._proc = None

    def write(self, sysctl: str, value: str) -> None:
        """Raises OSError."""
        _write(self._open(sysctl, os.O_WRONLY), value)

    def read(self, sysctl: str) -> str | None:
        try:
            return _read(self._open(sysctl, os.O_RDONLY))
        except FileNotFoundError:
            return None

    def _open(self, sysctl: str, way: int) -> int:
        self._uses += 1
        if self._uses % USES == 0:
            self.close()
            try:
                self._proc = libc.another_proc()
            except OSError:
                self._proc = None
        file = path(sysctl)
        if self._proc is None:
            return os.open(file, way | os.O_CLOEXEC)
        return os.open(file.removeprefix("/proc/"), way | os.O_CLOEXEC, dir_fd=self._proc)


def _write(fd: int, value: str) -> None:
    try:
        os.write(fd, f"{value}\n".encode())
    finally:
        os.close(fd)


def _read(fd: int) -> str:
    try:
        return " ".join(os.read(fd, LONGEST).decode().split())
    finally:
        os.close(fd)
