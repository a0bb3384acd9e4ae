"""Numbers that are given out once and then kept: interface indexes, the link group, automatic addresses.

Pure. What a running lab holds stays with its owner as long as it still fits the file; the rest gets the lowest
free number, as Docker's IPAM does (libnetwork/ipams/defaultipam, local scope).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from ipaddress import IPv4Address, IPv6Address

from labctl.digest import sha256
from labctl.errors import Conflict
from labctl.fields import dataclass
from labctl.record import Leases
from labctl.written import Attachment, Bridge, IPAddress, Network, Node, Publish, Span, Topology, bounds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

FIRST_BRIDGE = 3  # after lo and the machine's own card
EPHEMERAL = (32768, 60999)  # of the host's ports, where the file names none (net.ipv4.ip_local_port_range)
FIRST_PAIR = 24  # eth0@if25 beside veth…@if24: the numbers of the article's screens, where they are free


@dataclass(frozen=True)
class Taken:
    """Numbers of the host that are not the lab's: they belong to others, or to other labs."""

    indexes: frozenset[int] = frozenset()
    groups: frozenset[int] = frozenset()
    ports: frozenset[tuple[str, int]] = frozenset()  # protocol and number


def lease(topology: Topology, held: Leases, taken: Taken) -> Leases:
    """The numbers for a topology: those already held, then the lowest free."""
    return Leases(
        group=held.group or _group(topology.name, taken.groups),
        indexes=_indexes(topology, held.indexes, taken.indexes),
        addresses=_addresses(topology, held.addresses),
        ports=_host_ports(topology, held.ports, taken.ports),
    )


def interfaces(node: Node, topology: Topology) -> dict[str, str]:
    """Bridge to interface name: as asked for, else the lowest free eth<n> in the file's order."""
    asked = {a.interface for a in node.networks if a.interface}
    asked |= {end.interface for end, _ in topology.plugged.get(node.name, ())}
    free = (name for name in (f"eth{n}" for n in range(len(asked) + len(node.networks))) if name not in asked)
    return {a.bridge: a.interface or next(free) for a in node.networks}


def address(leases: Leases, node: str, attachment: Attachment, version: int) -> IPAddress | None:
    """The address of a node on a bridge: fixed in the file, or leased; None where the bridge lacks the family."""
    fixed: IPAddress | None = attachment.ip if version == 4 else attachment.ip6
    text = leases.addresses.get(f"{node}/{attachment.bridge}/{version}")
    return fixed or (_address(version, text) if text else None)


def ways_out(node: Node, bridges: Mapping[str, Bridge]) -> dict[int, Bridge]:
    """For each IP version the bridge that has a node's default route: the first in Docker's order that offers one.

    The order (libnetwork/sandbox.go, Less): the higher gw_priority; not internal; both versions before one; the name.
    """

    def order(attachment: Attachment) -> tuple[object, ...]:
        bridge = bridges[attachment.bridge]
        return -attachment.gw_priority, -len(bridge.ways_out), bridge.name

    found: dict[int, Bridge] = {}
    for attachment in sorted(node.networks, key=order):
        for version in bridges[attachment.bridge].ways_out:
            found.setdefault(version, bridges[attachment.bridge])
    return found


@cache
def _address(version: int, text: str) -> IPAddress:
    return IPv4Address(text) if version == 4 else IPv6Address(text)


def _group(lab: str, taken: frozenset[int]) -> int:
    """A 31-bit link group: the same for a name on every machine, unless something there already uses it."""
    group = int.from_bytes(sha256(lab.encode()).digest()[:4], "big") >> 1
    while group < 256 or group in taken:  # low numbers are what people choose by hand (/etc/iproute2/group)
        group = (group + 1) % 2**31
    return group


def _indexes(topology: Topology, held: Mapping[str, int], taken: frozenset[int]) -> dict[str, int]:
    """Bridges first, then pairs: the container's index even, its host peer's (or cable's other end's) one above."""
    wanted = list(_ports(topology))
    kept = {name: held[name] for pair in wanted for name in pair if all(name in held for name in pair)}
    used = taken | set(kept.values())
    top = max(taken, default=0)
    bridges = (n for n in range(max(FIRST_BRIDGE, top + 1), 2**31) if n not in used)
    given = {pair[0]: next(bridges) for pair in wanted if len(pair) == 1 and pair[0] not in kept}
    used |= set(given.values())
    start = max(FIRST_PAIR, max({top, *given.values()}) + 1)
    evens = (n for n in range(start + start % 2, 2**31, 2) if n not in used and n + 1 not in used)
    for pair in wanted:
        if len(pair) == 2 and pair[0] not in kept:
            number = next(evens)
            given |= {pair[0]: number, pair[1]: number + 1}
    numbers = kept | given
    return {name: numbers[name] for pair in wanted for name in pair}


def _ports(topology: Topology) -> Iterator[tuple[str, ...]]:
    """What needs an index: (bridge,) or (lower end, upper end), named `node/interface`."""
    for bridge in topology.bridges:
        yield (f"host/{bridge.name}",)
    for node in topology.nodes:
        for bridge_name, name in interfaces(node, topology).items():
            yield (f"{node.name}/{name}", f"host/{node.name}/{bridge_name}")
    for cable in topology.cables:
        upper, lower = cable.ends
        yield (f"{lower.node}/{lower.interface}", f"{upper.node}/{upper.interface}")


def _addresses(topology: Topology, held: Mapping[str, str]) -> dict[str, str]:
    members: dict[str, list[tuple[str, Attachment]]] = {bridge.name: [] for bridge in topology.bridges}
    for node in topology.nodes:
        for attachment in node.networks:
            members[attachment.bridge].append((node.name, attachment))
    given: dict[str, str] = {}
    for bridge in topology.bridges:
        for subnet in bridge.subnets:
            given |= _pool(bridge, subnet, members[bridge.name], held)
    return given


def host_port(leases: Leases, node: str, publish: Publish, port: int) -> int:
    """The host's port for one of a node's: written in the file, or leased."""
    if publish.paired and publish.host_ports:
        return publish.host_ports[0] + port - publish.ports[0]
    return leases.ports[_port_name(node, publish, port)]


def _port_name(node: str, publish: Publish, port: int) -> str:
    first, last = publish.host_ports or EPHEMERAL
    return f"{node}/{publish.host_ip or '*'}:{first}-{last}/{port}/{publish.protocol}"


def _host_ports(topology: Topology, held: Mapping[str, int], taken: frozenset[tuple[str, int]]) -> dict[str, int]:
    """Those that the file leaves open. A number is given once for a protocol, whatever the address."""
    everything = [(node.name, publish) for node in topology.nodes for publish in node.ports]
    used = set(taken)
    for _, publish in everything:
        if publish.paired and publish.host_ports:
            used |= {(publish.protocol, n) for n in range(publish.host_ports[0], publish.host_ports[1] + 1)}
    wanted = [
        (_port_name(node, publish, port), publish)
        for node, publish in everything
        if not publish.paired
        for port in range(publish.ports[0], publish.ports[1] + 1)
    ]
    given: dict[str, int] = {}
    for name, publish in wanted:
        first, last = publish.host_ports or EPHEMERAL
        claim = (publish.protocol, held.get(name, 0))
        if first <= claim[1] <= last and claim not in used:
            given[name] = claim[1]
            used.add(claim)
    free: dict[tuple[str, Span], Iterator[int]] = {}
    for name, publish in wanted:
        if name not in given:
            span = publish.host_ports or EPHEMERAL
            numbers = free.setdefault((publish.protocol, span), iter(range(span[0], span[1] + 1)))
            given[name] = next((n for n in numbers if (publish.protocol, n) not in used), 0) or _none_free(
                publish, span
            )
            used.add((publish.protocol, given[name]))
    return given


def _none_free(publish: Publish, span: Span) -> NoReturn:
    raise Conflict(
        f"none of the host's ports {span[0]} to {span[1]} is free for {publish.ports[0]}/{publish.protocol}",
        "Write a wider span of host ports, or free one: ss -lnptu",
    )


def _pool(
    bridge: Bridge, subnet: Network, members: Iterable[tuple[str, Attachment]], held: Mapping[str, str]
) -> dict[str, str]:
    """The automatic addresses of one subnet."""
    fixed = {a.ip if subnet.version == 4 else a.ip6 for _, a in members}
    automatic = [
        f"{node}/{bridge.name}/{subnet.version}"
        for node, a in members
        if (a.ip if subnet.version == 4 else a.ip6) is None
    ]
    span: Network = bridge.ip_range if subnet.version == 4 and bridge.ip_range else subnet
    first, last = int(span.network_address), int(span.broadcast_address)
    used = {*fixed, bridge.gateway(subnet), *bounds(subnet)}
    reserved = {int(x) for x in used if x is not None}
    given: dict[str, int] = {}
    for name in automatic:
        if name in held and first <= (number := int(_address(subnet.version, held[name]))) <= last:
            if number not in reserved:
                given[name] = number
                reserved.add(number)
    free = (number for number in range(first, last + 1) if number not in reserved)
    for name in automatic:
        if name not in given:
            given[name] = next(free)
    return {name: str(IPv4Address(n) if subnet.version == 4 else IPv6Address(n)) for name, n in given.items()}
