"""A batched rtnetlink socket. pyroute2's message classes encode and decode; sending and matching answers is ours.

Many messages go out in one datagram; the kernel handles all of them before send returns and goes on after an error
(net/netlink/af_netlink.c, netlink_rcv_skb), so an answer is matched to its message by sequence number.
"""

from __future__ import annotations

import errno
import importlib
import importlib.util
import os
import socket
import struct
import sys
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
NLM_F_DUMP_INTR = 0x10
NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200
CREATE = 0x400 | 0x200  # NLM_F_CREATE | NLM_F_EXCL
REPLACE = 0x400 | 0x100  # NLM_F_CREATE | NLM_F_REPLACE
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLMSGERR_ATTR_MSG = 1
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_GETNEIGH = 30
SOL_NETLINK, NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK = 270, 10, 11, 12
BATCH = 32 * 1024  # bytes a datagram; a socket's default send buffer takes 208 kB

GONE = {  # what is to be removed may have gone by itself:
    errno.ENODEV,  # the interface
    errno.ENOENT,  # a name
    errno.ESRCH,  # the route
    errno.EADDRNOTAVAIL,  # the address
}

HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence number, port


def _messages() -> types.SimpleNamespace:
    """pyroute2's message classes, without running `pyroute2/__init__`, which imports asyncio and all the rest.

    40 ms instead of 200. Should the package ever be laid out differently, the plain import does the same.
    """
    names = {"ifinfmsg": "ifinfmsg", "ifaddrmsg": "ifaddrmsg", "rtmsg": "rtmsg", "ndmsg": "ndmsg"}
    found = "pyroute2" not in sys.modules and importlib.util.find_spec("pyroute2")
    if found and found.submodule_search_locations:
        stub = types.ModuleType("pyroute2")
        stub.__path__ = list(found.submodule_search_locations)
        sys.modules["pyroute2"] = stub
        try:
            return _load(names)
        except ImportError:
            pass
        finally:
            del sys.modules["pyroute2"]  # whoever wants the whole package can still import it
    return _load(names)


def _load(names: dict[str, str]) -> types.SimpleNamespace:
    modules = {name: importlib.import_module(f"pyroute2.netlink.rtnl.{name}") for name in names}
    return types.SimpleNamespace(**{name: getattr(modules[name], name) for name in names})


classes = _messages()


@dataclass(frozen=True)
class Refusal:
    """The kernel's answer to one message of a batch: its place in the batch, the errno and the kernel's own words."""

    position: int
    errno: int
    reason: str


def encode(kind: str, type_: int, flags: int, fields: dict[str, Any], attributes: Sequence[tuple[str, Any]]) -> bytes:
    """One message of a pyroute2 class, ready to be sent; its sequence number is set when it is."""
    message = getattr(classes, kind)()
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = list(attributes)
    message["header"]["type"] = type_
    message["header"]["flags"] = NLM_F_REQUEST | flags
    message.encode()
    return bytes(message.data)


class Socket:
    """An rtnetlink socket of the network namespace in which the calling thread is now, wherever it goes later."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
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
        datagram = bytearray()
        for number, message in enumerate(messages, first):
            length, type_, flags, _, port = HEADER.unpack_from(message)
            flags |= NLM_F_ACK if number == self._sequence else 0  # errors come back for every one of them anyway
            datagram += HEADER.pack(length, type_, flags, number, port) + message[HEADER.size :]
        self._socket.send(datagram)
        refusals = []
        for type_, flags, sequence, payload in self._receive(self._sequence):
            code = -struct.unpack_from("=i", payload)[0] if type_ == NLMSG_ERROR else 0
            if code:
                refusals.append(Refusal(offset + sequence - first, code, _reason(code, flags, payload)))
        return refusals

    def dump(self, kind: str, type_: int, **fields: Any) -> list[Any]:
        """All objects of one kind as decoded pyroute2 messages; asked again when they changed meanwhile."""
        request = encode(kind, type_, NLM_F_DUMP, fields, ())
        for _ in range(8):
            self._sequence += 1
            self._socket.send(HEADER.pack(*HEADER.unpack_from(request)[:3], self._sequence, 0) + request[HEADER.size :])
            answers = list(self._receive(self._sequence))
            if not any(flags & NLM_F_DUMP_INTR for _, flags, _, _ in answers):
                break
        for answer_type, _, _, payload in answers:
            if answer_type == NLMSG_ERROR and (code := -struct.unpack_from("=i", payload)[0]):
                raise OSError(code, os.strerror(code))
        return [_decode(kind, *answer) for answer in answers if answer[0] not in (NLMSG_ERROR, NLMSG_DONE)]

    def _receive(self, last: int) -> Iterator[tuple[int, int, int, bytes]]:
        """Answers as (type, flags, sequence, payload) up to the one that ends the exchange."""
        while True:
            data = self._socket.recv(1 << 20)
            position = 0
            while position + HEADER.size <= len(data):
                length, type_, flags, sequence, _ = HEADER.unpack_from(data, position)
                yield type_, flags, sequence, data[position + HEADER.size : position + length]
                if sequence == last and type_ in (NLMSG_ERROR, NLMSG_DONE):
                    return
                position += (length + 3) & ~3


def _decode(kind: str, type_: int, flags: int, sequence: int, payload: bytes) -> Any:
    message = getattr(classes, kind)(HEADER.pack(HEADER.size + len(payload), type_, flags, sequence, 0) + payload)
    message.decode()
    return message


def _reason(code: int, flags: int, payload: bytes) -> str:
    """The text the kernel attached, else what the errno means."""
    text = attribute(payload, 4 + HEADER.size, NLMSGERR_ATTR_MSG) if flags & NLM_F_ACK_TLVS else b""
    return text.rstrip(b"\0").decode(errors="replace") or os.strerror(code)


def attribute(message: bytes, position: int, wanted: int) -> bytes:
    """The payload of the attribute of a type, looked for from a position on; empty when it is not there."""
    while position + 4 <= len(message):
        length, type_ = struct.unpack_from("=HH", message, position)
        if type_ & 0x3FFF == wanted:  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER
            return message[position + 4 : position + length]
        position += max((length + 3) & ~3, 4)
    return b""
