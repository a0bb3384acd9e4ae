"""Reads a running lab as it is now: interfaces, addresses, routes, neighbours, processes. Changes nothing.

Takes from the record only where to look; a namespace that is gone is told, not an error.
"""

from __future__ import annotations

import errno
from _socket import AF_INET, AF_INET6, ntohs
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address, ip_interface, ip_network

from labctl.errors import LabError
from labctl.fields import replace
from labctl.linux import ports, processes, statuses
from labctl.linux import rtnetlink as rt
from labctl.linux.netlink import Socket
from labctl.linux.place import Namespaces, Place, exists
from labctl.linux.thread import heed, in_thread
from labctl.ownership import HostLink, ours
from labctl.picture import Bridge, Hop, Inside, Interface, Neighbour, Picture, RouteEntry, Status, Traffic
from labctl.record import Record
from labctl.state import HOST, MAIN_TABLE, Service

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

IFF_UP, IFF_RUNNING = 0x1, 0x40
FLAGS = {  # in the order of ip(8)
    0x8: "LOOPBACK", 0x2: "BROADCAST", 0x10: "POINTOPOINT", 0x1000: "MULTICAST", 0x80: "NOARP", 0x200: "ALLMULTI",
    0x100: "PROMISC", 0x400: "MASTER", 0x800: "SLAVE", 0x1: "UP", 0x10000: "LOWER_UP", 0x20000: "DORMANT",
}  # fmt: skip
ARPHRD_LOOPBACK = 772
ROUTE_KINDS = {
    1: "unicast",
    2: "local",
    3: "broadcast",
    5: "multicast",
    6: "blackhole",
    7: "unreachable",
    8: "prohibit",
}
ROUTE_KINDS |= {4: "anycast", 9: "throw"}
PROTOCOLS = {1: "redirect", 2: "kernel", 3: "boot", 4: "static", 9: "ra", 16: "dhcp"}
SCOPES = {0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}
ROUTE_FLAGS = {0x1: "dead", 0x4: "onlink", 0x10: "linkdown"}
NUD_NOARP = 0x40
NEIGHBOUR_STATES = {
    0x01: "INCOMPLETE", 0x02: "REACHABLE", 0x04: "STALE", 0x08: "DELAY", 0x10: "PROBE", 0x20: "FAILED",
    0x80: "PERMANENT",
}  # fmt: skip


Read = Callable[[Inside, Socket, Record], Inside]  # fills in what a namespace holds


def look(record: Record) -> Picture:
    """The whole lab, without its rules."""
    return in_thread(lambda: _look(record, Place(record.lab, record.isolated), _network))


def glance(record: Record) -> Picture:
    """As much of it as `ps` shows: of a network nothing but the addresses, on interfaces without names."""
    return in_thread(lambda: _look(record, Place(record.lab, record.isolated), _addresses))


def rules(record: Record) -> str:
    """The lab's nftables table with its counters; empty when there is none."""
    place = Place(record.lab, record.isolated)
    return in_thread(lambda: _rules(place)) if exists(place, HOST) else ""


def _rules(place: Place) -> str:
    import subprocess  # 2 ms, and not for `ps`

    with Namespaces(place) as namespaces:
        namespaces.enter(HOST)
        command = ["nft", "list", "table", "inet", f"labctl-{place.lab}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise LabError("nft is not installed", "Install it: apt-get install nftables") from None
        return done.stdout if done.returncode == 0 else ""


def _look(record: Record, place: Place, read: Read) -> Picture:
    nodes = record.state.nodes
    counted = [*nodes, *([HOST] if place.isolated else [])]
    pids = processes.processes(place, counted)
    status = _status(record, pids)
    with Namespaces(place) as namespaces:
        host, *rest = (_inside(node, record, namespaces, pids.get(node, []), status, read) for node in (HOST, *nodes))
        if record.state.published and host.there:
            namespaces.enter(HOST)
        held = not record.state.published or (host.there and ports.runs(place))
        return Picture(
            record.lab, record.file, record.isolated, host, tuple(rest), ports=record.state.published, held=held
        )


def _status(record: Record, pids: Mapping[str, list[int]]) -> dict[str, tuple[Status, ...]]:
    place = Place(record.lab, record.isolated)
    found: dict[str, tuple[Status, ...]] = {}
    for service in sorted((item for item in record.state.items if isinstance(item, Service)), key=lambda s: s.name):
        report = statuses.read(place, service.node, service.name)
        alive = tuple(sorted(filter(processes.belongs_to(service, report), pids.get(service.node, []))))
        found[service.node] = (*found.get(service.node, ()), Status(service, alive, report))
    return found


def _inside(
    node: str,
    record: Record,
    namespaces: Namespaces,
    pids: list[int],
    status: Mapping[str, tuple[Status, ...]],
    read: Read,
) -> Inside:
    heed()
    there = _socket(namespaces, node)
    owner = namespaces.place.owner(node)
    if there is None:
        return Inside(node, there=False, services=status.get(node, ()))
    inside = Inside(node, services=status.get(node, ()), pids=tuple(sorted(pids)))
    return read(inside, there, record) if owner == node else replace(inside, same_as=owner)


def _addresses(inside: Inside, there: Socket, _: Record) -> Inside:
    found: dict[int, list[IPv4Interface | IPv6Interface]] = {}
    for address in map(rt.Address, there.dump(rt.dump(rt.RTM_GETADDR))):
        found.setdefault(address.index, []).append(ip_interface((address.packed, address.prefix)))
    interfaces = (Interface("", i, "", (), 0, "", "", addresses=tuple(own)) for i, own in sorted(found.items()))
    return replace(inside, interfaces=tuple(interfaces))


def _network(inside: Inside, there: Socket, record: Record) -> Inside:
    links = sorted(_dump(there, "ifinfmsg", rt.RTM_GETLINK), key=lambda message: message["index"])
    names = {message["index"]: message.get_attr("IFLA_IFNAME") for message in links}
    addresses: dict[int, list[str]] = {}
    for message in _dump(there, "ifaddrmsg", rt.RTM_GETADDR):
        text = f"{message.get_attr('IFA_LOCAL') or message.get_attr('IFA_ADDRESS')}/{message['prefixlen']}"
        addresses.setdefault(message["index"], []).append(text)
    return replace(
        inside,
        interfaces=tuple(_interface(m, inside.node, record, names, addresses.get(m["index"], [])) for m in links),
        routes=tuple(_route(message, names) for message in _main_table(there)),
        neighbours=tuple(_neighbours(there, names)),
    )


def _socket(namespaces: Namespaces, node: str) -> Socket | None:
    """None where the node's file is missing (ENOENT) or is a namespace no more (EINVAL), also since a moment ago."""
    try:
        return namespaces.socket(node)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINVAL):
            return None
        raise


def _dump(there: Socket, kind: str, type_: int, **fields: Any) -> list[Any]:
    from labctl.linux.described import dump  # 40 ms, and `ps` needs none of it

    return dump(there, kind, type_, **fields)


Names = Mapping[int, str]


def _interface(message: Any, node: str, record: Record, names: Names, addresses: list[str]) -> Interface:
    info = message.get_attr("IFLA_LINKINFO")
    index, name = message["index"], message.get_attr("IFLA_IFNAME")
    group, alias = message.get_attr("IFLA_GROUP") or 0, message.get_attr("IFLA_IFALIAS") or ""
    other = message.get_attr("IFLA_LINK")
    counters = message.get_attr("IFLA_STATS64") or {}
    kind = "loopback" if message["ifi_type"] == ARPHRD_LOOPBACK else info and info.get_attr("IFLA_INFO_KIND")
    return Interface(
        name,
        index,
        kind or "",
        _flags(message["flags"]),
        message.get_attr("IFLA_MTU") or 0,
        message.get_attr("IFLA_ADDRESS") or "",
        message.get_attr("IFLA_OPERSTATE") or "UNKNOWN",
        master=names.get(message.get_attr("IFLA_MASTER")),
        other_end=None if other in (None, 0, index) else other,
        elsewhere=message.get_attr("IFLA_LINK_NETNSID") is not None,
        ours=node != HOST or record.isolated or ours(HostLink(name, index, group, alias), record),
        alias=alias,
        group=group,
        rx=_traffic(counters, "rx"),
        tx=_traffic(counters, "tx"),
        bridge=_bridge(info) if kind == "bridge" else None,
        addresses=tuple(map(ip_interface, addresses)),
    )


def _flags(bits: int) -> tuple[str, ...]:
    no_carrier = ("NO-CARRIER",) if bits & IFF_UP and not bits & IFF_RUNNING else ()
    return (*no_carrier, *(name for bit, name in FLAGS.items() if bits & bit))


def _traffic(counters: Mapping[str, int], way: str) -> Traffic:
    return Traffic(*(counters.get(f"{way}_{what}", 0) for what in ("packets", "bytes", "errors", "dropped")))


def _bridge(info: Any) -> Bridge:
    """pyroute2 reads the priority, two bytes in network order, as a number of this machine's order."""
    data = info.get_attr("IFLA_INFO_DATA")
    id_ = data.get_attr("IFLA_BR_BRIDGE_ID")
    return Bridge(f"{ntohs(id_['prio']):04x}.{id_['addr'].replace(':', '')}", bool(data.get_attr("IFLA_BR_STP_STATE")))


def _main_table(there: Socket) -> list[Any]:
    """IPv4 first; filtered by the kernel, and here for one too old to do it (before 4.20)."""
    dumps = (_dump(there, "rtmsg", rt.RTM_GETROUTE, family=f, table=MAIN_TABLE) for f in (AF_INET, AF_INET6))
    found = [message for messages in dumps for message in messages]
    return [m for m in found if m["table"] == MAIN_TABLE and ROUTE_KINDS.get(m["type"]) not in ("local", "multicast")]


def _route(message: Any, names: Names) -> RouteEntry:
    nowhere = "0.0.0.0" if message["family"] == AF_INET else "::"
    source = message.get_attr("RTA_PREFSRC")
    return RouteEntry(
        ip_network(f"{message.get_attr('RTA_DST') or nowhere}/{message['dst_len']}"),
        names.get(message.get_attr("RTA_OIF")),
        _gateway(message),
        ROUTE_KINDS.get(message["type"], str(message["type"])),
        PROTOCOLS.get(message["proto"], str(message["proto"])),
        SCOPES.get(message["scope"], str(message["scope"])),
        ip_address(source) if source else None,
        message.get_attr("RTA_PRIORITY") or 0,
        tuple(name for bit, name in ROUTE_FLAGS.items() if message["flags"] & bit),
        tuple(_hop(hop, names) for hop in message.get_attr("RTA_MULTIPATH") or ()),
    )


def _gateway(message: Any) -> IPv4Address | IPv6Address | None:
    via = message.get_attr("RTA_GATEWAY")
    return ip_address(via) if via else None


def _hop(hop: Any, names: Names) -> Hop:
    """The kernel counts weights from 0 (struct rtnexthop, rtnh_hops)."""
    return Hop(_gateway(hop), names.get(hop["oif"]), hop["hops"] + 1)


def _neighbours(there: Socket, names: Names) -> list[Neighbour]:
    """As ip(8) and arp(8) list them: without multicast and other addresses that need no asking."""
    return [
        Neighbour(
            ip_address(message.get_attr("NDA_DST")),
            names.get(message["ifindex"], ""),
            message.get_attr("NDA_LLADDR") or "",
            NEIGHBOUR_STATES.get(message["state"], "NONE"),
        )
        for message in _dump(there, "ndmsg", rt.RTM_GETNEIGH)
        if message["state"] & ~NUD_NOARP and message.get_attr("NDA_DST")
    ]
