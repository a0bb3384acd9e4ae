"""Does a lab fit on a host? What is foreign there, and which of the lab's names, numbers and subnets it already has.

Pure: looks at a Site (what linux.survey read), changes nothing, guesses nothing from names: ours is what carries the
lab's mark.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from errno import EADDRINUSE, EADDRNOTAVAIL
from ipaddress import IPv4Network

from labctl.errors import Conflict, Problem, TopologyError
from labctl.fields import dataclass
from labctl.leases import Taken
from labctl.ownership import HostLink, ours
from labctl.record import Record
from labctl.state import HOST, Address, Link, Namespace, Published, State
from labctl.written import Network, Topology

POOLS = [f"172.{n}.0.0/16" for n in range(17, 32)] + [f"192.168.{n}.0/20" for n in range(0, 256, 16)]


@dataclass(frozen=True)
class HostRoute:
    to: Network
    dev: str


@dataclass(frozen=True)
class Refused:
    """A port of the host that cannot be held."""

    port: Published
    errno: int
    reason: str
    holder: str = ""  # who has it, if that is to be seen


@dataclass(frozen=True)
class Site:
    """A host as found."""

    links: tuple[HostLink, ...] = ()
    routes: tuple[HostRoute, ...] = ()
    netns: frozenset[str] = frozenset()  # names in /run/netns that do not lead to the lab
    etc_netns: frozenset[str] = frozenset()  # names in /etc/netns that do not lead to the lab
    has_table: bool = False  # the lab's nftables table exists
    ports: frozenset[tuple[str, int]] = frozenset()  # protocol and number of those in use, looked at only if needed


def taken(site: Site, record: Record | None, others: Iterable[Record]) -> Taken:
    """Numbers that the lab must not use: of foreign links, and of the other labs even before their links exist."""
    foreign = [link for link in site.links if record is None or not ours(link, record)]
    indexes, groups = {link.index for link in foreign}, {link.group for link in foreign}
    for other in others:
        indexes |= {number for name, number in other.leases.indexes.items() if name.startswith(f"{HOST}/")}
        groups.add(other.leases.group)
    ports = {(port.protocol, port.host_port) for other in others for port in other.state.published}
    return Taken(frozenset(indexes), frozenset(groups), site.ports | ports)


def check_subnets(topology: Topology, site: Site, record: Record | None, others: Iterable[Record]) -> None:
    """Raises TopologyError for each subnet that the host, or another lab on it, already uses."""
    used = [*_lab_subnets(others), *_routes(site, record)]  # a lab is the better name for the culprit
    problems = []
    for bridge in topology.bridges:
        for number, subnet in enumerate(bridge.subnets):
            culprit = next((who for net, who in used if net.version == subnet.version and net.overlaps(subnet)), None)
            if culprit:
                free = free_subnet([net for net, _ in used] + [net for b in topology.bridges for net in b.subnets])
                hint = f"; {free} is free" if subnet.version == 4 and free else "; choose another, or use --isolated"
                problems.append(_problem(topology, bridge.name, number, f"{subnet} overlaps {culprit}{hint}"))
    if problems:
        raise TopologyError(problems)


def check_ports(topology: Topology, refused: Iterable[Refused], others: Iterable[Record]) -> None:
    """Raises TopologyError for each port of the host that another lab, or somebody else, has."""
    labs = {(port.protocol, port.host_port): (lab.lab, port.node) for lab in others for port in lab.state.published}
    problems: dict[tuple[str, int], Problem] = {}
    for each in refused:
        port, number = each.port, (each.port.protocol, each.port.host_port)
        what = f"port {port.host_port}/{port.protocol} of the host"
        if number in labs:
            message = f"{what} is published by the lab {labs[number][0]} already ({labs[number][1]}); choose another"
        elif each.errno == EADDRINUSE:
            message = (
                f"{what} is in use{f' by {each.holder}' if each.holder else ''}; choose another, or use --isolated"
            )
        elif each.errno == EADDRNOTAVAIL:
            message = f"{port.host_ip} is no address of the host; write one that 'ip address' shows, or leave it out"
        else:
            message = f"{what} cannot be had: {each.reason.lower()}; choose another"
        line, column = _place(topology, port)
        problems.setdefault(number, Problem(topology.file, line, column, message))
    if problems:
        raise TopologyError(problems.values())


def _place(topology: Topology, port: Published) -> tuple[int, int]:
    """Where the file publishes a port; a node with a number at its end may be one of several of an entry."""
    node = next(node for node in topology.nodes if node.name == port.node)
    number = next(
        i
        for i, publish in enumerate(node.ports)
        if publish.protocol == port.protocol
        and publish.ports[0] <= port.port <= publish.ports[1]
        and publish.host_ip in (None, port.host_ip)
    )
    paths = [("namespaces", name, "ports", str(number)) for name in (node.name, node.name.rpartition("-")[0])]
    return next((topology.positions[path] for path in paths if path in topology.positions), (1, 1))


def _routes(site: Site, record: Record | None) -> Iterator[tuple[Network, str]]:
    foreign = {link.name for link in site.links if record is None or not ours(link, record)}
    for route in site.routes:
        if route.to.prefixlen and not route.to.is_link_local and not route.to.is_multicast and route.dev in foreign:
            yield route.to, f"{route.to}, which this machine reaches through {route.dev}"


def _lab_subnets(others: Iterable[Record]) -> Iterator[tuple[Network, str]]:
    for other in others:
        for item in other.state.items:
            if isinstance(item, Address) and item.node == HOST and not other.isolated:
                network: Network = item.interface.network
                yield network, f"{network} of the lab {other.lab} ({item.dev})"


def free_subnet(used: list[Network]) -> Network | None:
    """The first of Docker's own pools (libnetwork/ipamutils) that nobody uses."""
    pools = (IPv4Network(text) for text in POOLS)
    return next((pool for pool in pools if not any(n.version == 4 and pool.overlaps(n) for n in used)), None)


def _problem(topology: Topology, bridge: str, number: int, message: str) -> Problem:
    path = ("bridges", bridge, "subnet")
    line, column = topology.positions.get((*path, str(number))) or topology.positions.get(path, (1, 1))
    return Problem(topology.file, line, column, message)


def check_names(wanted: State, site: Site, record: Record, new: bool) -> None:
    """Raises Conflict for the first foreign thing that has a name the lab needs."""
    foreign = {link.name for link in site.links if not ours(link, record)}
    named = [item for item in wanted.items if isinstance(item, (Link, Namespace))]
    for item in sorted(named, key=lambda item: item.key) if foreign or site.netns or site.etc_netns else ():
        match item:
            case Link(kind, (near, *_)) if kind != "loopback" and near.node == HOST and near.name in foreign:
                raise Conflict(
                    f"an interface {near.name} is already on this machine and is not of the lab {record.lab}",
                    "It was left alone. Rename the bridge in the file, or use --isolated to give the lab its own host.",
                )
            case Namespace() if item.netns in site.netns:
                raise Conflict(
                    f"a network namespace {item.netns} already exists in /run/netns",
                    "It was left alone. Set `prefix:` in the file, or use --isolated.",
                )
            case Namespace() if HOST not in (item.node, item.same_as) and item.netns in site.etc_netns:
                raise Conflict(
                    f"/etc/netns/{item.netns} already exists and is not of the lab {record.lab}",
                    "It was left alone. Set `prefix:` in the file, or use --isolated.",
                )
    if new and site.has_table:
        raise Conflict(
            f"an nftables table inet labctl-{record.lab} already exists, though no lab {record.lab} does",
            f"It was left alone. See 'nft list table inet labctl-{record.lab}'; rename the lab, or delete it.",
        )
