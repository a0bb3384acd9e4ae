"""Network namespaces made ahead: a child makes them while this process still works out what is to be done.

A quarter of what the kernel does for a large lab is making namespaces (0.2 ms each), which needs nothing but their
number. Nobody sees them until they are mounted; those that are not taken end with the child.
"""

from __future__ import annotations

import os
import signal
import struct
from _socket import (
    AF_UNIX,
    CMSG_SPACE,
    MSG_CMSG_CLOEXEC,
    SCM_RIGHTS,
    SOCK_SEQPACKET,
    SOL_SOCKET,
    socket,
    socketpair,
)
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from labctl.linux import libc
from labctl.linux.limits import raise_fd_limit

FEWEST = 24  # namespaces for which a child is worth its fork
BATCH = 16  # namespaces a message; the kernel lets 253 through (net/core/scm.h, SCM_MAX_FD)


class Nursery:
    """The namespaces that a child makes."""

    def __init__(self, number: int) -> None:
        raise_fd_limit()
        self._there: list[int] = []
        self._socket, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET)
        parent = os.getpid()
        self._pid = os.fork()
        if not self._pid:
            self._socket.close()
            _make(number, theirs, parent)
        theirs.close()

    def take(self) -> int | None:
        """A descriptor of a namespace that is the caller's from now on; None where there are no more."""
        if not self._there:
            _, messages, _, _ = self._socket.recvmsg(1, CMSG_SPACE(4 * BATCH), MSG_CMSG_CLOEXEC)
            self._there = [fd for _, _, fds in messages for (fd,) in struct.iter_unpack("i", fds)]
        return self._there.pop() if self._there else None

    def close(self) -> None:
        self._socket.close()
        for fd in self._there:
            os.close(fd)
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self._pid, 0)


def _make(number: int, out: socket, parent: int) -> None:
    """The child, which ends when it is done, cannot go on, or nobody takes what it makes."""
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))  # they are its parent's to heed
        libc.die_with_parent(parent)
        while number > 0:
            made = []
            for _ in range(min(number, BATCH)):
                libc.unshare(libc.CLONE_NEWNET)
                made.append(os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
            out.sendmsg([b"\0"], [(SOL_SOCKET, SCM_RIGHTS, struct.pack(f"{len(made)}i", *made))])
            for fd in made:
                os.close(fd)
            number -= len(made)
    finally:
        os._exit(0)


_current: Nursery | None = None


@contextmanager
def ahead(number: int) -> Iterator[None]:
    """Has namespaces made for whoever asks `take` meanwhile. Enter it while this process has one thread."""
    global _current
    _current = Nursery(number) if number >= FEWEST else None
    try:
        yield
    finally:
        found, _current = _current, None
        if found:
            found.close()


def take() -> int | None:
    """A descriptor of a namespace that nobody has; None where the caller has to make one."""
    return _current.take() if _current else None
