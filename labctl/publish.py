"""Published ports: from what the file asks for to which port of the host leads where. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address

from labctl.fields import dataclass
from labctl.leases import address, host_port, ways_out
from labctl.record import Leases
from labctl.state import Published
from labctl.written import NAT, ROUTED, UNPROTECTED, Bridge, IPAddress, Node, Topology

ANY = (IPv4Address("0.0.0.0"), IPv6Address("::"))


@dataclass(frozen=True)
class Opened:
    """A port of a node that others reach under the node's own address: gateway_mode routed."""

    ip: IPAddress
    protocol: str
    port: int


def published(topology: Topology, leases: Leases) -> tuple[Published, ...]:
    """Every port of the host that leads to a node, in the file's order."""
    bridges = {bridge.name: bridge for bridge in topology.bridges}
    return tuple(dict.fromkeys(found for node in topology.nodes if node.ports for found in _of(node, bridges, leases)))


def opened(topology: Topology, leases: Leases) -> tuple[Opened, ...]:
    """Every port of a node on a routed bridge, which needs no port of the host; also where the default route is
    another bridge's (libnetwork/drivers/bridge, ProgramExternalConnectivity)."""
    bridges = {bridge.name: bridge for bridge in topology.bridges}
    return tuple(
        Opened(ip, publish.protocol, port)
        for node in topology.nodes
        if node.ports
        for ip in _routed(node, bridges, leases)
        for publish in node.ports
        for port in range(publish.ports[0], publish.ports[1] + 1)
    )


def _routed(node: Node, bridges: Mapping[str, Bridge], leases: Leases) -> Iterator[IPAddress]:
    """A node's addresses on routed bridges."""
    for plug in node.networks:
        bridge = bridges[plug.bridge]
        for version in bridge.ways_out:
            if bridge.mode(version) == ROUTED and (ip := address(leases, node.name, plug, version)):
                yield ip


def _of(node: Node, bridges: Mapping[str, Bridge], leases: Leases) -> Iterator[Published]:
    targets = _targets(node, bridges, leases)
    for publish in node.ports:
        for host_ip in [publish.host_ip] if publish.host_ip else ANY:
            target = targets.get(host_ip.version) or (targets.get(4) if host_ip.version == 6 else None)
            if target and target[0] in (NAT, UNPROTECTED):
                for port in range(publish.ports[0], publish.ports[1] + 1):
                    number = host_port(leases, node.name, publish, port)
                    yield Published(node.name, publish.protocol, host_ip, number, target[1], port)


def _targets(node: Node, bridges: Mapping[str, Bridge], leases: Leases) -> dict[int, tuple[str, IPAddress]]:
    """For each IP version the gateway mode and the node's address on the bridge with its default route: whoever
    comes in by another one would get the answer from a wrong address."""
    plugs = {plug.bridge: plug for plug in node.networks}
    found = {}
    for version, bridge in ways_out(node, bridges).items():
        if ip := address(leases, node.name, plugs[bridge.name], version):
            found[version] = bridge.mode(version), ip
    return found
