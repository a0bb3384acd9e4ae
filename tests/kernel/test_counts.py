"""What labctl costs, in counts that are the same on every machine: a fast machine hides nothing, a slow one fails
nothing. Who makes it cheaper lowers a number here; who has to raise one says why."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from kernel.machine import ROOT, Machine

SMALL, LARGE = 40, 80  # nodes, of both of which a child makes the namespaces ahead
MANY = 240  # nodes for system calls, of which Python makes some hundred more or fewer each time
# For each node more. Up: lo up; a pair made, set and up; eth0 up; an address; a route. Files: three of its own, a
# folder's, its mount, a sysctl.
PER_NODE = {
    "up": {"messages": 7, "datagrams": 1, "dumps": 0, "setns": 1, "unshare": 0, "mount": 1, "files": 6, "processes": 0},
    "again": {"messages": 0, "dumps": 3, "setns": 2, "mount": 0, "files": 6, "processes": 0},
    "down": {"messages": 0, "dumps": 0, "setns": 0, "umount": 0, "files": 1, "processes": 0},
}
WHOLE = {  # of a lab of any size: the child that makes namespaces, and nft, which loads rules and lists them
    "up": {"processes": 3},
    "again": {"processes": 1},
    "down": {"processes": 1, "messages": 1},
}
HEAVY = {"dataclasses", "inspect", "asyncio", "pyroute2", "typer", "rich", "click", "unittest", "importlib.metadata"}
READING = {"yaml", "jsonschema_rs", "labctl.document", "labctl.topology"}
TEXT = {"re", "typing", "json", "enum", "socket", "subprocess", "pathlib", "threading", "labctl.record", "labctl.state"}
IMPORTS = {  # of the plain commands: what none of them loads, and how many modules it does load
    "exec n1 true": (HEAVY | READING | TEXT, 60),
    "ps": (HEAVY | READING, 155),
    "up lab.yaml": (HEAVY | {"jsonschema_rs"}, 210),
    "down": (HEAVY | READING, 140),
}
SYSTEM_CALLS = {"up": (30, 42), "again": (65, 87), "down": (25, 40)}  # for each node more, at least and at most


def test_what_each_node_costs(machine: Machine) -> None:
    small, large = json.loads(machine.script("counter.py", f"{SMALL} {LARGE}", 60))
    for work, costs in PER_NODE.items():
        more = {name: (large[work].get(name, 0) - small[work].get(name, 0)) / (LARGE - SMALL) for name in costs}
        assert {name: round(cost) for name, cost in more.items()} == costs, work
    for work, costs in WHOLE.items():
        assert {name: large[work].get(name, 0) for name in costs} == costs, work


def test_what_is_imported(machine: Machine) -> None:
    nodes = "namespaces: {n1: {networks: [lan]}, n2: {networks: [lan]}}"
    machine.topology("lab", f"name: lab\nbridges: {{lan: {{subnet: 10.7.0.0/24}}}}\n{nodes}")
    python = f"{ROOT}/.venv/bin/python" if shutil.which(f"{ROOT}/.venv/bin/python") else "python3"
    for command in ("up lab.yaml", "exec n1 true", "ps", "down"):
        done = machine.run(f"cd /run/scratch && {python} -X importtime -m labctl {command}")
        assert done.status == 0, done.stderr
        modules = set(re.findall(r"^import time: .*\| +(\S+)$", done.stderr, re.MULTILINE))
        unwanted, most = IMPORTS[command]
        assert "labctl.cli" in modules, command
        assert modules & unwanted == set(), command
        assert len(modules) <= most, command


@pytest.mark.skipif(not shutil.which("strace"), reason="not installed: strace")
def test_system_calls(machine: Machine) -> None:
    counts: dict[str, list[int]] = {"up": [], "again": [], "down": []}
    for size in (SMALL, MANY):
        nodes = "".join(f"  n{number}: {{networks: [lan]}}\n" for number in range(size))
        file = machine.topology("lab", f"name: lab\nbridges: {{lan: {{subnet: 10.7.0.0/16}}}}\nnamespaces:\n{nodes}")
        for work, words in (("up", f"up {file}"), ("again", f"up {file}"), ("down", "down")):
            machine.ok(f"timeout 29 strace -f -c -o /run/scratch/calls labctl {words}")
            counts[work].append(calls(machine.ok("cat /run/scratch/calls")))
    more = {work: (large - small) / (MANY - SMALL) for work, (small, large) in counts.items()}
    assert {work: cost for work, cost in more.items() if not between(cost, *SYSTEM_CALLS[work])} == {}


def calls(summary: str) -> int:
    """All of strace's summary, but for writes that the kernel began anew: to sysctls for which RTNL was not free, which
    whoever else is at work on this machine may have (net/core/rtnetlink.c, restart_syscall)."""
    rows = [line.split() for line in summary.splitlines()]  # share of time, seconds, each, calls, [errors,] name
    again = sum(int(row[4]) for row in rows if row[-1] == "write" and len(row) == 6)
    return int(rows[-1][3]) - again


def between(number: float, least: float, most: float) -> bool:
    """What costs much less than it did was not counted, or has a lower bound to get."""
    return least <= number <= most
