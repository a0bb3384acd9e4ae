"""What `connect` and `disconnect` make of a topology's text: what was asked for, and all else as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from labctl.edit import connected, disconnected
from labctl.errors import TopologyError, UsageError
from labctl.fields import replace
from labctl.leases import interfaces
from labctl.topology import Topology, load

GOOD = sorted((Path(__file__).parent / "topologies" / "good").glob("*.yaml"))
ODD = """
name: lab
bridges: {a: {subnet: 10.0.0.0/24}, b: {subnet: 10.1.0.0/24}}
namespaces:
  x:
    networks: [a]
    environment: {V: 1.10, HEX: 0x1F, NO: no, TEXT: "a\\tb \\U0001F600 \\\\ \\"q\\" \\x7f", COLON: "a: b", HASH: "# x"}
    run: [sleep, 1_0, 0o17, -1.5e3, true, "", "{}"]
"""


def meant(text: str) -> Topology:
    return load(text.encode(), "lab.yaml")


def both(text: str, node: str, bridge: str) -> Topology:
    """On a bridge and off it again."""
    topology = meant(text)
    mine = next(each for each in topology.nodes if each.name == node)
    once = connected(text, node, bridge, {}, interfaces(mine, topology))
    topology = meant(once)
    mine = next(each for each in topology.nodes if each.name == node)
    assert bridge in {plug.bridge for plug in mine.networks}
    return meant(disconnected(once, node, bridge, interfaces(mine, topology), cabled=False))


def test_everything_else_stays() -> None:
    before, after = meant(ODD), both(ODD, "x", "b")
    [node] = after.nodes
    [plug] = node.networks
    assert plug.interface == "eth0"
    assert replace(node, networks=before.nodes[0].networks) == before.nodes[0]


@pytest.mark.parametrize("file", GOOD, ids=lambda file: file.stem)
def test_every_topology_stays(file: Path) -> None:
    """Each node on each bridge where it is not, and off again: only its interfaces' names are written out."""
    text = file.read_text()
    before = load(text.encode(), str(file))
    for node in before.nodes:
        free = [bridge.name for bridge in before.bridges if bridge.name not in {plug.bridge for plug in node.networks}]
        if not free or not node.networks or len(before.nodes) > 50:
            continue
        present = interfaces(node, before)
        try:
            once = load(connected(text, node.name, free[0], {}, present).encode(), str(file))
        except (UsageError, TopologyError):  # it shares a network, or the bridge is full
            continue
        plugged = replace(node, networks=tuple(replace(p, interface=present[p.bridge]) for p in node.networks))
        found = next(each for each in once.nodes if each.name == node.name)
        assert replace(found, networks=found.networks[:-1]) == plugged
        assert [each for each in once.nodes if each.name != node.name] == [n for n in before.nodes if n != node]
        assert (once.bridges, once.cables) == (before.bridges, before.cables)


def test_copies_are_written_out() -> None:
    text = (
        ODD
        + "  w: {count: 2, networks: [a]}\n  s: {count: 2, network_mode: namespace:w}\n  n:\n    network_mode: none\n"
    )
    before, after = meant(text), both(text, "w-2", "b")
    assert [node.name for node in after.nodes] == [node.name for node in before.nodes]
    assert [node.same_as for node in after.nodes] == [node.same_as for node in before.nodes]


def test_who_waits_for_copies_waits_for_each() -> None:
    waits = "  z: {networks: [a], run: x, depends_on: w}\n"
    waits += "  y: {networks: [a], run: {p: {command: x, depends_on: [w/q, z]}, q: x}}\n"
    text = ODD + "  w: {count: 2, networks: [a], run: {q: x, r: x}}\n" + waits
    before, after = meant(text), both(text, "w-2", "b")
    assert {node.name: node.run for node in after.nodes} == {node.name: node.run for node in before.nodes}
