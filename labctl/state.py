"""The nouns: what a lab consists of once every name and number is known.

Desired and observed state are the same type, so a difference is set subtraction. Every item is a frozen value
with a `key` that tells which thing of the machine it is; the other fields tell what that thing should look like.
`node` is a node's name, or HOST for the namespace that the lab hangs on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, cached_property
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

from labctl.fields import dataclass, field, replace

HOST = "host"
LAB = re.compile(r"[a-z0-9][a-z0-9_.-]{0,31}")  # a lab's name is also a folder's
MAIN_TABLE = 254  # RT_TABLE_MAIN
SERVICE = "LABCTL_SERVICE"  # the mark of what a lab started: <lab>/<node>/<name>, in its environment
IPV6_MTU = 1280  # an interface with less has no IPv6 and no settings of it (net/ipv6/addrconf.c, ipv6_add_dev)
BRIDGE_MTU = 1500  # of a new bridge; it keeps to another only if that is set afterwards (net/bridge/br_device.c)
PER_INTERFACE = re.compile(r"(net\.(?:ipv4|ipv6|mpls)\.(?:conf|neigh))\.([^.]+)\.(\w+)")
UNREADY, UNWATCHED = "never", "unwatched"  # a service's `ready` and `restart` as found where they came to nothing
ALIASES = {"net.ipv4.ip_forward": "net.ipv4.conf.all.forwarding"}

Key = tuple[str, ...]


@dataclass(frozen=True)
class Namespace:
    """A network namespace; `netns` is its name in /run/netns, empty when that name is missing.

    One that is not mounted is only kept alive by the processes in it. A node that shares the namespace of another has
    no network, files or host name of its own.
    """

    node: str
    netns: str
    mounted: bool = True
    same_as: str = ""  # the node whose namespace it is, or HOST; empty: its own

    @property
    def key(self) -> Key:
        return ("namespace", self.node)


@dataclass(frozen=True)
class Names:
    """What namespaces are called in /run/netns."""

    prefix: str = ""
    isolated: bool = False  # the host is a namespace of the lab's own
    at_host: frozenset[str] = frozenset()  # the nodes that share the host's namespace

    def netns(self, node: str) -> str:
        """Empty for the namespace that labctl was started in."""
        machines = not self.isolated and (node == HOST or node in self.at_host)
        return "" if machines else self.prefix + node


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
        found = PER_INTERFACE.match(self.name)
        name = found[2].replace("/", ".") if found else None
        return None if name in ("all", "default", "lo") else name

    def of(self, interface: str) -> str:
        """The name of the same setting of another interface, or of `all` or `default`; empty where it has none."""
        found = PER_INTERFACE.fullmatch(ALIASES.get(self.name, self.name))
        interface = interface.replace(".", "/")
        return f"{found[1]}.{interface}.{found[3]}" if found else ""

    @property
    def original(self) -> str:
        """The setting by which a new namespace tells what this one is at first. (Only the machine's own has defaults
        for neighbours, of which every loopback has a copy: net/core/neighbour.c, neigh_sysctl_register.)"""
        return self.of("lo" if ".neigh." in self.name else "default") if self.interface else self.name

    @property
    def for_all(self) -> bool:
        """Whether writing this may write the same setting of every interface."""
        return ALIASES.get(self.name, self.name) == self.of("all")


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
    hairpin: bool = False  # a bridge port that may get back what it sent: frames whose address was translated
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


@dataclass(frozen=True, order=True)
class Published:
    """A port of the host that leads to one of a node."""

    node: str
    protocol: str = field(hash=False)  # tcp or udp
    host_ip: IPv4Address | IPv6Address = field(hash=False)  # unspecified: all of that version
    host_port: int
    ip: IPv4Address | IPv6Address  # of the node; IPv4 also for an IPv6 address of the host, where the node has no other
    port: int

    @property
    def translated(self) -> bool:
        """Whether the kernel can do it, by NAT; what comes from the host's loopback over IPv6 it cannot."""
        return self.host_ip.version == self.ip.version


@dataclass(frozen=True)
class Proxy:
    """A process on the host that holds the published ports, so that nobody else takes them, and serves what the
    kernel cannot translate: docker-proxy's part (cmd/docker-proxy), for all ports of a lab."""

    lab: str
    ports: tuple[Published, ...] = ()
    node: str = HOST

    @property
    def key(self) -> Key:
        return ("proxy",)

    @property
    def mark(self) -> str:
        """What the process has in its environment, so that it is found."""
        return f"{SERVICE}={self.lab}/{self.node}/proxy"


@dataclass(frozen=True)
class Resolver:
    """What a node takes over of the machine's resolv.conf: what its entry in the file leaves out."""

    nameservers: tuple[IPv4Address | IPv6Address, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


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
    working_dir: str = ""  # seen from that folder
    user: str = ""  # name, uid, or either with :group; empty: whoever runs labctl
    restart: str = "no"  # or on-failure, on-failure:<times>, always, unless-stopped
    ready: str | tuple[str, ...] = ()  # "tcp 80", "udp 53", or a command that succeeds once it is
    ready_timeout: int = 30  # seconds
    after: tuple[tuple[str, str], ...] = ()  # nodes and services of theirs that are ready before it is started

    @property
    def key(self) -> Key:
        return ("service", self.node, self.name)

    @property
    def digest(self) -> str:
        """Twelve hex digits that change when anything of the service does, but for what it waits for."""
        from labctl.digest import sha256  # `down` and `ps` need none

        return sha256(repr(replace(self, after=())).encode()).hexdigest()[:12]


Item = Namespace | Sysctl | Link | Address | Route | Ruleset | Proxy | File | Service


@dataclass(frozen=True)
class State:
    """A set of items, no two with the same key."""

    items: frozenset[Item] = frozenset()

    @classmethod
    def of(cls, items: Iterable[Item]) -> State:
        return cls(frozenset(items))

    @cached_property
    def by_key(self) -> Mapping[Key, Item]:
        return {item.key: item for item in self.items}

    def over(self, other: State) -> State:
        """These items, and those of another state that these do not replace."""
        return State.of({**other.by_key, **self.by_key}.values()) if other.items else self

    def host_settings(self) -> State:
        return State.of(item for item in self.items if isinstance(item, Sysctl) and item.node == HOST)

    @property
    def published(self) -> tuple[Published, ...]:
        return next((item.ports for item in self.items if isinstance(item, Proxy)), ())

    def shared(self) -> dict[str, str]:
        """From nodes that share a namespace to those whose it is."""
        return {item.node: item.same_as for item in self.items if isinstance(item, Namespace) and item.same_as}

    @cached_property
    def nodes(self) -> Sequence[str]:
        """Without the host, also where that is a namespace of the lab's own."""
        names = {item.node for item in self.items if isinstance(item, Namespace)}
        return sorted(names - {HOST}, key=natural)


@cache
def natural(name: str) -> tuple[tuple[str, int], ...]:
    """A sort key that puts container2 before container10."""
    return tuple((text, int(number or 0)) for text, number in re.findall(r"(\D*)(\d*)", name))
