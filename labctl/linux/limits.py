"""How many files this process may have open."""

from __future__ import annotations

import os
import resource
from fcntl import F_DUPFD_CLOEXEC, fcntl

ROOM = 16_000  # descriptors: 128 kB of the kernel's memory
SOFT_LIMIT, _ = resource.getrlimit(resource.RLIMIT_NOFILE)  # of descriptors, as whoever started labctl has it


def raise_fd_limit() -> None:
    """Two descriptors a node, or one a process; the usual soft limit of 1024 ends at 500 nodes. Services get it back:
    some programs close all that they may have, or use select(2)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def make_room() -> None:
    """Lets the table of descriptors grow while this process has one thread: where several share it, every doubling of
    it waits for RCU (fs/file.c, expand_fdtable; 6 ms each)."""
    raise_fd_limit()
    root = os.open("/", os.O_PATH | os.O_CLOEXEC)
    try:
        os.close(fcntl(root, F_DUPFD_CLOEXEC, ROOM))
    except OSError:
        pass  # there may not be as many
    finally:
        os.close(root)
