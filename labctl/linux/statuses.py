"""Status files: what a supervisor writes down of a service, a line each time that something happens to it.

Lines are only ever appended, so that nobody reads half of one. The supervisor holds a lock (flock) on the file as long
as it lives and watches the service: it cannot leave the lock behind, and inherits it from the `up` that starts it. Who
is about to end the service appends a line that says so; then it is not started again.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress

from labctl.linux.place import Place
from labctl.status import Report, parse

ENDING = b"state=ending"


def claim(place: Place, node: str, service: str, digest: str) -> int:
    """A new status file, locked, in the place of whatever was left of an older one. Raises OSError."""
    path = place.status(node, service)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with suppress(FileNotFoundError):
        os.unlink(path)
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    os.write(fd, f"state=waiting digest={digest}\n".encode())
    return fd


def read(place: Place, node: str, service: str) -> Report | None:
    """What is known of a service; None where no supervisor ever had it."""
    try:
        fd = os.open(place.status(node, service), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        watched = _is_locked(fd)
        return parse(os.pread(fd, os.fstat(fd).st_size, 0).decode(errors="replace"), watched)
    finally:
        os.close(fd)


def every(place: Place, node: str) -> list[Report]:
    """What is known of all services of a node."""
    folder = place.status(node, "")
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return [report for name in names if (report := read(place, node, name))]


def withdraw(place: Place, node: str, service: str) -> None:
    """Says that a service is about to be ended: from now on nobody starts it again."""
    with suppress(OSError):
        fd = os.open(place.status(node, service), os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            last = os.pread(fd, os.fstat(fd).st_size, 0).rpartition(b"\n")[0].rpartition(b"\n")[2]
            rest = b" ".join(word for word in last.split(b" ") if not word.startswith(b"state="))
            os.write(fd, ENDING + b" " + rest + b"\n")
        finally:
            os.close(fd)


def forget(place: Place, node: str, service: str) -> None:
    """Removes what is known of a service. Raises OSError."""
    path = place.status(node, service)
    with suppress(FileNotFoundError):
        os.unlink(path)
    for folder in (os.path.dirname(path), place.statuses):
        with suppress(OSError):  # there are others in it
            os.rmdir(folder)


def _is_locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
