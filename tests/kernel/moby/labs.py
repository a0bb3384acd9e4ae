"""What the tests of this folder share. Each is about what a test of Docker's own asserts, and names it."""

from __future__ import annotations

import json
import re

from kernel.lan import ready, server
from kernel.machine import Done, Machine

FAMILIES = {4: "10.{}.0.{}", 6: "fd00:{}::{}"}
VERSIONS = (4, 6)


def address(version: int, net: int, host: int) -> str:
    """In the subnets of these tests: 10.1.0.0/24 and fd00:1::/64, 10.2.0.0/24 …"""
    return FAMILIES[version].format(net, host)


def end(address: str, port: int = 80, protocol: str = "tcp") -> str:
    """As `asked` of kernel/lan.py wants it."""
    return f"{protocol}:[{address}]:{port}" if ":" in address else f"{protocol}:{address}:{port}"


def up(machine: Machine, text: str) -> str:
    """Brings a lab up; a node `name: {SERVER, …` has a server on port 80 that answers with its name."""
    run = f"run: {server(machine, 80)}"
    servers = re.findall(r"(\w+): \{SERVER", text)
    whole = re.sub(r"(\w+): \{SERVER", rf"\1: {{environment: {{NODE: \1}}, {run}", text)
    file = machine.topology("lab", f"name: lab\n{whole}")
    machine.up(file)
    for node in servers:
        ready(machine, node, 80)
    return file


def ping(machine: Machine, node: str, address: str) -> Done:
    """One packet, and a second's patience."""
    where = {"": "", "client": "ip netns exec client"}.get(node, f"labctl exec {node} --")
    return machine.run(f"{where} ping -c 1 -W 1 {address}")


def pings(machine: Machine, node: str, address: str) -> bool:
    return ping(machine, node, address).status == 0


def read(machine: Machine, node: str, file: str) -> str:
    return machine.inside(node, f"cat {file}")


def addresses(machine: Machine, node: str, device: str = "eth0") -> dict[str, str]:
    """The addresses of an interface, and the scope of each."""
    [link] = json.loads(machine.inside(node, f"ip -json address show dev {device}"))
    return {str(each["local"]): str(each["scope"]) for each in link["addr_info"]}


def default_route(machine: Machine, node: str, version: int = 4) -> str:
    """The gateway of a node's only default route; empty without one."""
    routes = json.loads(machine.inside(node, f"ip -json -{version} route show default") or "[]")
    assert len(routes) <= 1
    return str(routes[0]["gateway"]) if routes else ""
