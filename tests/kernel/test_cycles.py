"""Up and down again and again: nothing grows. LABCTL_CYCLES says how often each way has its turn."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import pytest

from kernel.machine import Machine, each_way, wait_until

LAB = """
name: lab
bridges: {lan: {subnet: [10.7.0.0/24, 'fd07::/64']}}
namespaces: {a: {networks: [lan], run: exec sleep 1000}, b: {networks: [lan]}}
links: [{endpoints: ["a:c0", "b:c0"]}]
"""
ASKED = os.environ.get("LABCTL_CYCLES")
CYCLES = int(ASKED or 40)


def namespaces() -> int:
    """The network namespaces that the kernel still has, for whatever reason."""
    with open("/proc/slabinfo") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("net_namespace "))


@each_way
@pytest.mark.timeout(600)
def test_many_times_in_one_process(
    machine: Machine, record_property: Callable[[str, object], None], option: str
) -> None:
    if option == "rootless":
        machine.become_user()
    times = CYCLES if ASKED or option else 200
    words = f"{times} {'isolated' if option else ''} {machine.topology('lab', LAB)}"
    early, late = json.loads(machine.script("cycles.py", words, 500))
    record_property("cycles in one process", times)
    assert late["files"] == early["files"]
    assert late["threads"] == early["threads"] == 1
    assert late["mounts"] == early["mounts"]
    assert late["run"] == early["run"]
    assert late["objects"] <= early["objects"] + 100
    assert late["memory"] <= early["memory"] + 2048  # kB: two steps of the allocator's, the last after 150 times


@pytest.mark.timeout(600)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may read /proc/slabinfo")
@pytest.mark.parametrize("option", ["", "--isolated"])
def test_many_times_as_commands(machine: Machine, record_property: Callable[[str, object], None], option: str) -> None:
    file = machine.topology("lab", LAB)
    command = f"labctl up {file} {option} 2>/dev/null && labctl down 2>/dev/null"
    machine.ok(command)
    before = namespaces()
    machine.ok(f"for n in $(seq {CYCLES}); do {command} || exit 1; done", patience=300)
    record_property("cycles of commands", CYCLES)
    machine.prove_clean()
    wait_until(lambda: namespaces() <= before + 40, 30)  # what other tests have meanwhile is counted too
