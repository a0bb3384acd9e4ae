"""What labctl costs, in counts that are the same on every machine: a fast machine hides nothing, a slow one fails
nothing. Who makes it cheaper lowers a number here; who has to raise one says why."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from kernel.machine import ROOT, Machine

SMALL, LARGE = 40, 80  # nodes, of both of which a child makes the namespaces ahead
# For each node more. Up: lo up; a pair made, set and up; eth0 up; an address; a route. Files: three of its own, its
# mount, its namespace twice, a sysctl.
PER_NODE = {
    "up": {"messages": 7, "datagrams": 1, "dumps": 0, "setns": 1, "unshare": 0, "mount": 1, "files": 7, "processes": 0},
    "again": {"messages": 0, "dumps": 3, "setns": 2, "mount": 0, "files": 6, "processes": 0},
    "down": {"messages": 0, "dumps": 0, "setns": 0, "umount": 0, "processes": 0},
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
    "ps": (HEAVY | READING, 150),
    "up lab.yaml": (HEAVY, 225),
    "down": (HEAVY | READING, 150),
}
SYSTEM_CALLS = {"up": 90, "again": 75, "down": 30}  # for each node more; strace counts them


def test_what_each_node_costs(machine: Machine) -> None:
    small, large = json.loads(machine.script("counter.py", f"{SMALL} {LARGE}", 60))
    for work, costs in PER_NODE.items():
        more = {name: (large[work].get(name, 0) - small[work].get(name, 0)) / (LARGE - SMALL) for name in costs}
        assert {name: (cost, costs[name]) for name, cost in more.items() if cost > costs[name]} == {}, work
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
        assert modules & unwanted == set(), command
        assert len(modules) <= most, command


@pytest.mark.skipif(not shutil.which("strace"), reason="not installed: strace")
def test_system_calls(machine: Machine) -> None:
    counts: dict[str, list[int]] = {"up": [], "again": [], "down": []}
    for size in (SMALL, LARGE):
        nodes = "".join(f"  n{number}: {{networks: [lan]}}\n" for number in range(size))
        file = machine.topology("lab", f"name: lab\nbridges: {{lan: {{subnet: 10.7.0.0/16}}}}\nnamespaces:\n{nodes}")
        for work, words in (("up", f"up {file}"), ("again", f"up {file}"), ("down", "down")):
            machine.ok(f"timeout 25 strace -f -c -o /run/scratch/calls labctl {words}")
            counts[work].append(int(machine.ok("tail -n 1 /run/scratch/calls").split()[2]))
    more = {work: (large - small) / (LARGE - SMALL) for work, (small, large) in counts.items()}
    assert {work: cost for work, cost in more.items() if cost > SYSTEM_CALLS[work]} == {}
