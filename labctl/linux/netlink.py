"""Netlink: the format of its messages, and a socket that sends many requests at once and matches the answers to them.

Many messages go out in one datagram; the kernel handles all of them before send returns and goes on after an error
(net/netlink/af_netlink.c, netlink_rcv_skb), so an answer is matched to its message by sequence number. What links,
addresses and routes look like is rtnetlink.py's.
"""

from __future__ import annotations

import errno
import os
import struct
from _socket import AF_NETLINK, SOCK_CLOEXEC, SOCK_RAW, socket  # the module socket takes 2 ms to import
from collections.abc import Iterator, Sequence
from contextlib import closing

from labctl.fields import dataclass

NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR = 0x1, 0x4, 0x300, 0x10
CREATE = 0x400 | 0x200  # NLM_F_CREATE | NLM_F_EXCL
REPLACE = 0x400 | 0x100  # NLM_F_CREATE | NLM_F_REPLACE
NLA_TYPE_MASK = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER
NLM_F_ACK_TLVS = 0x200
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLMSGERR_ATTR_MSG = 1
SOL_NETLINK, NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK = 270, 10, 11, 12
NETLINK_ROUTE, NETLINK_NETFILTER = 0, 12
BATCH = 32 * 1024  # bytes a datagram; a socket's default send buffer takes 208 kB

GONE = {  # what is to be removed may have gone by itself:
    errno.ENODEV,  # the interface
    errno.ENOENT,  # a name
    errno.ESRCH,  # the route
    errno.EADDRNOTAVAIL,  # the address
}

HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence number, port
FLAGS, FLAGS_AT, SEQUENCE, SEQUENCE_AT = struct.Struct("=H"), 6, struct.Struct("=I"), 8
ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length with this header, type
U32 = struct.Struct("=HHI")


def attribute(type_: int, payload: bytes) -> bytes:
    length = 4 + len(payload)
    return ATTRIBUTE.pack(length, type_) + payload + bytes(-length % 4)


def nested(type_: int, *attributes: bytes) -> bytes:
    return attribute(type_, b"".join(attributes))


def text(type_: int, value: str) -> bytes:
    return attribute(type_, value.encode() + b"\0")


def number(type_: int, value: int) -> bytes:
    """32 bits without a sign."""
    return U32.pack(8, type_, value)


def message(type_: int, flags: int, fixed: bytes, *attributes: bytes) -> bytes:
    """A request; its sequence number is set when it is sent."""
    body = fixed + b"".join(attributes)
    return HEADER.pack(HEADER.size + len(body), type_, NLM_F_REQUEST | flags, 0, 0) + body


def attributes(data: bytes, position: int = 0) -> dict[int, bytes]:
    """Attributes by their types, from a position on; nested ones still packed."""
    found: dict[int, bytes] = {}
    end, unpack = len(data) - 3, ATTRIBUTE.unpack_from
    while position < end:
        length, type_ = unpack(data, position)
        found[type_ & NLA_TYPE_MASK] = data[position + 4 : position + length]
        position += (length + 3) & ~3 or 4
    return found


@dataclass(frozen=True)
class Refusal:
    """The kernel's answer to one message of a batch: its place in the batch, the errno and the kernel's own words."""

    position: int
    errno: int
    reason: str


class Socket:
    """An rtnetlink socket of the network namespace in which the calling thread is now, wherever it goes later."""

    def __init__(self) -> None:
        self._socket = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)
        self._socket.bind((0, 0))
        for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK):
            self._socket.setsockopt(SOL_NETLINK, option, 1)
        self._sequence = 0

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def send(self, messages: Sequence[bytes]) -> list[Refusal]:
        """Carries out the messages in order; answers those that were refused (the others were done)."""
        refusals: list[Refusal] = []
        start = 0
        while start < len(messages):
            end, size = start, 0
            while end < len(messages) and (end == start or size + len(messages[end]) <= BATCH):
                size += len(messages[end])
                end += 1
            refusals += self._send(messages[start:end], start)
            start = end
        return refusals

    def _send(self, messages: Sequence[bytes], offset: int) -> list[Refusal]:
        first = self._sequence + 1
        self._sequence += len(messages)
        datagram = bytearray(b"".join(messages))
        start = last = 0
        for number, message in enumerate(messages, first):
            SEQUENCE.pack_into(datagram, start + SEQUENCE_AT, number)
            last, start = start, start + len(message)
        (flags,) = FLAGS.unpack_from(datagram, last + FLAGS_AT)
        FLAGS.pack_into(datagram, last + FLAGS_AT, flags | NLM_F_ACK)  # errors come back for every one of them anyway
        self._socket.send(datagram)
        refusals = []
        for type_, flags, sequence, message in self._receive(self._sequence):
            if type_ == NLMSG_ERROR and (code := _code(message)):
                refusals.append(Refusal(offset + sequence - first, code, _reason(code, flags, message)))
        return refusals

    def dump(self, request: bytes) -> list[bytes]:
        """All objects that a request asks for, a message each; asked again when they changed meanwhile."""
        for _ in range(8):
            self._sequence += 1
            self._socket.send(HEADER.pack(*HEADER.unpack_from(request)[:3], self._sequence, 0) + request[HEADER.size :])
            answers = list(self._receive(self._sequence))
            if not any(flags & NLM_F_DUMP_INTR for _, flags, _, _ in answers):
                break
        for type_, _, _, message in answers:
            if type_ == NLMSG_ERROR and (code := _code(message)):
                raise OSError(code, os.strerror(code))
        return [message for type_, _, _, message in answers if type_ not in (NLMSG_ERROR, NLMSG_DONE)]

    def _receive(self, last: int) -> Iterator[tuple[int, int, int, bytes]]:
        """Answers as (type, flags, sequence, whole message) up to the one that ends the exchange."""
        while True:
            data = self._socket.recv(1 << 16)  # the kernel fills at most half of it (af_netlink.c, netlink_dump)
            position = 0
            while position + HEADER.size <= len(data):
                length, type_, flags, sequence, _ = HEADER.unpack_from(data, position)
                yield type_, flags, sequence, data[position : position + length]
                if sequence == last and type_ in (NLMSG_ERROR, NLMSG_DONE):
                    return
                position += (length + 3) & ~3


def netfilter() -> closing[socket]:
    """A socket for nftables and connection tracking of the network namespace in which the calling thread is now."""
    return closing(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER))


def _code(message: bytes) -> int:
    """The errno of an answer; 0 where it says that all went well."""
    return -int(struct.unpack_from("=i", message, HEADER.size)[0])


def _reason(code: int, flags: int, message: bytes) -> str:
    """The text the kernel attached behind the errno and the request's header, else what the errno means."""
    text = attributes(message, 2 * HEADER.size + 4).get(NLMSGERR_ATTR_MSG, b"") if flags & NLM_F_ACK_TLVS else b""
    return text.rstrip(b"\0").decode(errors="replace") or os.strerror(code)
