"""rtnetlink messages in the kernel's own layout: what labctl makes, and reads, of links, addresses and routes.

Layouts and numbers: include/uapi/linux/{rtnetlink,if_link,if_addr,if_bridge,veth}.h, see rtnetlink(7).
"""

from __future__ import annotations

import struct
import sys

from labctl.linux.netlink import HEADER, NLM_F_DUMP, attributes, message, number

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_GETNEIGH = 30

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER, IFLA_LINKINFO = 1, 3, 4, 5, 10, 18
IFLA_IFALIAS, IFLA_AF_SPEC, IFLA_GROUP, IFLA_NET_NS_FD, IFLA_EXT_MASK = 20, 26, 27, 28, 29
IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES = 31, 32
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
IFLA_BR_STP_STATE, VETH_INFO_PEER, IFLA_INET6_ADDR_GEN_MODE = 5, 1, 8
IFLA_BRPORT_MODE, IFLA_BRPORT_ISOLATED = 4, 33
RTEXT_FILTER_SKIP_STATS = 8
IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST = 1, 2, 4
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_TABLE = 1, 4, 5, 6, 15

IFF_UP = 0x1
IFA_F_NODAD = 0x02
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RT_SCOPE_HOST = 0, 253, 254
RTPROT_BOOT, RTPROT_STATIC, RTN_UNICAST = 3, 4, 1
ADDR_GEN_NONE = 1

IFINFO = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
IFADDR = struct.Struct("=BBBBi")  # struct ifaddrmsg: family, prefix length, flags, scope, index
RTMSG = struct.Struct("=BBBBBBBBI")  # struct rtmsg: family, lengths of dst and src, tos, table, protocol, …


def link(type_: int, flags: int, index: int, *attributes: bytes) -> bytes:
    return message(type_, flags, IFINFO.pack(0, 0, index, 0, 0), *attributes)


def dump(type_: int, family: int = 0) -> bytes:
    """Asks for all links, addresses or routes, of one family or of all."""
    if type_ == RTM_GETLINK:  # without counters
        skip = number(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)
        return message(type_, NLM_F_DUMP, IFINFO.pack(family, 0, 0, 0, 0), skip)
    fixed = IFADDR.pack(family, 0, 0, 0, 0) if type_ == RTM_GETADDR else RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
    return message(type_, NLM_F_DUMP, fixed)


def up(index: int, on: bool) -> bytes:
    """`ip link set … up` or `down`."""
    return message(RTM_SETLINK, 0, IFINFO.pack(0, 0, index, IFF_UP if on else 0, IFF_UP))


class Link:
    """An interface as a dump tells of it."""

    def __init__(self, data: bytes) -> None:
        _, _, self.index, self.flags, _ = IFINFO.unpack_from(data, HEADER.size)
        self._attributes = attributes(data, HEADER.size + IFINFO.size)
        self.name = self.text(IFLA_IFNAME)

    def number(self, type_: int) -> int:
        """0 where the attribute is missing."""
        return int.from_bytes(self._attributes.get(type_, b""), sys.byteorder)

    def text(self, type_: int) -> str:
        return _text(self._attributes.get(type_, b""))

    def inside(self, *path: int) -> bytes:
        """A payload down a path of nested attributes; empty where there is none."""
        data = self._attributes.get(path[0], b"")
        for type_ in path[1:]:
            data = attributes(data).get(type_, b"")
        return data

    @property
    def mac(self) -> str:
        return self._attributes.get(IFLA_ADDRESS, b"").hex(":")

    @property
    def kind(self) -> str:
        return _text(self.inside(IFLA_LINKINFO, IFLA_INFO_KIND))


class Address:
    """An address as a dump tells of it; `packed` is the interface's own, four or sixteen bytes."""

    def __init__(self, data: bytes) -> None:
        _, self.prefix, _, _, self.index = IFADDR.unpack_from(data, HEADER.size)
        found = attributes(data, HEADER.size + IFADDR.size)
        self.packed = found.get(IFA_LOCAL) or found.get(IFA_ADDRESS, b"")


class Route:
    """A route as a dump tells of it; `to` and `via` are packed, and empty for none."""

    def __init__(self, data: bytes) -> None:
        fields = RTMSG.unpack_from(data, HEADER.size)
        self.family, self.prefix, _, _, table, self.protocol, _, self.type, _ = fields
        found = attributes(data, HEADER.size + RTMSG.size)
        self.to, self.via = found.get(RTA_DST, b""), found.get(RTA_GATEWAY, b"")
        self.index = int.from_bytes(found.get(RTA_OIF, b""), sys.byteorder)
        self.metric = int.from_bytes(found.get(RTA_PRIORITY, b""), sys.byteorder)
        self.table = int.from_bytes(found.get(RTA_TABLE, b""), sys.byteorder) or table


def _text(payload: bytes) -> str:
    return payload.rstrip(b"\0").decode(errors="replace")
