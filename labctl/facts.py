"""What `labctl doctor` looks at (Facts, gathered by linux/probe.py) and what it says (Finding). Values only.

The defaults are those of a machine on which nothing is wrong. None stands for what is not there, or may not be read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from labctl.conflicts import HostRoute
from labctl.fields import dataclass, field

Topic = Literal["privileges", "kernel", "tools", "host"]
Level = Literal["ok", "note", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """One sentence, and what to do: a sentence or a command; lines after the first are to be copied as they are."""

    topic: Topic
    level: Level
    what: str
    remedy: str = ""


@dataclass(frozen=True)
class UserNamespaces:
    """What decides whether an ordinary user may make a user namespace."""

    known: bool = True  # to this kernel
    maximum: int | None = 15000  # user.max_user_namespaces
    clone: int | None = None  # kernel.unprivileged_userns_clone, a patch of Debian's and others'
    apparmor: int | None = None  # kernel.apparmor_restrict_unprivileged_userns, Ubuntu's
    in_container: bool = False
    in_chroot: bool = False
    python: str = "/usr/bin/python3"  # this interpreter, as AppArmor sees it


@dataclass(frozen=True)
class Refused:
    """A step that the kernel did not allow: `unshare`, `uid_map`, or the feature that was tried."""

    step: str
    errno: int
    reason: str = ""


@dataclass(frozen=True)
class Privileges:
    user: str = "root"
    uid: int = 0
    missing: tuple[str, ...] = ()  # capabilities that labctl needs
    users: UserNamespaces = UserNamespaces()
    refused: Refused | None = None  # a user namespace, when one was tried
    ids: bool = True  # newuidmap, newgidmap, and numbers of one's own in /etc/subuid and /etc/subgid


@dataclass(frozen=True)
class Kernel:
    release: str = "6.1.0"
    tried: bool = True
    refused: tuple[Refused, ...] = ()  # of what every lab needs
    absent: tuple[str, ...] = ()  # of what no lab needs
    max_net_namespaces: int | None = 15000
    read_only: bool = False  # /proc/sys is mounted read-only
    in_container: bool = False


@dataclass(frozen=True)
class Tools:
    python: str = "3.11.2"
    pyroute2: str = "0.9.7"  # empty: not installed
    nft: str = "1.0.6"  # empty: not installed
    missing: tuple[str, ...] = ()  # optional ones


@dataclass(frozen=True, order=True)
class Chain:
    """A base chain of the forward hook that drops or rejects whatever its rules do not accept."""

    family: str  # of nftables, or `iptables-legacy`, `ip6tables-legacy`
    table: str
    name: str
    by: str  # "policy drop", "last rule reject", …

    def __str__(self) -> str:
        return f"{self.family} {self.table} {self.name}"


@dataclass(frozen=True)
class Host:
    """What else is on the machine, in the network namespace that labctl was started in."""

    chains: tuple[Chain, ...] | None = ()  # None: may not be read
    bridge_nf: tuple[str, ...] = ()  # those of iptables, ip6tables, arptables that see bridged frames
    services: frozenset[str] = frozenset()  # names of processes, of those that are looked for
    ufw: bool = False
    veth_unmanaged: bool = False  # by NetworkManager
    networks: tuple[tuple[str, str], ...] = ()  # systemd-networkd's .network files: path and text, in its order
    rp_filter: Mapping[str, int] = field(default_factory=dict)  # of all and default
    routes: tuple[HostRoute, ...] = ()  # without the labs' own
    neighbours: Mapping[int, int | None] = field(default_factory=lambda: {4: 65536, 6: 65536})
    """By IP version, net.ipv4.neigh.default.gc_thresh3: told, as the next, in the machine's own namespace only."""
    backlog: int | None = 16384  # net.core.netdev_max_backlog
    run: str = "tmpfs"  # the file system of /run
    run_writable: bool = True
    damaged: tuple[str, ...] = ()  # labs whose record is missing or cannot be read


@dataclass(frozen=True)
class Facts:
    privileges: Privileges = Privileges()
    kernel: Kernel = Kernel()
    tools: Tools = Tools()
    host: Host = Host()
