"""Operations on links, addresses and routes as netlink messages, each with the node whose socket sends it."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from labctl.linux import netlink
from labctl.linux.netlink import encode
from labctl.plan import Add, Change, Op, Remove
from labctl.shell import port_settings
from labctl.state import BRIDGE_MTU, HOST, Address, Link, Port, Route

IFF_UP = 0x1
IFA_F_NODAD = 0x02
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RT_SCOPE_HOST = 0, 253, 254
RTPROT_BOOT = 3  # what ip(8) writes, so that a node's routes look as Docker's
ADDR_GEN_NONE = 1
BRIDGE_PORT = {"isolated": "IFLA_BRPORT_ISOLATED", "hairpin": "IFLA_BRPORT_MODE"}

INDEX, INDEX_AT = struct.Struct("=i"), netlink.HEADER.size + 4  # ifi_index in struct ifinfomsg (rtnetlink(7))

Message = tuple[str, bytes]  # the node whose socket sends it
Attributes = list[tuple[str, Any]]
Indexes = Mapping[tuple[str, str], int]


def messages(op: Op, fd: Callable[[str], int], indexes: Indexes) -> Iterator[Message]:
    """What carries out one operation; `fd` opens a node's namespace, `indexes` tells (node, interface)."""
    match op:
        case Add(Link() as link):
            yield from _add_link(link, fd, indexes)
        case Change(Link() as before, Link() as link):
            for old, new in zip(before.ends, link.ends, strict=True):
                yield from _set_port(old, new, indexes)
            if before.stp != link.stp:
                yield link.node, _bridge(netlink.RTM_NEWLINK, 0, link)
        case Remove(Link() as link):
            yield link.node, encode("ifinfmsg", netlink.RTM_DELLINK, 0, {"index": link.ends[0].index}, ())
        case Add(Address() as a):
            yield a.node, _address(netlink.RTM_NEWADDR, netlink.CREATE, a, indexes)
        case Remove(Address() as a):
            yield a.node, _address(netlink.RTM_DELADDR, 0, a, indexes)
        case Add(Route() as route):
            yield route.node, _route(netlink.RTM_NEWROUTE, netlink.CREATE, route, indexes)
        case Change(_, Route() as route):
            yield route.node, _route(netlink.RTM_NEWROUTE, netlink.REPLACE, route, indexes)
        case Remove(Route() as route):
            yield route.node, _route(netlink.RTM_DELROUTE, 0, route, indexes)
        case _:
            raise TypeError(op)


def _add_link(link: Link, fd: Callable[[str], int], indexes: Indexes) -> Iterator[Message]:
    near, far = link.ends[0], link.ends[-1]
    if link.kind == "veth":
        yield HOST, _veth(near, far, fd)
    elif link.kind == "bridge":
        yield near.node, _bridge(netlink.RTM_NEWLINK, netlink.CREATE, link)
    for port in dict.fromkeys((near, far)):
        yield from _set_port(_created(link.kind, port), port, indexes)


def _veth(near: Port, far: Port, fd: Callable[[str], int]) -> bytes:
    """Both ends in place, under their final names (0.4 ms; moving one afterwards costs 17 ms).

    The far end's index counts only when the near end has one too (drivers/net/veth.c, rtnl_create_link).
    """
    peer = {"index": far.index, "attrs": [*_new_port(far), ("IFLA_NET_NS_FD", fd(far.node))]}
    data = {"attrs": [("VETH_INFO_PEER", peer)]}
    where: Attributes = [("IFLA_NET_NS_FD", fd(near.node))] if near.node != HOST else []
    info = ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", data)]})
    attributes = [*_new_port(near), *where, info]
    return encode("ifinfmsg", netlink.RTM_NEWLINK, netlink.CREATE, {"index": near.index}, attributes)


def _new_port(port: Port) -> Attributes:
    """One queue each way: by default a veth has one per CPU and costs twice the time."""
    one = [("IFLA_NUM_TX_QUEUES", 1), ("IFLA_NUM_RX_QUEUES", 1)]
    return [*_identity(port), ("IFLA_MTU", port.mtu), *one]


def _identity(port: Port) -> Attributes:
    group = [("IFLA_GROUP", port.group)] if port.group else []
    return [("IFLA_IFNAME", port.name), ("IFLA_ADDRESS", port.mac), *group]


def _bridge(type_: int, flags: int, link: Link) -> bytes:
    port = link.ends[0]
    data = {"attrs": [("IFLA_BR_STP_STATE", int(link.stp))]}
    info = ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "bridge"), ("IFLA_INFO_DATA", data)]})
    if flags:
        return encode("ifinfmsg", type_, flags, {"index": port.index}, [*_identity(port), info])
    return encode("ifinfmsg", type_, flags, {"index": port.index}, [info])


def _created(kind: str, port: Port) -> Port:
    """What the kernel makes when asked for a port."""
    mtu = BRIDGE_MTU if kind == "bridge" else port.mtu
    return replace(port, up=False, master=None, isolated=False, hairpin=False, alias="", link_local=True, mtu=mtu)


def _set_port(before: Port, after: Port, indexes: Indexes) -> Iterator[Message]:
    """From a port as created or as found to what it should be.

    Up goes in a message of its own and last: the kernel would raise the interface before it reads how IPv6
    addresses are made (net/core/rtnetlink.c, do_setlink).
    """
    fields = {"index": after.index}
    attributes: Attributes = []
    if before.mac != after.mac:
        attributes.append(("IFLA_ADDRESS", after.mac))
    if before.mtu != after.mtu and after.ipv6 and not before.ipv6:  # IPv6 has to be there before it can be set up
        yield after.node, encode("ifinfmsg", netlink.RTM_SETLINK, 0, fields, [("IFLA_MTU", after.mtu)])
    elif before.mtu != after.mtu:
        attributes.append(("IFLA_MTU", after.mtu))
    if before.group != after.group:
        attributes.append(("IFLA_GROUP", after.group))
    if before.alias != after.alias:
        attributes.append(("IFLA_IFALIAS", after.alias))
    if before.master != after.master:
        attributes.append(("IFLA_MASTER", indexes[after.node, after.master] if after.master else 0))
    if after.ipv6 and not after.link_local and (before.link_local or not before.ipv6):
        ipv6 = ("AF_INET6", {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", ADDR_GEN_NONE)]})
        attributes.append(("IFLA_AF_SPEC", {"attrs": [ipv6]}))
    if attributes:
        yield after.node, encode("ifinfmsg", netlink.RTM_SETLINK, 0, fields, attributes)
    if settings := port_settings(before, after):
        yield after.node, _bridge_port(after, settings)
    if before.up != after.up:
        message = bytearray(_up(after.up))
        INDEX.pack_into(message, INDEX_AT, after.index)
        yield after.node, bytes(message)


@cache
def _up(up: bool) -> bytes:
    """Up or down for an interface whose index is filled in: half of all messages of a lab differ by nothing else."""
    return encode("ifinfmsg", netlink.RTM_SETLINK, 0, {"flags": IFF_UP if up else 0, "change": IFF_UP}, ())


def _bridge_port(port: Port, settings: Mapping[str, bool]) -> bytes:
    """A bridge port's own settings: `bridge link set … isolated`."""
    data = {"attrs": [(BRIDGE_PORT[name], int(on)) for name, on in settings.items()]}
    slave = {"attrs": [("IFLA_INFO_SLAVE_KIND", "bridge"), ("IFLA_INFO_SLAVE_DATA", data)]}
    return encode("ifinfmsg", netlink.RTM_NEWLINK, 0, {"index": port.index}, [("IFLA_LINKINFO", slave)])


def _address(type_: int, flags: int, address: Address, indexes: Indexes) -> bytes:
    """IPv6 without duplicate detection: the lab gave the address out, and a second of waiting helps nobody."""
    ip, net = address.interface.ip, address.interface.network
    fields = {
        "family": socket.AF_INET if ip.version == 4 else socket.AF_INET6,
        "prefixlen": net.prefixlen,
        "flags": IFA_F_NODAD if ip.version == 6 else 0,
        "scope": RT_SCOPE_HOST if ip.is_loopback else RT_SCOPE_UNIVERSE,
        "index": indexes[address.node, address.dev],
    }
    attributes: Attributes = [("IFA_LOCAL", str(ip)), ("IFA_ADDRESS", str(ip))]
    if ip.version == 4 and net.prefixlen < 31 and not ip.is_loopback:
        attributes.append(("IFA_BROADCAST", str(net.broadcast_address)))
    return encode("ifaddrmsg", type_, flags, fields, attributes)


def _route(type_: int, flags: int, route: Route, indexes: Indexes) -> bytes:
    fields = {
        "family": socket.AF_INET if route.to.version == 4 else socket.AF_INET6,
        "dst_len": route.to.prefixlen,
        "table": route.table if route.table < 256 else 0,
        "proto": RTPROT_BOOT,
        "scope": RT_SCOPE_UNIVERSE if route.via or route.to.version == 6 else RT_SCOPE_LINK,
        "type": 1,  # RTN_UNICAST
    }
    attributes: Attributes = [("RTA_TABLE", route.table)]
    attributes += [("RTA_DST", str(route.to.network_address))] if route.to.prefixlen else []
    attributes += [("RTA_GATEWAY", str(route.via))] if route.via else []
    attributes += [("RTA_OIF", indexes[route.node, route.dev])] if route.dev else []
    attributes += [("RTA_PRIORITY", route.metric)] if route.metric else []
    return encode("rtmsg", type_, flags, fields, attributes)
