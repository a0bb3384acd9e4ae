"""The limits of this machine that large labs meet. A few files, read each time but for what is read early."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from functools import cache

from labctl.limits import Limits
from labctl.linux.entrance import RUN
from labctl.linux.readings import number, text


@cache
def tables() -> dict[str, int | None]:
    """What the machine's own network namespace tells, and only that. An ordinary user's labctl leaves it early."""
    neighbours = {f"ipv{version}": number(f"net.ipv{version}.neigh.default.gc_thresh3") for version in (4, 6)}
    return neighbours | {"backlog": number("net.core.netdev_max_backlog")}


def limits() -> Limits:
    found = tables()
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Limits(
        {version: found[f"ipv{version}"] for version in (4, 6)},
        found["backlog"],
        None if files == resource.RLIM_INFINITY else files,
        number("user.max_net_namespaces"),
        _room(),
        _processes(),
    )


def _room() -> tuple[int, int] | None:
    folder = RUN if os.path.isdir(RUN) else os.path.dirname(RUN)
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    size = found.f_blocks * found.f_frsize  # 0 for a tmpfs without a limit
    return (found.f_bavail * found.f_frsize, size) if size else None


def _processes() -> int | None:
    there = sum(name.isdigit() for name in os.listdir("/proc"))
    most = (number(f"kernel.{name}") for name in ("pid_max", "threads-max"))
    return min([*(limit - there for limit in most if limit), *_of_cgroups()], default=None)


def _of_cgroups() -> Iterator[int]:
    """What the cgroup that labctl is in, and those around it, still allow (cgroup v2)."""
    _, _, path = text("/proc/self/cgroup").strip().rpartition("0::/")
    steps = path.split("/") if path else []
    for depth in range(len(steps), 0, -1):
        folder = "/".join(["/sys/fs/cgroup", *steps[:depth]])
        most, now = text(f"{folder}/pids.max").strip(), text(f"{folder}/pids.current").strip()
        if most.isdigit() and now.isdigit():
            yield int(most) - int(now)
