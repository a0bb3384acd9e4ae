"""Up, as it should be, nothing left to do, down, nothing left: for every topology there is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kernel.conftest import TOOLS
from kernel.machine import FLEETING, GOOD, SHIPPED, Machine, each_way, needs


@each_way
@pytest.mark.parametrize("file", [*SHIPPED, *GOOD], ids=lambda file: file.stem)
def test_round_trip(machine: Machine, file: Path, option: str) -> None:
    assert ": up " in machine.up(file, option)
    seen = machine.observe(f"up {machine.seen(file)}")
    assert seen["observed"] == seen["desired"]
    assert seen["observed"]
    again = json.loads(machine.ok(f"labctl plan {machine.seen(file)} --json"))
    assert [op for op in again if "/".join(op["key"]) not in FLEETING] == []
    assert machine.run("labctl down").status == 0
    machine.prove_clean()


@needs(*TOOLS["three-tier"])
def test_shipped_topologies_side_by_side(machine: Machine) -> None:
    for file in SHIPPED:
        machine.up(file)
    for file in SHIPPED:
        assert machine.run(f"labctl plan {file} --exit-code").status == 0
