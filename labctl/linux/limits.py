"""How many files this process may have open."""

from __future__ import annotations

import resource

SOFT_LIMIT, _ = resource.getrlimit(resource.RLIMIT_NOFILE)  # of descriptors, as whoever started labctl has it


def raise_fd_limit() -> None:
    """Two descriptors a node, or one a process; the usual soft limit of 1024 ends at 500 nodes. Services get it back:
    some programs close all that they may have, or use select(2)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
