"""Topology to State: from what was written to every name, number, route and rule that it means.

Pure: the same topology and the same leases give the same state, byte for byte. Defaults are Docker's (v27, the
last with MAC from IP and both ends' indexes in one series).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface, IPv6Network, ip_network

from labctl.digest import sha256
from labctl.etc import files
from labctl.fields import dataclass, field
from labctl.leases import address, interfaces, ways_out
from labctl.programs import services
from labctl.publish import opened, published
from labctl.record import Leases
from labctl.ruleset import ruleset
from labctl.state import (
    HOST,
    IPV6_MTU,
    MAIN_TABLE,
    Address,
    Item,
    Link,
    Namespace,
    Port,
    Proxy,
    Resolver,
    Route,
    State,
    Sysctl,
)
from labctl.written import Attachment, Bridge, Cable, IPAddress, Node, StaticRoute, Topology

MTU = 1500
NO_MAC = "00:00:00:00:00:00"
Eths = dict[str, str]  # bridge to interface
EVERYWHERE = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}
LOOPBACK = IPv4Interface("127.0.0.1/8")  # comes with lo when it goes up; ::1 is there without


@dataclass(frozen=True)
class Context:
    """What a topology itself does not say: the numbers, and what its nodes take over from the machine."""

    leases: Leases
    prefix: str = ""  # of the names in /run/netns
    directory: str = "/"  # the topology file's folder, which services know as $LABCTL_TOPOLOGY_DIR
    resolver: Resolver = field(default_factory=Resolver)
    found: Mapping[str, str] = field(default_factory=dict)  # what the host had for what the lab changes there
    isolated: bool = False  # the host is the lab's own
    ipv6: bool = True  # the kernel has IPv6 at all
    bridge_nf: Sequence[str] = ()  # iptables, ip6tables: those that see the frames of the host's bridges (br_netfilter)


def desired(topology: Topology, context: Context) -> State:
    """The whole lab as it should be on the machine."""
    bridges = {bridge.name: bridge for bridge in topology.bridges}
    names = _veth_names(topology)
    settings = {setting.name: setting for setting in forwarding(topology)}
    found = {name: value for name, value in context.found.items() if name in settings}
    items: list[Item] = [*settings.values(), *_ways_in(topology, context, found)]
    items += [Namespace(HOST, context.prefix + HOST), *_loopback(HOST)] if context.isolated else []
    for bridge in topology.bridges:
        items += _bridge(bridge, topology, context)
    items += files(topology, context.leases, context.resolver, context.ipv6)
    with_users = {node.same_as or node.name for node in topology.nodes if any(run.user for run in node.run)}
    for node in topology.nodes:
        eths = interfaces(node, topology)
        items += _namespace(node, eths, topology, bridges, context, node.name in with_users)
        items += _attachments(node, eths, topology, bridges, names, context)
        items += services(node, topology.name, context.directory)
    for cable in topology.cables:
        items += _cable(cable, topology, context)
    routed = {node.name: list[Address]() for node in topology.nodes if node.routes}
    for item in items:
        if isinstance(item, Address) and item.node in routed:
            routed[item.node].append(item)
    for node in topology.nodes:
        items += [_static(node, route, routed[node.name]) for route in node.routes]
    return State.of(items)


def _ways_in(topology: Topology, context: Context, found: Mapping[str, str]) -> Iterator[Item]:
    """The rules, the published ports, and what of the host's settings they need."""
    if not topology.bridges:
        return
    ports = published(topology, context.leases)
    yield ruleset(topology.name, topology.bridges, found, ports, opened(topology, context.leases))
    if ports:
        yield Proxy(topology.name, ports)
    if context.isolated:
        for tool in context.bridge_nf:
            yield Sysctl(HOST, f"net.bridge.bridge-nf-call-{tool}", "0")
    local = {
        p.ip
        for p in ports
        if p.translated and p.ip.version == 4 and (p.host_ip.is_unspecified or p.host_ip.is_loopback)
    }
    for bridge in topology.bridges:
        if any(ip in subnet for ip in local for subnet in bridge.subnets):
            yield Sysctl(HOST, f"net.ipv4.conf.{_dotless(bridge.name)}.route_localnet", "1")
        conf = f"net.ipv6.conf.{_dotless(bridge.name)}"
        if context.ipv6 and (bridge.mtu or MTU) >= IPV6_MTU:
            yield Sysctl(HOST, f"{conf}.accept_ra", "0")  # or a node could make itself the machine's router
        if context.ipv6 and any(subnet.version == 6 for subnet in bridge.subnets):
            yield Sysctl(HOST, f"{conf}.accept_dad", "0")  # nobody waits for its link-local address


def _interface(ip: IPAddress, prefix: int) -> IPv4Interface | IPv6Interface:
    return (IPv4Interface if ip.version == 4 else IPv6Interface)((int(ip), prefix))


def _digest(*names: str) -> bytes:
    return sha256("/".join(names).encode()).digest()


def _veth_names(topology: Topology) -> dict[tuple[str, str], str]:
    """(node, bridge) to `veth` and seven hex digits, as Docker's, but the same each time and unique in the lab."""
    names: dict[str, tuple[str, str]] = {}
    for node in topology.nodes:
        for attachment in node.networks:
            name, salt = "", 0
            while not name or name in names:
                name = "veth" + _digest(topology.name, node.name, attachment.bridge, str(salt)).hex()[:7]
                salt += 1
            names[name] = node.name, attachment.bridge
    return {place: name for name, place in names.items()}


def _mac(*names: str) -> str:
    """A locally administered address in Docker's range that depends on nothing but the names."""
    return "02:42:" + _digest(*names)[:4].hex(":")


def _docker_mac(ip: IPAddress | None, *names: str) -> str:
    """02:42 and the four bytes of the IPv4 address (Docker up to v27)."""
    if isinstance(ip, IPv4Address):
        return "02:42:" + ip.packed.hex(":")
    return _mac(*names)


def forwarding(topology: Topology) -> Iterator[Sysctl]:
    """What the lab needs of its host."""
    versions = {net.version for bridge in topology.bridges if not bridge.internal for net in bridge.subnets}
    if 4 in versions:
        yield Sysctl(HOST, "net.ipv4.ip_forward", "1")
    if 6 in versions:
        yield Sysctl(HOST, "net.ipv6.conf.all.forwarding", "1")


def _bridge(bridge: Bridge, topology: Topology, context: Context) -> Iterator[Item]:
    port = Port(
        HOST,
        bridge.name,
        context.leases.indexes[f"{HOST}/{bridge.name}"],
        bridge.mac or _mac(topology.name, bridge.name),
        bridge.mtu or MTU,
        alias=f"labctl:{topology.name}/{bridge.name}",
        group=context.leases.group,
        link_local=any(net.version == 6 and bridge.gateway(net) for net in bridge.subnets),
    )
    yield Link("bridge", (port,), stp=bridge.stp)
    for subnet in bridge.subnets:
        if gateway := bridge.gateway(subnet):
            yield Address(HOST, bridge.name, _interface(gateway, subnet.prefixlen))


def _namespace(
    node: Node, eths: Eths, topology: Topology, bridges: dict[str, Bridge], context: Context, with_users: bool
) -> Iterator[Item]:
    machines = node.same_as == HOST and not context.isolated
    yield Namespace(node.name, "" if machines else context.prefix + node.name, same_as=node.same_as)
    if node.same_as:
        return
    yield from _loopback(node.name)
    mtus = _mtus(node, eths, topology, bridges)
    settings = _ipv6_settings(node, eths, mtus, topology, bridges) if context.ipv6 else {}
    if node.forward:
        settings["net.ipv4.ip_forward"] = "1"
        settings |= {"net.ipv6.conf.all.forwarding": "1"} if context.ipv6 else {}
    if with_users:  # as in every container (moby daemon/oci_linux.go): a web server need not be root
        settings["net.ipv4.ip_unprivileged_port_start"] = "0"
    settings |= dict(node.sysctls)
    for name, value in (_for_each_interface(settings, mtus) | settings).items():
        yield Sysctl(node.name, name, _as_read_back(value))


def _loopback(node: str) -> Iterator[Item]:
    yield Link("loopback", (Port(node, "lo", 1, NO_MAC, 65536),))
    yield Address(node, "lo", LOOPBACK)


def _mtus(node: Node, eths: Eths, topology: Topology, bridges: dict[str, Bridge]) -> dict[str, int]:
    """A node's interfaces, the loopback excepted."""
    to_bridges = {name: bridges[bridge].mtu or MTU for bridge, name in eths.items()}
    return to_bridges | {end.interface: cable.mtu or MTU for end, cable in topology.plugged.get(node.name, ())}


def _for_each_interface(settings: dict[str, str], mtus: dict[str, int]) -> dict[str, str]:
    """What `default` says, said of every interface: it counts only for those that are made after it was written."""
    found = [re.fullmatch(r"(net\.(\w+)\.\w+)\.default\.(\w+)", name) for name in settings]
    return {
        f"{match[1]}.{_dotless(name)}.{match[3]}": settings[match[0]]
        for match in found
        if match
        for name, mtu in mtus.items()
        if match[2] != "ipv6" or mtu >= IPV6_MTU
    }


def _dotless(interface: str) -> str:
    """An interface's name as a part of a sysctl's."""
    return interface.replace(".", "/")


def _as_read_back(value: str) -> str:
    """A sysctl's value as the kernel prints it: single spaces, and numbers that were written as 0x… in decimal."""
    return " ".join(str(int(word, 16)) if re.fullmatch("0x[0-9A-Fa-f]+", word) else word for word in value.split())


def _ipv6_settings(
    node: Node, eths: Eths, mtus: dict[str, int], topology: Topology, bridges: dict[str, Bridge]
) -> dict[str, str]:
    """IPv6 exists where the file has it, and only there, as Docker does per interface (libnetwork/osl).

    In a node without any, `default` is set before its interfaces exist: not one frame of IPv6 is ever sent.
    """
    with_ipv6 = {eths[a.bridge] for a in node.networks if any(n.version == 6 for n in bridges[a.bridge].subnets)}
    with_ipv6 |= {end.interface for end, _ in topology.plugged.get(node.name, ()) if end.ip6}
    with_ipv6 |= {route.dev for route in node.routes if route.to.version == 6 and route.dev}
    if not with_ipv6:
        return {"net.ipv6.conf.default.disable_ipv6": "1"}
    default = {"accept_dad": "0", "accept_ra": "0", "disable_ipv6": "0"}
    settings = {f"net.ipv6.conf.default.{name}": value for name, value in default.items()}
    without = (name for name, mtu in mtus.items() if name not in with_ipv6 and mtu >= IPV6_MTU)
    return settings | {f"net.ipv6.conf.{_dotless(name)}.disable_ipv6": "1" for name in without}


def _without_ipv6(node: Node, interface: str) -> bool:
    """Whether the file's own settings turn IPv6 off there: then it has no address of it, as with Docker."""
    settings = dict(node.sysctls)
    return any(settings.get(f"net.ipv6.conf.{name}.disable_ipv6") == "1" for name in (_dotless(interface), "all"))


def _attachments(
    node: Node,
    eths: Eths,
    topology: Topology,
    bridges: dict[str, Bridge],
    names: dict[tuple[str, str], str],
    context: Context,
) -> Iterator[Item]:
    for attachment in node.networks:
        bridge, eth = bridges[attachment.bridge], eths[attachment.bridge]
        near_name = names[node.name, bridge.name]
        yield _pair(node, attachment, bridge, eth, near_name, topology, context)
        for subnet in bridge.subnets:
            ip = address(context.leases, node.name, attachment, subnet.version)
            if ip and (subnet.version == 4 or not _without_ipv6(node, eth)):
                yield Address(node.name, eth, _interface(ip, subnet.prefixlen))
    written = {
        route.to.version for route in node.routes if route.to.prefixlen == 0 and route.table in (None, MAIN_TABLE)
    }
    for version, bridge in ways_out(node, bridges).items():
        if version not in written and not (version == 6 and _without_ipv6(node, eths[bridge.name])):
            yield Route(
                node.name, EVERYWHERE[version], bridge.ways_out[version], eths[bridge.name], 1024 * (version == 6)
            )


def _pair(
    node: Node, attachment: Attachment, bridge: Bridge, eth: str, name: str, topology: Topology, context: Context
) -> Link:
    indexes, leases = context.leases.indexes, context.leases
    ip = address(leases, node.name, attachment, 4)
    tools = {"iptables" if subnet.version == 4 else "ip6tables" for subnet in bridge.subnets}
    ruled = not context.isolated and tools <= set(context.bridge_nf)  # the rules see every frame between two ports
    near = Port(
        HOST,
        name,
        indexes[f"{HOST}/{node.name}/{bridge.name}"],
        _mac(topology.name, node.name, bridge.name, HOST),
        bridge.mtu or MTU,
        master=bridge.name,
        isolated=not bridge.icc and not ruled,
        hairpin=bool(node.ports) and ruled,
        alias=f"labctl:{topology.name}/{node.name}/{eth}",
        group=leases.group,
        link_local=False,
    )
    mac = attachment.mac or _docker_mac(ip, topology.name, node.name, bridge.name)
    return Link("veth", (near, _inside(node.name, eth, indexes[f"{node.name}/{eth}"], mac, bridge.mtu or MTU)))


def _inside(node: str, name: str, index: int, mac: str, mtu: int) -> Port:
    """An interface in a node: the kernel may give it a link-local address where it has IPv6."""
    return Port(node, name, index, mac, mtu, link_local=mtu >= IPV6_MTU)


def _cable(cable: Cable, topology: Topology, context: Context) -> Iterator[Item]:
    ports = []
    for end in cable.ends:
        mac = end.mac or _mac(topology.name, end.node, end.interface)
        index = context.leases.indexes[f"{end.node}/{end.interface}"]
        ports.append(_inside(end.node, end.interface, index, mac, cable.mtu or MTU))
        for interface in (end.ip, end.ip6):
            if interface:
                yield Address(end.node, end.interface, interface)
    yield Link("veth", tuple(ports))


def _static(node: Node, route: StaticRoute, own: Iterable[Address]) -> Route:
    """A route of the file; where it names no device, the one whose subnet has the next hop. `own` are the node's
    addresses."""
    metric = route.metric or (1024 if isinstance(route.to, IPv6Network) else 0)
    dev = route.dev or next((item.dev for item in own if route.via in item.interface.network), None)
    return Route(node.name, route.to, route.via, dev, metric, route.table or MAIN_TABLE)
