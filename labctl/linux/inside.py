"""Entering a node. Apart from services.py because a supervisor needs this and little else."""

from __future__ import annotations

import os

from labctl.linux import libc

ETC = ("hosts", "hostname", "resolv.conf")


def enter(netns: str, etc: str) -> None:
    """Moves this process into a node: its network, its /sys, /etc/hosts, /etc/resolv.conf and hostname.

    `netns` is the file of its network namespace, empty where it already is in it; `etc` the folder of its own files.
    Only in a process with one thread that ends or execs afterwards. Raises OSError.
    """
    if netns:
        fd = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
        libc.setns(fd)
        os.close(fd)
    libc.unshare(libc.CLONE_NEWNS | libc.CLONE_NEWUTS)
    libc.mount("none", "/", flags=libc.MS_SLAVE | libc.MS_REC)  # unmounts still reach us, ours reach nobody
    if netns:
        libc.mount("sysfs", "/sys", "sysfs")  # shows the namespace of the one who mounts it
    for name in ETC:
        if os.path.exists(f"{etc}/{name}") and os.path.exists(f"/etc/{name}"):
            libc.mount(f"{etc}/{name}", f"/etc/{name}", flags=libc.MS_BIND)
    if os.path.exists(f"{etc}/hostname"):
        with open(f"{etc}/hostname") as file:
            libc.sethostname(file.read().strip())
