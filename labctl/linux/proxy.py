"""The process that holds a lab's published ports: `python3 -IS proxy.py tcp/[::]:8080=172.17.0.2:80 …`.

It listens on each port, so that nobody else takes it, and passes on what the kernel's NAT does not: connections to ::1
(IPv6 has no route_localnet), over IPv6 to a node that has only IPv4, and from link-local addresses. To the node these
come from its bridge's address, as from docker-proxy (cmd/docker-proxy). Needs nothing but the standard library.

Standard error tells why it ends, and is closed once all ports are held.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from typing import Any

BACKLOG = 511
BUFFER = 1 << 16  # bytes
IDLE = 90.0  # seconds until a UDP client without traffic is forgotten (docker-proxy's UDPConnTrackTimeout)
CLIENTS = 1024  # of one UDP port at a time
IP_FREEBIND = 15  # include/uapi/linux/in.h; Python has no name for it

End = tuple[str, int]


class Port:
    """A port of the host, and where in a node it leads. A named tuple would take a millisecond of each start."""

    def __init__(self, protocol: str, outside: End, inside: End) -> None:
        self.protocol = protocol
        self.outside = outside
        self.inside = inside


def parse(spec: str) -> Port:
    """For example tcp/0.0.0.0:8080=172.17.0.2:80."""
    protocol, _, ends = spec.partition("/")
    outside, _, inside = ends.partition("=")
    return Port(protocol, _end(outside), _end(inside))


def _end(text: str) -> End:
    address, _, port = text.rpartition(":")
    return address.strip("[]"), int(port)


def held(port: Port, *, foreign: bool = True) -> socket.socket:
    """The host's port, held from now on; if `foreign` also of an address that the host does not have yet.

    Raises OSError.
    """
    family = socket.AF_INET6 if ":" in port.outside[0] else socket.AF_INET
    kind = socket.SOCK_STREAM if port.protocol == "tcp" else socket.SOCK_DGRAM
    found = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    try:
        if family == socket.AF_INET6:
            found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if foreign:
            found.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)  # of IPv6 too (net/ipv6/af_inet6.c)
        if kind == socket.SOCK_STREAM:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of before may be in TIME_WAIT
        found.bind(port.outside)
        if kind == socket.SOCK_STREAM:
            found.listen(BACKLOG)
    except OSError:
        found.close()
        raise
    return found


def main(specs: Sequence[str]) -> int:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))  # labctl had them blocked
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sockets = []
    for port in map(parse, specs):
        try:
            sockets.append((port, held(port)))
        except OSError as error:
            name = f"{port.protocol} port {port.outside[1]} of {port.outside[0]}"
            sys.stderr.write(f"{name}: {(error.strerror or str(error)).lower()}\n")
            return 1
    _tell()
    import asyncio  # 60 ms, in which whoever waits for the ports need not wait

    asyncio.run(_serve(sockets))
    return 0


def _tell() -> None:
    """All ports are held; from here on there is nobody to tell anything."""
    nowhere = os.open("/dev/null", os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)


async def _serve(sockets: Sequence[tuple[Port, socket.socket]]) -> None:
    import asyncio

    loop = asyncio.get_running_loop()
    for port, each in sockets:
        if port.protocol == "tcp":
            await asyncio.start_server(partial(_relay, port.inside), sock=each, backlog=BACKLOG)
        else:
            _Datagrams(loop, each, port.inside)
    await asyncio.Event().wait()


async def _relay(to: End, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection, until both sides have said all they had to say, or one is gone."""
    import asyncio

    try:
        node_reader, node_writer = await asyncio.open_connection(*to)
    except OSError:
        writer.transport.abort()  # as if nobody listened
        return
    try:
        await asyncio.gather(_pump(reader, node_writer), _pump(node_reader, writer))
    except OSError:
        writer.transport.abort()
        node_writer.transport.abort()
    finally:
        writer.close()
        node_writer.close()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(BUFFER):
        sink.write(data)
        await sink.drain()
    if sink.can_write_eof():
        sink.write_eof()


class _Datagrams:
    """A UDP port: each client has a socket of its own towards the node, by which the answers come back."""

    def __init__(self, loop: asyncio.AbstractEventLoop, outside: socket.socket, to: End) -> None:
        self._loop = loop
        self._outside = outside
        self._to = to
        self._nodes: dict[Any, socket.socket] = {}
        self._last: dict[Any, float] = {}  # when a client was last heard, or answered
        loop.add_reader(outside, self._ask)

    def _ask(self) -> None:
        with suppress(OSError):  # nothing more to read; or the node has nobody there, which a client notices itself
            data, client = self._outside.recvfrom(BUFFER)
            if client in self._nodes or len(self._nodes) < CLIENTS:
                node = self._node(client)
                self._last[client] = self._loop.time()
                node.send(data)

    def _node(self, client: Any) -> socket.socket:
        if client not in self._nodes:
            family = socket.AF_INET6 if ":" in self._to[0] else socket.AF_INET
            node = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            node.connect(self._to)
            self._nodes[client] = node
            self._loop.add_reader(node, self._answer, client)
            self._loop.call_later(IDLE, self._forget, client)
        return self._nodes[client]

    def _answer(self, client: Any) -> None:
        with suppress(OSError):
            self._outside.sendto(self._nodes[client].recv(BUFFER), client)
            self._last[client] = self._loop.time()

    def _forget(self, client: Any) -> None:
        rest = self._last[client] + IDLE - self._loop.time()
        if rest > 0:
            self._loop.call_later(rest, self._forget, client)
            return
        self._loop.remove_reader(self._nodes[client])
        self._nodes.pop(client).close()
        del self._last[client]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
