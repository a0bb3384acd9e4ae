"""Operations on links, addresses and routes as netlink messages, each with the node whose socket sends it."""

from __future__ import annotations

from _socket import AF_INET, AF_INET6
from collections.abc import Callable, Iterator, Mapping

from labctl.fields import replace
from labctl.linux import rtnetlink as rt
from labctl.linux.netlink import CREATE, REPLACE, attribute, message, nested, number, text
from labctl.plan import Add, Change, Op, Remove
from labctl.shell import port_settings
from labctl.state import BRIDGE_MTU, HOST, Address, Link, Port, Route

BRIDGE_PORT = {"isolated": rt.IFLA_BRPORT_ISOLATED, "hairpin": rt.IFLA_BRPORT_MODE}

ONE_QUEUE = number(rt.IFLA_NUM_TX_QUEUES, 1) + number(rt.IFLA_NUM_RX_QUEUES, 1)
NO_LINK_LOCAL = nested(
    rt.IFLA_AF_SPEC, nested(AF_INET6, attribute(rt.IFLA_INET6_ADDR_GEN_MODE, bytes([rt.ADDR_GEN_NONE])))
)

PORTS_UP, BRIDGES_UP = "/ports", "/bridges"  # no nodes' names: the host, possibly once all else is done

Message = tuple[str, bytes]  # the node whose socket sends it
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
                yield link.node, _bridge(0, link)
        case Remove(Link() as link):
            yield link.node, rt.link(rt.RTM_DELLINK, 0, link.ends[0].index)
        case Add(Address() as a):
            yield a.node, _address(rt.RTM_NEWADDR, CREATE, a, indexes)
        case Remove(Address() as a):
            yield a.node, _address(rt.RTM_DELADDR, 0, a, indexes)
        case Add(Route() as route):
            yield route.node, _route(rt.RTM_NEWROUTE, CREATE, route, indexes)
        case Change(_, Route() as route):
            yield route.node, _route(rt.RTM_NEWROUTE, REPLACE, route, indexes)
        case Remove(Route() as route):
            yield route.node, _route(rt.RTM_DELROUTE, 0, route, indexes)
        case _:
            raise TypeError(op)


def _add_link(link: Link, fd: Callable[[str], int], indexes: Indexes) -> Iterator[Message]:
    near, far = link.ends[0], link.ends[-1]
    if link.kind == "veth":
        yield HOST, _veth(near, far, fd)
    elif link.kind == "bridge":
        yield near.node, _bridge(CREATE, link)
    for port in dict.fromkeys((near, far)):
        yield from _set_port(_created(link.kind, port), port, indexes)


def _veth(near: Port, far: Port, fd: Callable[[str], int]) -> bytes:
    """Both ends in place, under their final names (0.4 ms; moving one afterwards costs 17 ms).

    The far end's index counts only when the near end has one too (drivers/net/veth.c, rtnl_create_link).
    """
    peer = rt.IFINFO.pack(0, 0, far.index, 0, 0) + _new_port(far) + number(rt.IFLA_NET_NS_FD, fd(far.node))
    info = nested(
        rt.IFLA_LINKINFO, text(rt.IFLA_INFO_KIND, "veth"), nested(rt.IFLA_INFO_DATA, attribute(rt.VETH_INFO_PEER, peer))
    )
    where = number(rt.IFLA_NET_NS_FD, fd(near.node)) if near.node != HOST else b""
    return rt.link(rt.RTM_NEWLINK, CREATE, near.index, _new_port(near), where, info)


def _new_port(port: Port) -> bytes:
    """One queue each way: by default a veth has one per CPU and costs twice the time."""
    return _identity(port) + number(rt.IFLA_MTU, port.mtu) + ONE_QUEUE


def _identity(port: Port) -> bytes:
    group = number(rt.IFLA_GROUP, port.group) if port.group else b""
    return text(rt.IFLA_IFNAME, port.name) + _mac(port) + group


def _mac(port: Port) -> bytes:
    return attribute(rt.IFLA_ADDRESS, bytes.fromhex(port.mac.replace(":", "")))


def _bridge(flags: int, link: Link) -> bytes:
    port = link.ends[0]
    data = nested(rt.IFLA_INFO_DATA, number(rt.IFLA_BR_STP_STATE, int(link.stp)))
    info = nested(rt.IFLA_LINKINFO, text(rt.IFLA_INFO_KIND, "bridge"), data)
    return rt.link(rt.RTM_NEWLINK, flags, port.index, _identity(port) if flags else b"", info)


def _created(kind: str, port: Port) -> Port:
    """What the kernel makes when asked for a port."""
    mtu = BRIDGE_MTU if kind == "bridge" else port.mtu
    return replace(port, up=False, master=None, isolated=False, hairpin=False, alias="", link_local=True, mtu=mtu)


def _set_port(before: Port, after: Port, indexes: Indexes) -> Iterator[Message]:
    """From a port as created or as found to what it should be.

    Up goes in a message of its own and last: the kernel would raise the interface before it reads how IPv6 addresses
    are made (net/core/rtnetlink.c, do_setlink). On the host it can wait until all else is done: every carrier that
    comes occupies RTNL, and a bridge that is up then looks at all of its ports (net/bridge/br_stp.c,
    br_port_state_selection; 1000 nodes: 0.2 s).
    """
    attributes: list[bytes] = []
    if before.mac != after.mac:
        attributes.append(_mac(after))
    if before.mtu != after.mtu and after.ipv6 and not before.ipv6:  # IPv6 has to be there before it can be set up
        yield after.node, rt.link(rt.RTM_SETLINK, 0, after.index, number(rt.IFLA_MTU, after.mtu))
    elif before.mtu != after.mtu:
        attributes.append(number(rt.IFLA_MTU, after.mtu))
    if before.group != after.group:
        attributes.append(number(rt.IFLA_GROUP, after.group))
    if before.alias != after.alias:
        attributes.append(attribute(rt.IFLA_IFALIAS, after.alias.encode()))
    if before.master != after.master:
        attributes.append(number(rt.IFLA_MASTER, indexes[after.node, after.master] if after.master else 0))
    if after.ipv6 and not after.link_local and (before.link_local or not before.ipv6):
        attributes.append(NO_LINK_LOCAL)
    if attributes:
        yield after.node, rt.link(rt.RTM_SETLINK, 0, after.index, *attributes)
    if settings := port_settings(before, after):
        yield after.node, _bridge_port(after, settings)
    if before.up != after.up:
        later = PORTS_UP if after.master else BRIDGES_UP
        yield later if after.up and after.node == HOST else after.node, rt.up(after.index, after.up)


def _bridge_port(port: Port, settings: Mapping[str, bool]) -> bytes:
    """A bridge port's own settings: `bridge link set … isolated`."""
    data = (attribute(BRIDGE_PORT[name], bytes([on])) for name, on in settings.items())
    slave = text(rt.IFLA_INFO_SLAVE_KIND, "bridge") + nested(rt.IFLA_INFO_SLAVE_DATA, *data)
    return rt.link(rt.RTM_NEWLINK, 0, port.index, nested(rt.IFLA_LINKINFO, slave))


def _address(type_: int, flags: int, address: Address, indexes: Indexes) -> bytes:
    """IPv6 without duplicate detection: the lab gave the address out, and a second of waiting helps nobody."""
    ip, prefix = address.interface.ip, address.interface.network.prefixlen
    family = AF_INET if ip.version == 4 else AF_INET6
    nodad = rt.IFA_F_NODAD if ip.version == 6 else 0
    scope = rt.RT_SCOPE_HOST if ip.is_loopback else rt.RT_SCOPE_UNIVERSE
    fixed = rt.IFADDR.pack(family, prefix, nodad, scope, indexes[address.node, address.dev])
    attributes = attribute(rt.IFA_LOCAL, ip.packed) + attribute(rt.IFA_ADDRESS, ip.packed)
    if ip.version == 4 and prefix < 31 and not ip.is_loopback:
        attributes += attribute(rt.IFA_BROADCAST, address.interface.network.broadcast_address.packed)
    return message(type_, flags, fixed, attributes)


def _route(type_: int, flags: int, route: Route, indexes: Indexes) -> bytes:
    family = AF_INET if route.to.version == 4 else AF_INET6
    scope = rt.RT_SCOPE_UNIVERSE if route.via or route.to.version == 6 else rt.RT_SCOPE_LINK
    table = route.table if route.table < 256 else 0
    fixed = rt.RTMSG.pack(family, route.to.prefixlen, 0, 0, table, rt.RTPROT_BOOT, scope, rt.RTN_UNICAST, 0)
    attributes = number(rt.RTA_TABLE, route.table)
    attributes += attribute(rt.RTA_DST, route.to.network_address.packed) if route.to.prefixlen else b""
    attributes += attribute(rt.RTA_GATEWAY, route.via.packed) if route.via else b""
    attributes += number(rt.RTA_OIF, indexes[route.node, route.dev]) if route.dev else b""
    attributes += number(rt.RTA_PRIORITY, route.metric) if route.metric else b""
    return message(type_, flags, fixed, attributes)
