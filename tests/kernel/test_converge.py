"""`up` of a changed file on a running lab: what is there then is what the file says, and nothing is left to do."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from kernel.machine import FLEETING, GOOD, SHIPPED, Machine, each_way

FILES = [file for file in [*SHIPPED, *GOOD] if file.stem not in ("explicit-document", "windows")]
PAIRS = list(zip(FILES, [*FILES[1:], FILES[0]], strict=True))


def as_lab(machine: Machine, file: Path) -> str:
    """The file's topology under a name that all of them share."""
    text = re.sub(r"^name:.*\n", "", file.read_text(), flags=re.MULTILINE)
    return machine.topology("lab", f"name: lab\n{text}")


@each_way
@pytest.mark.parametrize(("before", "after"), PAIRS, ids=lambda file: file.stem)
def test_a_changed_file(machine: Machine, before: Path, after: Path, option: str) -> None:
    machine.up(as_lab(machine, before), option)
    file = as_lab(machine, after)
    machine.up(file)
    again = json.loads(machine.ok(f"labctl plan {file} --json"))
    assert [op for op in again if "/".join(op["key"]) not in FLEETING] == []
    seen = machine.observe(f"up {file}")
    assert seen["observed"] == seen["desired"]


def test_untouched_nodes_keep_what_they_have(machine: Machine) -> None:
    """Namespace, process, interface and addresses, while a third node comes, changes and goes."""
    lab = "name: lab\nbridges: {lan: {subnet: 10.0.0.0/24}}\nnamespaces:\n  a: {networks: [lan], run: sleep 1000}\n"
    both = lab + "  b: {networks: [lan]}\n"
    machine.up(machine.topology("lab", both))
    facts = "readlink /proc/self/ns/net; ip -o address; ip route; pgrep -x sleep"
    before = machine.inside("a", f"sh -c '{facts}'")
    for third in ("  c: {networks: [lan]}\n", "  c: {networks: {lan: {ip: 10.0.0.77}}}\n", ""):
        machine.up(machine.topology("lab", both + third))
        assert machine.inside("a", f"sh -c '{facts}'") == before
        machine.inside("b", "ping -qc1 -W2 10.0.0.2")
