"""A server that tells its clients who they are, and a client that asks many at once. Needs nothing but Python.

    echo.py serve PORT…                          TCP and UDP, IPv4 and IPv6
    echo.py ask tcp:127.0.0.1:8080 udp:[::1]:53  prints a line for each: what the server answered, or why it did not

The server's answer is `name address`, where the name is $NODE and the address the client's.
"""

from __future__ import annotations

import os
import selectors
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

PATIENCE = 1.0  # seconds for an answer
SILENCE, REFUSED, UNREACHABLE = "silence", "refused", "unreachable"


def serve(ports: list[int]) -> None:
    listening = selectors.DefaultSelector()
    for port in ports:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            server = socket.socket(socket.AF_INET6, kind)
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(("::", port))
            if kind == socket.SOCK_STREAM:
                server.listen(100)
            listening.register(server, selectors.EVENT_READ)
    while True:
        for key, _ in listening.select():
            answer(key.fileobj)


def answer(server: Any) -> None:
    if server.type == socket.SOCK_STREAM:
        connection, peer = server.accept()
        with connection:
            connection.sendall(seen(peer[0]))
        return
    _, peer = server.recvfrom(100)
    server.sendto(seen(peer[0]), peer)


def seen(peer: str) -> bytes:
    return f"{os.environ.get('NODE', '')} {peer.removeprefix('::ffff:').partition('%')[0]}".strip().encode()


def ask(target: str) -> str:
    protocol, _, rest = target.partition(":")
    address, _, port = rest.rpartition(":")
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    try:
        family, _, _, _, end = socket.getaddrinfo(address.strip("[]"), int(port), type=kind)[0]
        with socket.socket(family, kind) as client:
            client.settimeout(PATIENCE)
            client.connect(end)
            if kind == socket.SOCK_DGRAM:
                client.send(b"?")
            return client.recv(100).decode() or REFUSED
    except TimeoutError:
        return SILENCE
    except ConnectionError:
        return REFUSED
    except OSError:
        return UNREACHABLE


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve([int(port) for port in sys.argv[2:]])
    with ThreadPoolExecutor(max(1, len(sys.argv) - 2)) as threads:
        print("\n".join(threads.map(ask, sys.argv[2:])))
