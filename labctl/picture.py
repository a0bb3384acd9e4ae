"""A lab as somebody sees it who looks now: everything the article's screens show, and nothing of how it was read.

Plain frozen values. Unlike a state (what was meant, and what of that is there), a picture has the kernel's own
additions too: connected routes, counters, neighbours, and on the machine's own host whatever else lives there.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

from labctl.fields import dataclass, field
from labctl.state import HOST, Published, Service, natural
from labctl.status import Report


@dataclass(frozen=True)
class Traffic:
    """One direction of an interface, since it was made."""

    packets: int = 0
    bytes: int = 0
    errors: int = 0
    dropped: int = 0


@dataclass(frozen=True)
class Bridge:
    """What only a bridge has; its ports are the interfaces that call it their master."""

    id: str  # as brctl writes it: priority in hex, a dot, the MAC
    stp: bool


@dataclass(frozen=True)
class Interface:
    name: str
    index: int
    kind: str  # veth, bridge, loopback, …; empty for a real card
    flags: tuple[str, ...]  # as ip(8) names and orders them
    mtu: int
    mac: str
    state: str  # UP, DOWN, UNKNOWN, LOWERLAYERDOWN, …
    master: str | None = None
    other_end: int | None = None  # the index behind the @ of `eth0@if25`
    elsewhere: bool = False  # the other end is in another namespace
    ours: bool = True  # the lab made it; only on a shared host there are others
    alias: str = ""
    group: int = 0
    rx: Traffic = field(default_factory=Traffic)
    tx: Traffic = field(default_factory=Traffic)
    bridge: Bridge | None = None
    addresses: tuple[IPv4Interface | IPv6Interface, ...] = ()

    @property
    def title(self) -> str:
        """`eth0@if25`, or just the name."""
        return f"{self.name}@if{self.other_end}" if self.other_end else self.name


@dataclass(frozen=True)
class Hop:
    """One of several ways of a route."""

    via: IPv4Address | IPv6Address | None
    dev: str | None
    weight: int = 1


@dataclass(frozen=True)
class RouteEntry:
    """An entry of the main routing table; with several `hops` it has neither `via` nor `dev` of its own."""

    to: IPv4Network | IPv6Network
    dev: str | None
    via: IPv4Address | IPv6Address | None = None
    kind: str = "unicast"  # or unreachable, blackhole, …
    protocol: str = "boot"
    scope: str = "global"
    source: IPv4Address | IPv6Address | None = None
    metric: int = 0
    flags: tuple[str, ...] = ()  # linkdown, dead, onlink
    hops: tuple[Hop, ...] = ()


@dataclass(frozen=True)
class Neighbour:
    """A line of the ARP table (IPv6: neighbour table)."""

    address: IPv4Address | IPv6Address
    dev: str
    mac: str  # empty until it answers
    state: str  # REACHABLE, STALE, FAILED, …


@dataclass(frozen=True)
class Status:
    """A service of the file, the processes that it is now, and what its supervisor tells."""

    service: Service
    pids: tuple[int, ...] = ()
    report: Report | None = None

    @property
    def state(self) -> str:
        """running, waiting (for others), restarting, exited, or killed (by a signal)."""
        if self.pids:
            return "running"
        if self.report and self.report.state == "waiting":
            return "waiting"
        if self.report and self.report.state == "restarting" and self.report.watched:
            return "restarting"
        return "killed" if self.signal else "exited"

    @property
    def exit_status(self) -> int | None:
        """How it ended the last time; None where nobody knows, or a signal killed it."""
        return int(self._code) if self._code.isdigit() else None

    @property
    def signal(self) -> str:
        """What killed it the last time, `SIGKILL`; empty otherwise."""
        return self._code if self._code.startswith("SIG") else ""

    @property
    def ready(self) -> bool | None:
        """None where the file does not say when it is."""
        return self.report.ready == "yes" if self.report and self.report.ready else None

    @property
    def text(self) -> str:
        """As `docker ps` says it: exited (1)."""
        if self.pids:
            return "running" if self.ready is not False else "running (not ready)"
        return f"{self.state} ({self._code})" if self._code and self.state != "waiting" else self.state

    @property
    def _code(self) -> str:
        return self.report.code if self.report and not self.pids else ""


@dataclass(frozen=True)
class Inside:
    """One namespace. `there` is False when it is gone; then all the rest is empty."""

    node: str
    there: bool = True
    interfaces: tuple[Interface, ...] = ()  # by index
    routes: tuple[RouteEntry, ...] = ()  # in the kernel's order
    neighbours: tuple[Neighbour, ...] = ()
    services: tuple[Status, ...] = ()
    pids: tuple[int, ...] = ()  # of all processes; not counted for a host that is this machine's own
    same_as: str = ""  # whose namespace it shares: what is in there is that one's


@dataclass(frozen=True)
class Picture:
    lab: str
    file: str
    isolated: bool
    host: Inside
    nodes: tuple[Inside, ...] = ()  # in natural order
    rules: str = ""  # the lab's nftables table as nft lists it, with counters
    ports: tuple[Published, ...] = ()
    held: bool = True  # the process that holds these ports is there

    @property
    def everywhere(self) -> tuple[Inside, ...]:
        return (self.host, *self.nodes)

    @property
    def gone(self) -> list[str]:
        return [inside.node for inside in self.everywhere if not inside.there]


@dataclass(frozen=True)
class End:
    node: str
    interface: Interface


@dataclass(frozen=True)
class Pair:
    """A veth pair, a node's end first; `far` is None when the other end is in no namespace of the lab."""

    near: End
    far: End | None


def pairs(picture: Picture) -> list[Pair]:
    """The lab's veth pairs: two interfaces that each name the other's index."""
    ends = [End(inside.node, i) for inside in picture.everywhere for i in inside.interfaces if i.kind == "veth"]
    numbered: dict[tuple[int, int | None], list[End]] = {}
    for end in ends:
        numbered.setdefault((end.interface.index, end.interface.other_end), []).append(end)
    found: dict[frozenset[End], Pair] = {}
    for end in sorted((end for end in ends if end.interface.ours), key=_node_first):
        far = _far(end, numbered)
        found.setdefault(frozenset((end, far or end)), Pair(end, far))
    return list(found.values())


def _node_first(end: End) -> tuple[object, ...]:
    return end.node == HOST, natural(end.node), end.interface.index


def _far(end: End, numbered: dict[tuple[int, int | None], list[End]]) -> End | None:
    """Indexes are unique within a lab only: of several candidates the lab's own comes first."""
    here = end.interface
    candidates = numbered.get((here.other_end or 0, here.index), [])
    fitting = [other for other in candidates if (other.node != end.node) == here.elsewhere]
    return min(fitting, key=lambda other: not other.interface.ours, default=None)


def mates(picture: Picture) -> dict[tuple[str, str], End]:
    """From (node, interface) to the other end, both ways."""
    found: dict[tuple[str, str], End] = {}
    for pair in pairs(picture):
        if pair.far:
            found[pair.near.node, pair.near.interface.name] = pair.far
            found[pair.far.node, pair.far.interface.name] = pair.near
    return found
