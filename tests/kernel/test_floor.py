"""The benchmark's floor (benchmarks/floor.c) makes the interfaces, addresses and routes that labctl makes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import floor
from benchmarks.networks import Network
from kernel.machine import Machine, wait_until

NETWORK = Network(4, bridges=2)
# Who made it, or when: names and MACs of the host's own choice, the kernel's numbers for namespaces, timers.
OWN = re.compile(r".*timer|link_netnsid|link-netnsid|link-netns|topology_change.*|tcn.*")


def picture(machine: Machine) -> dict[str, list[Any]]:
    """What ip tells of each namespace; of the host's interfaces without names and MACs, which are their maker's."""
    host = {each["ifindex"]: each for each in json.loads(machine.ok("ip -details -json link"))}
    text = json.dumps(_things(machine, ""))
    for index, each in host.items():
        text = text.replace(f'"{each["ifname"]}"', f'"{index}"').replace(each["address"], f"mac {index}")
        text = text.replace(f'"group": "{each["group"]}"', f'"group": "{each["group"] != "default"}"')
    found = {"host": json.loads(text)}
    for number in range(1, NETWORK.nodes + 1):
        found[f"node{number}"] = _things(machine, f"-n node{number}")
    return {place: sorted(map(_plain, things), key=json.dumps) for place, things in found.items()}


def _things(machine: Machine, where: str) -> list[Any]:
    looks = ("-details -json link", "-details -json address", "-json route show table all")
    return [each for look in looks for each in json.loads(machine.ok(f"ip {where} {look}"))]


def _plain(thing: Any) -> Any:
    match thing:
        case dict():
            return {
                key: value.partition("/")[2] if key == "ifalias" else _plain(value)
                for key, value in thing.items()
                if not OWN.fullmatch(key)
            }
        case list():
            return [_plain(each) for each in thing]
        case str() if thing.startswith("8000."):  # a bridge's id holds its MAC
            return "8000"
    return thing


def settled(look: Callable[[], object]) -> None:
    """Waits until two looks agree: carriers and states of ports come a moment after."""
    before: list[object] = [None]

    def same() -> bool:
        now = look()
        agreed = now == before[0]
        before[0] = now
        return agreed

    wait_until(same)


def test_same_objects(machine: Machine, tmp_path: Path) -> None:
    program = floor.program(tmp_path)
    if not program:
        pytest.skip(floor.MISSING)
    machine.path("/run/scratch/floor").write_bytes(program.read_bytes())
    machine.path("/run/scratch/floor").chmod(0o755)
    words = f"{NETWORK.nodes} {NETWORK.bridges}"

    machine.up(machine.topology("floor", NETWORK.topology()))
    settled(lambda: picture(machine))
    by_labctl = picture(machine)
    machine.ok("labctl down")
    machine.ok(f"floor up {words}")
    machine.ok("ping -c1 10.0.0.2 && ip netns exec node1 ping -c1 10.0.0.3 && ping -c1 10.1.0.3")
    settled(lambda: picture(machine))
    by_floor = picture(machine)
    machine.ok(f"floor down {words}")

    for place in by_labctl:
        assert by_floor[place] == by_labctl[place], place
