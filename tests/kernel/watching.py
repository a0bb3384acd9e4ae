"""What the tests of services have in common: a lab of one namespace, and what `ps` tells of it."""

from __future__ import annotations

import json
from typing import Any

from kernel.machine import Machine, wait_until

NODE = "name: lab\nnamespaces: {{node: {{network_mode: none, run: {{{}}}}}}}\n"


def lab(machine: Machine, processes: str) -> str:
    """A file with one namespace that runs these."""
    return machine.topology("lab", NODE.format(processes))


def services(machine: Machine) -> dict[str, Any]:
    """What `ps` tells of each, by name."""
    [found] = json.loads(machine.ok("labctl ps --json"))
    return {f"{node['node']}/{s['name']}": s for node in found["nodes"] for s in node["services"]}


def service(machine: Machine, name: str = "main") -> dict[str, Any]:
    found: dict[str, Any] = services(machine)[f"node/{name}"]
    return found


def supervisors(machine: Machine) -> list[str]:
    return [line for line in machine.processes() if "supervise.py" in line]


def the_one(machine: Machine, command: str) -> int:
    """The process with this command line, of which there is one: its shell may not have made way for it yet."""
    wait_until(lambda: len(machine.pids(command)) == 1)
    [pid] = machine.pids(command)
    return pid
