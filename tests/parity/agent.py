"""What runs in every place of a network: a server that says whom it saw, and a prober. Nothing but Python's library.

    agent.py NAME TCP-PORTS UDP-PORTS        ports with commas between; once they are open it prints one line

The server answers TCP and UDP with `NAME FAMILY ADDRESS TTL`: the peer, and for UDP the TTL (hop limit) that arrived.
Standard input has one job a line, standard output its answer, both JSON:

    {"probe": [["tcp", "172.18.0.2", 7000], …], "patience": 0.4}     what answered, or an error's name, or "silence"
    {"largest": ["172.18.0.2", …]}                           the largest UDP packet with DF that is answered, in bytes
    {"names": ["web", …]}                                    IPv4 and IPv6 addresses that each has here
    {"commands": [["ip", …], …]} · {"read": ["/etc/hosts", …]}          what they print · what the files hold
    {"settings": ["/proc/sys/net/ipv4", …]}               each file below, and what it says
"""

from __future__ import annotations

import asyncio
import errno
import json
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

PLAIN = 7000  # a port of every server that nothing publishes
DOMAIN = 53  # of UDP: there a question for a name is answered that there is no such name
# Numbers of <linux/in.h> and <linux/in6.h> that Python has no names for.
TTL = {socket.AF_INET: (socket.IPPROTO_IP, 12), socket.AF_INET6: (socket.IPPROTO_IPV6, 51)}  # IP_RECVTTL, …HOPLIMIT
HOPLIMIT = 52  # IPV6_HOPLIMIT
ASKED = {socket.AF_INET: (socket.IPPROTO_IP, 8), socket.AF_INET6: (socket.IPPROTO_IPV6, 49)}  # IP_PKTINFO, …RECVPKTINFO
ASKED_NOTES = {(socket.IPPROTO_IP, 8), (socket.IPPROTO_IPV6, 50)}  # IP_PKTINFO, IPV6_PKTINFO
ECHO = {
    socket.AF_INET: (socket.IPPROTO_ICMP, 8, 0, 20),  # request, reply, length of the header that comes with it
    socket.AF_INET6: (socket.IPPROTO_ICMPV6, 128, 129, 0),
}
MTU_DISCOVER = {socket.AF_INET: (socket.IPPROTO_IP, 10), socket.AF_INET6: (socket.IPPROTO_IPV6, 23)}
ALWAYS = 2  # IP_PMTUDISC_DO: never in fragments
HEADERS = {socket.AF_INET: 28, socket.AF_INET6: 48}
numbers = count(1)


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def new(family: socket.AddressFamily, kind: socket.SocketKind, protocol: int = 0) -> socket.socket:
    made = socket.socket(family, kind, protocol)
    made.setblocking(False)
    if kind != socket.SOCK_STREAM:
        made.setsockopt(*TTL[family], 1)
        made.setsockopt(*ASKED[family], 1)
    if family == socket.AF_INET6 and kind != socket.SOCK_RAW:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return made


async def readable(waiting: socket.socket) -> None:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(waiting, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(waiting)


@dataclass(frozen=True)
class Datagram:
    data: bytes
    peer: Any
    ttl: int
    asked: tuple[int, int, bytes]  # a note for the answer, so that it comes from the address that was asked


def received(source: socket.socket) -> Datagram:
    data, notes, _, peer = source.recvmsg(65536, 256)
    ttl, asked = 0, (0, 0, b"")
    for level, kind, note in notes:
        if kind in (socket.IP_TTL, HOPLIMIT):
            ttl = struct.unpack("i", note)[0]
        elif (level, kind) in ASKED_NOTES:
            here = note[:16] + bytes(4) if level == socket.IPPROTO_IPV6 else bytes(4) + note[4:8] + bytes(4)
            asked = (level, kind, here)  # by whichever interface the way back leads
    return Datagram(data, peer, ttl, asked)


# The server.


def said(name: str, peer: Any, ttl: int | str) -> bytes:
    return f"{name} {peer[0].partition('%')[0]} {ttl}".encode()


def no_such_name(query: bytes) -> bytes:
    """The answer to a question for a name; its answers are none, and its own question comes back."""
    return query[:2] + b"\x81\x83" + query[4:6] + bytes(6) + query[12:] if len(query) > 12 else b"?"


async def serve_tcp(name: str, server: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while True:
        connection, peer = await loop.sock_accept(server)
        try:
            await loop.sock_sendall(connection, said(name, peer, "-"))
        except OSError:
            pass  # who asked has gone
        finally:
            connection.close()


async def serve_udp(name: str, server: socket.socket) -> None:
    while True:
        await readable(server)
        try:
            got = received(server)
            domain = name == "client" and server.getsockname()[1] == DOMAIN
            answer = no_such_name(got.data) if domain else said(name, got.peer, got.ttl)
            server.sendmsg([answer], [got.asked], 0, got.peer)
        except OSError:
            continue  # who asked has gone


def serve(name: str, tcp: str, udp: str) -> list[asyncio.Task[None]]:
    tasks = []
    for family in (socket.AF_INET, socket.AF_INET6):
        for kind, ports in ((socket.SOCK_STREAM, tcp), (socket.SOCK_DGRAM, udp)):
            for port in ports.split(",") if ports else ():
                server = new(family, kind)
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                server.bind(("", int(port)))
                if kind == socket.SOCK_STREAM:
                    server.listen(100)
                work = serve_tcp if kind == socket.SOCK_STREAM else serve_udp
                tasks.append(asyncio.get_running_loop().create_task(work(name, server)))
    return tasks


# The prober.


async def tcp(address: str, port: int) -> str:
    loop = asyncio.get_running_loop()
    with new(family_of(address), socket.SOCK_STREAM) as client:
        await loop.sock_connect(client, (address, port))
        return (await loop.sock_recv(client, 1000)).decode() or "closed"


async def udp(address: str, port: int) -> str:
    with new(family_of(address), socket.SOCK_DGRAM) as client:
        client.connect((address, port))
        client.send(b"?")
        await readable(client)
        got = received(client)
        return f"{got.data.decode()} {got.ttl}"


async def icmp(address: str, _: int) -> str:
    family = family_of(address)
    protocol, request, reply, header = ECHO[family]
    number = next(numbers) % 65536
    with new(family, socket.SOCK_RAW, protocol) as client:
        client.connect((address, 0))
        client.send(echo(request, number))
        answer = struct.pack("!HH", number, 1)
        while True:
            await readable(client)
            got = received(client)
            if got.data[header] == reply and got.data[header + 4 : header + 8] == answer:
                return f"reply {got.ttl}"


def echo(request: int, number: int) -> bytes:
    """An echo request; of IPv6 the kernel writes the checksum."""
    words = [request << 8, 0, number, 1]
    total = sum(words)
    words[1] = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return struct.pack("!4H", *words)


async def probe(protocol: str, address: str, port: int, patience: float) -> str:
    way = {"tcp": tcp, "udp": udp, "icmp": icmp}[protocol]
    try:
        return await asyncio.wait_for(way(address, port), patience)
    except TimeoutError:
        return "silence"
    except OSError as error:
        return errno.errorcode[error.errno or 0]


async def answered(address: str, size: int) -> bool:
    """Whether a UDP packet of so many bytes arrives in one piece, and is answered."""
    family = family_of(address)
    with new(family, socket.SOCK_DGRAM) as client:
        client.setsockopt(*MTU_DISCOVER[family], ALWAYS)
        try:
            client.connect((address, PLAIN))
            client.send(bytes(size - HEADERS[family]))
            await asyncio.wait_for(readable(client), 1)
            return bool(received(client).data)
        except OSError:  # a TimeoutError is one
            return False


async def largest(address: str) -> int:
    low, high = 100, 65535  # one that is answered, and one that is too large
    if not await answered(address, low):
        return 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if await answered(address, middle) else (low, middle)
    return low


def settings(folder: Path) -> Iterator[tuple[str, str]]:
    for file in folder.rglob("*"):
        try:
            if file.is_file():
                yield str(file), " ".join(file.read_text().split())
        except OSError:
            continue  # one that cannot be read


def resolved(name: str) -> list[list[str]]:
    found = []
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            found.append(sorted({str(entry[4][0]) for entry in socket.getaddrinfo(name, None, family)}))
        except socket.gaierror:
            found.append([])
    return found


async def work(job: dict[str, Any]) -> object:
    match job:
        case {"probe": probes, "patience": patience}:
            return await asyncio.gather(*(probe(kind, to, port, patience) for kind, to, port in probes))
        case {"largest": addresses}:
            return [await largest(address) for address in addresses]
        case {"names": names}:
            return await asyncio.gather(*(asyncio.to_thread(resolved, name) for name in names))
        case {"commands": commands}:
            return [await asyncio.to_thread(subprocess.check_output, each, text=True) for each in commands]
        case {"settings": folders}:
            return dict(pair for folder in folders for pair in settings(Path(folder)))
        case {"read": files}:
            return [Path(file).read_text() for file in files]
    raise ValueError(job)


async def main(name: str, tcp_ports: str, udp_ports: str) -> None:
    tasks = serve(name, tcp_ports, udp_ports)
    print(json.dumps(f"{len(tasks)} servers"), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(await work(json.loads(line))), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
