"""The kernel's connection tracking, in the network namespace of the calling thread: flows that have to be forgotten.

NAT is chosen for the first packet of a flow only. A UDP flow that goes on keeps the way of a port that is published no
more, or misses one that is published now (moby#8795). Messages: include/uapi/linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import errno
import struct
from _socket import AF_INET, AF_INET6, SOCK_CLOEXEC, SOCK_DGRAM, socket
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache
from ipaddress import ip_address

from labctl.fields import dataclass
from labctl.linux.netlink import (
    HEADER,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    attribute,
    attributes,
    netfilter,
)
from labctl.translation import Translation

NFNL_SUBSYS_CTNETLINK = 1
IPCTNL_MSG_CT_GET, IPCTNL_MSG_CT_DELETE = 1, 2
CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_ID, CTA_ZONE = 1, 2, 12, 18
CTA_TUPLE_IP, CTA_TUPLE_PROTO = 1, 2
CTA_IP = (1, 2), (3, 4)  # source and destination of IPv4, of IPv6
CTA_PROTO_NUM, CTA_PROTO_SRC_PORT, CTA_PROTO_DST_PORT = 1, 2, 3
NLA_F_NESTED = 0x8000
PROTOCOLS = {6: "tcp", 17: "udp"}
# What a kernel without ctnetlink answers: then flows end in their own time, as under Docker, which only logs it.
ABSENT = (errno.EOPNOTSUPP, errno.EINVAL, errno.EPROTONOSUPPORT)


@dataclass(frozen=True)
class Tuple:
    """One direction of a flow."""

    protocol: str
    source: str
    destination: str
    source_port: int
    destination_port: int


@dataclass(frozen=True)
class Flow:
    """A TCP or UDP flow; `identity` are the attributes by which the kernel finds it again."""

    family: int
    original: Tuple
    reply: Tuple
    identity: bytes

    @property
    def translated(self) -> bool:
        ends = (
            (self.original.source, self.original.source_port),
            (self.original.destination, self.original.destination_port),
        )
        return ends != (
            (self.reply.destination, self.reply.destination_port),
            (self.reply.source, self.reply.source_port),
        )


def forget(gone: set[Translation], come: set[Translation]) -> None:
    """Deletes the flows that lead where published ports led that are gone, and those that a new one should have.

    Of the latter only UDP flows to the host that nothing translated: those of a program on it, or to a closed port.
    """
    if gone or come:
        old = {(protocol, port, ip, inside) for protocol, _, port, ip, inside in gone}
        new = {(protocol, port, address) for protocol, address, port, _, _ in come if protocol == "udp"}
        local = cache(_is_local)

        def stale(flow: Flow) -> bool:
            to = flow.original.protocol, flow.original.destination_port
            led = (*to, flow.reply.source, flow.reply.source_port) in old
            where = flow.original.destination
            missed = not flow.translated and ((*to, "") in new or (*to, where) in new)
            return led or (missed and local(where))

        try:
            delete(stale)
        except OSError as error:
            if error.errno not in ABSENT:
                raise


def _is_local(address: str) -> bool:
    """Whether it is the host's: what goes elsewhere, to the same port, is none of a lab's business."""
    family = AF_INET6 if ":" in address else AF_INET
    with closing(socket(family, SOCK_DGRAM | SOCK_CLOEXEC)) as trial:
        try:
            trial.bind((address, 0))
        except OSError:
            return False
    return True


def delete(unwanted: Callable[[Flow], bool]) -> None:
    """Deletes the flows that are unwanted. Raises OSError."""
    with netfilter() as kernel:
        for flow in filter(unwanted, _tracked(kernel)):
            kernel.send(_message(IPCTNL_MSG_CT_DELETE, NLM_F_ACK, flow.family, flow.identity))
            kernel.recv(1 << 16)  # a flow that has just ended is as good as deleted


def tracked() -> list[Flow]:
    """All TCP and UDP flows. Raises OSError."""
    with netfilter() as kernel:
        return _tracked(kernel)


def _tracked(kernel: socket) -> list[Flow]:
    return [flow for family in (AF_INET, AF_INET6) for flow in _flows(kernel, family)]


def _message(kind: int, flags: int, family: int, identity: bytes = b"") -> bytes:
    payload = struct.pack("=BBH", family, 0, 0) + identity
    type_ = NFNL_SUBSYS_CTNETLINK << 8 | kind
    return HEADER.pack(HEADER.size + len(payload), type_, NLM_F_REQUEST | flags, 1, 0) + payload


def _flows(kernel: socket, family: int) -> Iterator[Flow]:
    kernel.send(_message(IPCTNL_MSG_CT_GET, NLM_F_DUMP, family))
    while True:
        answer = kernel.recv(1 << 20)
        at = 0
        while at < len(answer):
            length, type_ = struct.unpack_from("=IH", answer, at)
            if type_ == NLMSG_DONE:
                return
            if type_ == NLMSG_ERROR:
                raise OSError(
                    -struct.unpack_from("=i", answer, at + HEADER.size)[0], "connection tracking cannot be read"
                )
            if flow := _flow(answer[at : at + length], family):
                yield flow
            at += length + -length % 4


def _flow(message: bytes, family: int) -> Flow | None:
    found = attributes(message, HEADER.size + 4)
    original, reply = found.get(CTA_TUPLE_ORIG, b""), found.get(CTA_TUPLE_REPLY, b"")
    one, other = _tuple(original), _tuple(reply)
    if not one or not other:
        return None
    identity = attribute(CTA_TUPLE_ORIG | NLA_F_NESTED, original)
    identity += b"".join(attribute(type_, found[type_]) for type_ in (CTA_ID, CTA_ZONE) if type_ in found)
    return Flow(family, one, other, identity)


def _tuple(nested: bytes) -> Tuple | None:
    """None for a protocol without ports."""
    parts = attributes(nested)
    addresses, protocol = attributes(parts[CTA_TUPLE_IP]), attributes(parts[CTA_TUPLE_PROTO])
    name = PROTOCOLS.get(protocol[CTA_PROTO_NUM][0])
    if not name:
        return None
    v4, v6 = CTA_IP
    source, destination = (str(ip_address(addresses[end])) for end in (v4 if v4[0] in addresses else v6))
    ports = (struct.unpack("!H", protocol[type_])[0] for type_ in (CTA_PROTO_SRC_PORT, CTA_PROTO_DST_PORT))
    return Tuple(name, source, destination, *ports)
