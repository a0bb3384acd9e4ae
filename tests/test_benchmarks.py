"""The benchmark compares like with like: the same file for everybody's network, and a picture that can be read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.aims import judged
from benchmarks.contestants import FLOOR, LABCTL
from benchmarks.networks import Network
from benchmarks.plot import picture
from benchmarks.room import Sample
from benchmarks.work import Work, chosen
from labctl.desired import Context, desired
from labctl.leases import Taken, lease
from labctl.record import Leases
from labctl.state import Address
from labctl.topology import load

NETWORKS = [Network(3), Network(5, bridges=2), Network(2, bridges=3, everywhere=True), Network(3, ports=2)]
SVG = "{http://www.w3.org/2000/svg}"


def addresses(text: str, held: Leases) -> tuple[set[tuple[str, str]], Leases]:
    """Where labctl puts nodes and gateways, as (node, address), when it has given out what is `held`."""
    topology = load(text.encode(), "lab.yaml")
    leases = lease(topology, held, Taken())
    state = desired(topology, Context(leases, directory="/srv"))
    return {
        (item.node, str(item.interface)) for item in state.items if isinstance(item, Address) and item.dev != "lo"
    }, leases


@pytest.mark.parametrize("network", NETWORKS, ids=repr)
def test_same_addresses_for_everybody(network: Network) -> None:
    expected = {
        (f"node{node}", f"{ip}/16") for node in range(1, network.nodes + 1) for _, ip in network.interfaces(node)
    }
    found, _ = addresses(network.topology(), Leases())
    assert {(node, ip) for node, ip in found if node.startswith("node")} == expected
    assert {ip for node, ip in found - expected} == {f"10.{bridge}.0.1/16" for bridge in range(network.bridges)}


@pytest.mark.parametrize("network", NETWORKS, ids=repr)
def test_change_is_one_address(network: Network) -> None:
    before, leases = addresses(network.topology(), Leases())
    after, _ = addresses(network.topology(changed=True), leases)
    assert after - before == {(f"node{network.middle}", f"{network.changed_address()}/16")}


def test_batches(tmp_path: Path) -> None:
    Network(2, bridges=2).write_batches(tmp_path)
    assert "address add 10.1.0.2/16 broadcast + dev eth0\n" in (tmp_path / "nodes/node2").read_text()
    assert (
        "master br1 numtxqueues 1 numrxqueues 1 type veth peer name eth0 netns node2" in (tmp_path / "host").read_text()
    )


def measured(size: int, mine: float, floor: float) -> Work:
    """A table of made-up samples: seconds of labctl's and of the floor's `up` and `down`."""
    work = Work(f"nodes-{size}", "made up", 1, Network(size))
    for name, wall in ((LABCTL, mine), (FLOOR, floor)):
        work.samples[name] = {phase: [Sample(wall, wall, 50 * 1024)] for phase in ("up", "again", "change", "down")}
    return work


def test_aims() -> None:
    aims = {aim.what: aim for aim in judged({"nodes-1000": measured(1000, 1.6, 0.8)})}
    assert aims["1000 nodes, up: labctl / floor"].figure == 2.0
    assert not aims["1000 nodes, up: labctl / floor"].met
    assert not aims["1000 nodes, up without a change"].met
    assert aims["1000 nodes, up with one node changed"].met
    assert aims["1000 nodes, up: peak"].figure == 50


def test_aims_for_each_node_more() -> None:
    aims = {
        aim.what: aim for aim in judged({"nodes-10": measured(10, 0.1, 0.01), "nodes-100": measured(100, 0.3, 0.11)})
    }
    assert round(aims["100 nodes, up, each after the first 10: labctl / floor"].figure, 6) == 2.0


def test_picture() -> None:
    drawn = ElementTree.fromstring(picture([measured(10, 0.1, 0.01), measured(1000, 1.5, 0.8)]))
    curves = drawn.findall(f"{SVG}polyline")
    assert len(curves) == 6  # labctl's four phases, the floor's two
    assert all(len((curve.get("points") or "").split()) == 2 for curve in curves)
    words = {text.text for text in drawn.findall(f"{SVG}text")}
    assert {"10", "1000", "labctl up", "floor in C down"} <= words


@pytest.mark.parametrize("works", [[], [measured(100, 0.1, 0.1)]], ids=["nothing", "one size"])
def test_picture_of_little(works: list[Work]) -> None:
    assert ElementTree.fromstring(picture(works)).tag == f"{SVG}svg"


@pytest.mark.parametrize("option", ["--only", "--contestants"])
def test_unknown_names(option: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", option, "nobody"],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "no 'nobody'; known are " in done.stderr
    assert "Traceback" not in done.stderr


def test_quick_run_leaves_out_the_largest() -> None:
    assert {work.name for work in chosen(False)} - {work.name for work in chosen(True)} == {"nodes-5000"}
