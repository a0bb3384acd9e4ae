"""A topology as its author wrote it: bridges, namespaces and cables, checked but not yet numbered.

Knows the words of the YAML file and what they may mean. Knows nothing of the kernel, of defaults that need
numbering (addresses, MACs, indexes: desired.py) or of the machine the lab will run on. topology.py makes these.
"""

from __future__ import annotations

from functools import cached_property
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

from labctl.fields import dataclass, field

Network = IPv4Network | IPv6Network
IPAddress = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface


MODES = NAT, ROUTED, ISOLATED, UNPROTECTED = "nat", "routed", "isolated", "nat-unprotected"  # Docker's gateway modes


@dataclass(frozen=True)
class Bridge:
    """A docker0: at most one IPv4 and one IPv6 subnet."""

    name: str
    subnets: tuple[Network, ...]
    gateways: tuple[IPAddress, ...] = ()  # as written; the first host address of a subnet without one
    ip_range: IPv4Network | None = None  # automatic IPv4 addresses come from here
    internal: bool = False
    icc: bool = True
    masquerade: bool = True
    mtu: int | None = None
    mac: str | None = None
    stp: bool = False
    mode4: str = NAT
    mode6: str = NAT
    snat: tuple[IPAddress, ...] = ()  # instead of the host's own address; one of a version

    def mode(self, version: int) -> str:
        return self.mode4 if version == 4 else self.mode6

    def gateway(self, subnet: Network) -> IPAddress | None:
        """Its own address in a subnet: as written, else the first; None where it has none."""
        if self.mode(subnet.version) == ISOLATED:
            return None
        return next((g for g in self.gateways if g.version == subnet.version), subnet.network_address + 1)

    @cached_property
    def ways_out(self) -> dict[int, IPAddress]:
        """The IP versions for which it leads to other networks, and its address for that."""
        found = {subnet.version: self.gateway(subnet) for subnet in self.subnets if not self.internal}
        return {version: gateway for version, gateway in found.items() if gateway}


def bounds(subnet: Network) -> tuple[IPAddress, ...]:
    """The addresses of a subnet that are nobody's: its own, and the broadcast address; a /31 has neither (RFC 3021)."""
    if isinstance(subnet, IPv6Network):
        return (subnet.network_address,)
    return (subnet.network_address, subnet.broadcast_address) if subnet.prefixlen < 31 else ()


@dataclass(frozen=True)
class Attachment:
    """A namespace's place on a bridge."""

    bridge: str
    ip: IPv4Address | None = None
    ip6: IPv6Address | None = None
    mac: str | None = None
    interface: str | None = None  # default: the lowest free eth<n>, in the file's order
    aliases: tuple[str, ...] = ()
    gw_priority: int = 0  # of the default route through this bridge; the highest wins


@dataclass(frozen=True)
class Run:
    """A process to start in a namespace."""

    name: str
    command: str | tuple[str, ...]  # text goes to /bin/sh -c, a list is run as it is
    environment: tuple[tuple[str, str], ...] = ()
    working_dir: str = ""  # where it starts; a relative one is below the namespace's scratch folder
    user: str = ""  # name, uid, or either with :group; empty: whoever runs labctl
    restart: str = "no"  # or on-failure, on-failure:<times>, always, unless-stopped
    ready: str | tuple[str, ...] = ()  # "tcp 80" or "udp 53"; or a command that succeeds once it is
    ready_timeout: int = 30  # seconds
    depends_on: tuple[tuple[str, str], ...] = ()  # namespaces and processes of theirs that are ready first


Span = tuple[int, int]  # the first and the last of some port numbers


@dataclass(frozen=True)
class Publish:
    """An entry of `ports`: ports of a namespace, and those of the host that lead there.

    Two spans of one length are pairs; of a longer one the first free port is taken, and without one any free port.
    """

    ports: Span
    host_ports: Span | None = None
    host_ip: IPAddress | None = None  # None: all addresses of the host, IPv4 and IPv6
    protocol: str = "tcp"

    @property
    def paired(self) -> bool:
        """Whether the file says which port of the host leads to which."""
        return self.host_ports is not None and size(self.host_ports) == size(self.ports)


def size(span: Span) -> int:
    return span[1] - span[0] + 1


HOST_GATEWAY = "host-gateway"  # in extra_hosts: the host's address, as the node reaches it


@dataclass(frozen=True)
class StaticRoute:
    to: Network
    via: IPAddress | None = None
    dev: str | None = None
    metric: int | None = None
    table: int | None = None  # None: main


@dataclass(frozen=True)
class Node:
    """One entry of `namespaces`; `count` is already unrolled into web-1 … web-n."""

    name: str
    networks: tuple[Attachment, ...] = ()
    run: tuple[Run, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    hostname: str | None = None  # default: the node's name
    domainname: str | None = None  # what follows the host name in its full name
    extra_hosts: tuple[tuple[str, IPAddress | str], ...] = ()  # an address, or HOST_GATEWAY
    dns: tuple[IPAddress, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_opt: tuple[str, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    routes: tuple[StaticRoute, ...] = ()
    ports: tuple[Publish, ...] = ()
    forward: bool = False  # it is a router: IPv4 and IPv6 forwarding on
    same_as: str = ""  # whose network it shares: another node's, or "host"; empty: its own


@dataclass(frozen=True)
class CableEnd:
    node: str
    interface: str
    ip: IPv4Interface | None = None
    ip6: IPv6Interface | None = None
    mac: str | None = None


@dataclass(frozen=True)
class Cable:
    """An entry of `links`: a veth pair between two namespaces."""

    ends: tuple[CableEnd, CableEnd]
    mtu: int | None = None


@dataclass(frozen=True)
class Topology:
    name: str
    bridges: tuple[Bridge, ...]
    nodes: tuple[Node, ...]
    cables: tuple[Cable, ...] = ()
    prefix: str | None = None  # of the names in /run/netns; None: "" on the host, "<lab>-" in an isolated lab
    file: str = field(default="", compare=False)  # as the user named it, for messages
    directory: str = field(default="", compare=False)  # the file's; empty: to be seen from its path
    text: str = field(default="", compare=False, repr=False)  # the file's
    positions: dict[tuple[str, ...], tuple[int, int]] = field(default_factory=dict, compare=False, repr=False)
    """Line and column, from 1, of every value; keys are paths such as ("bridges", "docker0", "subnet")."""

    @cached_property
    def plugged(self) -> dict[str, list[tuple[CableEnd, Cable]]]:
        """The cables' ends by the node that they are in; only nodes that have any."""
        found: dict[str, list[tuple[CableEnd, Cable]]] = {}
        for cable in self.cables:
            for end in cable.ends:
                found.setdefault(end.node, []).append((end, cable))
        return found
