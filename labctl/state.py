"""The nouns: what a lab consists of once every name and number is known.

Desired and observed state are the same type, so a difference is set subtraction. Every item is a frozen value
with a `key` that tells which thing of the machine it is; the other fields tell what that thing should look like.
`node` is a node's name, or HOST for the namespace that the lab hangs on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

HOST = "host"
MAIN_TABLE = 254  # RT_TABLE_MAIN
IPV6_MTU = 1280  # below it the kernel takes IPv6 and its settings off an interface (net/ipv6/addrconf.c)

Key = tuple[str, ...]


@dataclass(frozen=True)
class Namespace:
    """A network namespace; `netns` is its name in /run/netns, empty when that name is missing."""

    node: str
    netns: str

    @property
    def key(self) -> Key:
        return ("namespace", self.node)


@dataclass(frozen=True)
class Sysctl:
    """A dotted name below net., as sysctl(8) writes it (an interface's own dots become slashes), and its value."""

    node: str
    name: str
    value: str

    @property
    def key(self) -> Key:
        return ("sysctl", self.node, self.name)

    @property
    def interface(self) -> str | None:
        """The interface that must exist before this can be written."""
        found = re.match(r"net\.(?:ipv4|ipv6|mpls)\.(?:conf|neigh)\.([^.]+)\.", self.name)
        name = found.group(1).replace("/", ".") if found else None
        return None if name in ("all", "default", "lo") else name


@dataclass(frozen=True)
class Port:
    """One interface, as its own namespace sees it."""

    node: str
    name: str
    index: int
    mac: str
    mtu: int
    up: bool = True
    master: str | None = None  # the bridge it is plugged into
    isolated: bool = False  # a bridge port that cannot talk to other isolated ones (icc: false)
    alias: str = ""
    group: int = 0
    link_local: bool = True  # the kernel gives it an IPv6 link-local address

    @property
    def ipv6(self) -> bool:
        """Whether the kernel has IPv6 on it at all."""
        return self.mtu >= IPV6_MTU


@dataclass(frozen=True)
class Link:
    """An interface with no other end ("bridge", "loopback"), or a pair ("veth") with the host's end first."""

    kind: str
    ends: tuple[Port, ...]
    stp: bool = False

    @property
    def node(self) -> str:
        return self.ends[0].node

    @property
    def key(self) -> Key:
        return ("link", self.node, self.ends[0].name)


@dataclass(frozen=True)
class Address:
    node: str
    dev: str
    interface: IPv4Interface | IPv6Interface

    @property
    def key(self) -> Key:
        return ("address", self.node, self.dev, str(self.interface))


@dataclass(frozen=True)
class Route:
    """A route that somebody added; the kernel's own (connected, local) are no part of a state."""

    node: str
    to: IPv4Network | IPv6Network
    via: IPv4Address | IPv6Address | None
    dev: str | None
    metric: int = 0  # IPv6 routes have at least 1024 where nothing is said (net/ipv6/route.c, IP6_RT_PRIO_USER)
    table: int = MAIN_TABLE

    @property
    def key(self) -> Key:
        return ("route", self.node, str(self.table), str(self.to), str(self.metric))


@dataclass(frozen=True)
class Ruleset:
    """One nftables table of the host: `inet <table>` and the text that defines it."""

    table: str
    text: str

    @property
    def key(self) -> Key:
        return ("ruleset", self.table)

    @property
    def replacement(self) -> str:
        """Puts the text in the place of whatever the table holds, in one transaction; declaring it first lets the
        deletion succeed where there is none."""
        return f"table inet {self.table}\ndelete table inet {self.table}\n{self.text}"

    @property
    def node(self) -> str:
        return HOST


@dataclass(frozen=True)
class File:
    """A node's own /etc/<name>: hosts, hostname or resolv.conf."""

    node: str
    name: str
    text: str

    @property
    def key(self) -> Key:
        return ("file", self.node, self.name)


@dataclass(frozen=True)
class Service:
    """A process that runs in a node, in a folder of the node's own that goes with the lab."""

    node: str
    name: str
    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> Key:
        return ("service", self.node, self.name)

    @property
    def digest(self) -> str:
        """Twelve hex digits that change when anything of the service does."""
        import hashlib  # 2 ms, and `down` and `ps` need no digest

        return hashlib.sha256(repr(self).encode()).hexdigest()[:12]


Item = Namespace | Sysctl | Link | Address | Route | Ruleset | File | Service


@dataclass(frozen=True)
class State:
    """A set of items, no two with the same key."""

    items: frozenset[Item] = frozenset()

    @classmethod
    def of(cls, items: Iterable[Item]) -> State:
        return cls(frozenset(items))

    def by_key(self) -> dict[Key, Item]:
        return {item.key: item for item in self.items}

    def over(self, other: State) -> State:
        """These items, and those of another state that these do not replace."""
        return State.of((other.by_key() | self.by_key()).values())

    def host_settings(self) -> State:
        return State.of(item for item in self.items if isinstance(item, Sysctl) and item.node == HOST)

    def nodes(self) -> list[str]:
        return sorted((item.node for item in self.items if isinstance(item, Namespace)), key=natural)


def natural(name: str) -> tuple[tuple[str, int], ...]:
    """A sort key that puts container2 before container10."""
    return tuple((text, int(number or 0)) for text, number in re.findall(r"(\D*)(\d*)", name))
