"""A node's own /etc: hosts, hostname and resolv.conf, in Docker's order. Pure.

Nodes find each other by their hosts files; there is no name server. The first name of a line is the one that an
address is called by (getent, `hostname -f`, dnsmasq).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from labctl.leases import address, ways_out
from labctl.record import Leases
from labctl.state import File, Resolver
from labctl.written import HOST_GATEWAY, Attachment, Bridge, Node, Topology

LOCALHOST4 = "127.0.0.1\tlocalhost\n"
LOCALHOST6 = """\
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""


def files(topology: Topology, leases: Leases, machine: Resolver, ipv6: bool) -> Iterator[File]:
    """The files of all nodes that have a network of their own; `ipv6` tells whether the kernel has IPv6 at all."""
    bridges = {bridge.name: bridge for bridge in topology.bridges}
    found = {(n.name, a.bridge): _addresses(n, a, leases) for n in topology.nodes for a in n.networks}
    names = {(n.name, a.bridge): _names(n, a) for n in topology.nodes for a in n.networks}
    lines = {place: _lines(found[place], names[place]) for place in found}
    members: dict[str, list[str]] = {name: [] for name in bridges}
    for (_, bridge), text in lines.items():
        members[bridge].append(text)
    everybody = {name: "".join(texts) for name, texts in members.items()}
    for node in topology.nodes:
        if not node.same_as:
            full = _full_name(node)
            places = [(node.name, a.bridge) for a in node.networks]
            own = (_lines(found[place], [*full, *names[place]]) for place in places)
            peers = (everybody[place[1]].replace(lines[place], "", 1) for place in places)
            yield File(node.name, "hosts", "".join((_localhost(node, ipv6), _extra(node, bridges), *own, *peers)))
            yield File(node.name, "hostname", f"{node.hostname or node.name}\n")
            yield File(node.name, "resolv.conf", _resolver(node, machine))


def _full_name(node: Node) -> list[str]:
    """Its own full name and, if that has dots, the part before the first one (libnetwork/sandbox_dns_unix.go)."""
    full = ".".join(filter(None, (node.hostname or node.name, node.domainname)))
    return [full, full.partition(".")[0]]


def _names(node: Node, attachment: Attachment) -> list[str]:
    """What others on a bridge may call it; with the bridge's name behind, a name tells one of several addresses."""
    names = [node.name, *attachment.aliases]
    hostname = node.hostname or node.name
    full = [f"{hostname}.{node.domainname}"] if node.domainname else []
    return [*names, hostname, *full, *(f"{name}.{attachment.bridge}" for name in names)]


def _addresses(node: Node, attachment: Attachment, leases: Leases) -> list[str]:
    found = (address(leases, node.name, attachment, version) for version in (4, 6))
    return [str(ip) for ip in found if ip]


def _lines(addresses: Sequence[str], names: Sequence[str]) -> str:
    together = " ".join(dict.fromkeys(names))
    return "".join([f"{ip}\t{together}\n" for ip in addresses])


def _localhost(node: Node, ipv6: bool) -> str:
    off = (f"net.ipv6.conf.{interface}.disable_ipv6" for interface in ("all", "lo"))
    without = not ipv6 or any(dict(node.sysctls).get(name) == "1" for name in off)
    return LOCALHOST4 if without else LOCALHOST4 + LOCALHOST6


def _extra(node: Node, bridges: Mapping[str, Bridge]) -> str:
    if not node.extra_hosts:
        return ""
    gateways = [bridge.ways_out[version] for version, bridge in sorted(ways_out(node, bridges).items())]
    return "".join(
        f"{ip}\t{name}\n"
        for name, written in node.extra_hosts
        for ip in (gateways if written == HOST_GATEWAY else [written])
    )


def _resolver(node: Node, machine: Resolver) -> str:
    """What the file leaves out is as on the machine, one by one (libnetwork/internal/resolvconf)."""
    lines = [f"nameserver {server}" for server in node.dns or machine.nameservers]
    lines = lines or ["# no nameserver: see `dns` of the topology"]
    search = [domain for domain in node.dns_search or machine.search if domain != "."]
    lines += [f"search {' '.join(search)}"] if search else []
    options = node.dns_opt or machine.options
    lines += [f"options {' '.join(options)}"] if options else []
    return "\n".join(lines) + "\n"
