"""`network_mode`: nodes that share the network of another, or the host's, and what must never end with them."""

from __future__ import annotations

import json
import re

import pytest

from kernel.machine import Machine, each_way, wait_until

LAB = """
name: lab
bridges: {net: {subnet: 10.0.0.0/24}}
namespaces:
  web: {networks: [net], hostname: www, run: exec sleep 1000}
  side: {network_mode: namespace:web, run: exec sleep 1001}
  tool: {network_mode: host, run: "sleep 1002 & exec sleep 1003"}
  other: {networks: [net]}
"""
ALONE = "name: lab\nnamespaces: {tool: {network_mode: host, run: exec sleep 1002}}\n"
SLEEPERS = [f"sleep {number}" for number in range(1000, 1004)]


def running(machine: Machine) -> list[str]:
    return [command for command in SLEEPERS if machine.pids(command)]


def has_run(machine: Machine, *numbers: int) -> None:
    wait_until(lambda: running(machine) == [f"sleep {number}" for number in numbers])


@each_way
def test_a_node_in_the_namespace_of_another(machine: Machine, option: str) -> None:
    machine.up(machine.topology("lab", LAB), option)
    has_run(machine, 1000, 1001, 1002, 1003)
    for look in (
        "readlink /proc/self/ns/net",
        "cat /etc/hosts /etc/resolv.conf /etc/hostname",
        "hostname",
        "ip address",
    ):
        assert machine.inside("side", look) == machine.inside("web", look)
    assert machine.inside("tool", "readlink /proc/self/ns/net") == machine.inside("host", "readlink /proc/self/ns/net")
    assert machine.inside("tool", "hostname") == machine.ok("hostname")
    assert "1 received" in machine.inside("side", "ping -c 1 -W 5 other")
    assert machine.inside("side", "sh -c 'echo $LABCTL_NODE'") == "side\n"
    nodes = {node["node"]: node for node in json.loads(machine.ok("labctl ps --json"))[0]["nodes"]}
    assert {name: node["same_as"] for name, node in nodes.items()} == {
        "web": None,
        "side": "web",
        "tool": "host",
        "other": None,
    }
    assert [len(nodes[name]["processes"]) for name in ("web", "side", "other")] == [1, 1, 0]
    assert [len(service["pids"]) for service in nodes["tool"]["services"]] == [2]
    assert re.search(r"side +as web +1 +main running", machine.ok("labctl ps"))
    machine.ok("labctl down")
    machine.prove_clean()


@pytest.mark.parametrize("option", ["", "--isolated"], ids=["shared", "isolated"])
def test_names_for_ip(machine: Machine, option: str) -> None:
    """Whoever shares has a name as well; the machine's own network needs none."""
    machine.up(machine.topology("lab", LAB), option)
    prefix = "lab-" if option else ""
    side, tool = f"ip netns exec {prefix}side", f"ip netns exec {prefix}tool"
    assert "10.0.0.2/24" in machine.ok(f"{side} ip address")
    assert machine.ok(f"{side} getent hosts other").split()[:2] == ["10.0.0.3", "other"]
    assert (machine.run(f"{tool} ip link show net").status == 0) == bool(option)
    assert machine.path("/run/netns/tool").is_symlink() is False


@pytest.mark.parametrize("option", ["", "--isolated"], ids=["shared", "isolated"])
def test_removing_one_that_shares_ends_only_its_own(machine: Machine, option: str) -> None:
    machine.up(machine.topology("lab", LAB), option)
    has_run(machine, 1000, 1001, 1002, 1003)
    machine.ok("labctl exec side -- sh -c 'sleep 7777 >/dev/null 2>&1 &'")
    machine.up(machine.topology("lab", "\n".join(line for line in LAB.splitlines() if "  side" not in line)))
    has_run(machine, 1000, 1002, 1003)
    assert machine.pids("sleep 7777") == []
    machine.up(
        machine.topology("lab", "\n".join(line for line in LAB.splitlines() if not re.search("side|tool", line)))
    )
    has_run(machine, 1000)
    machine.ok("labctl down")
    machine.prove_clean()


@pytest.mark.parametrize(
    "after",
    [
        pytest.param(LAB.replace("namespace:web", "namespace:other"), id="another"),
        pytest.param(
            LAB.replace("namespace:web", "host").replace("mode: host", "mode: namespace:web", 1), id="swapped"
        ),
        pytest.param(LAB.replace("network_mode: namespace:web", "networks: [net]"), id="own"),
        pytest.param(LAB.replace("network_mode: host", "networks: [net]"), id="off-the-host"),
        pytest.param(LAB.replace("web", "www"), id="renamed"),
    ],
)
@pytest.mark.parametrize("option", ["", "--isolated"], ids=["shared", "isolated"])
def test_changes(machine: Machine, option: str, after: str) -> None:
    """There and back: each is what a new lab would be."""
    machine.up(machine.topology("lab", LAB), option)
    has_run(machine, 1000, 1001, 1002, 1003)
    for text in (after, LAB):
        file = machine.topology("lab", text)
        machine.up(file)
        has_run(machine, 1000, 1001, 1002, 1003)
        seen = machine.observe(f"up {file}")
        assert seen["observed"] == seen["desired"]
        assert machine.run(f"labctl plan {file} --exit-code").status == 0
    machine.ok("labctl down")
    machine.prove_clean()


LOSSES = {
    "": "",
    "record": "rm /run/labctl/lab/lab.json",
    "damaged record": "echo no >/run/labctl/lab/lab.json",
    "links": "rm -f /run/labctl/lab/netns/tool /run/labctl/lab/netns/side",
    "mounts": "umount --recursive /run/labctl/lab/netns",
    "folder": "umount --recursive /run/labctl/lab/netns; rm -r /run/labctl/lab",
    "all": "umount --recursive /run/labctl/lab/netns; rm -rf /run/labctl/lab /run/netns /etc/netns",
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("text", [LAB, ALONE], ids=["lab", "alone"])
@pytest.mark.parametrize("option", ["", "--isolated"], ids=["shared", "isolated"])
def test_bystanders_survive(machine: Machine, option: str, text: str, loss: str) -> None:
    """Whoever is in the machine's network without the lab's marks, or with another's, has nothing to do with it."""
    forged = "LABCTL_SERVICE=lab/tool/main LABCTL_NODE=tool LABCTL_LAB=lab"
    for bystander in ("sleep 5001", f"{forged} sleep 5002", f"{forged} LABCTL_MACHINE=1:1 setsid sleep 5003"):
        machine.start(f"exec env {bystander}" if "=" in bystander else f"exec {bystander}")
    wait_until(lambda: all(machine.pids(f"sleep {number}") for number in (5001, 5002, 5003)))
    machine.settle()
    machine.up(machine.topology("lab", text), option)
    wait_until(lambda: machine.pids("sleep 1002"))
    machine.ok(LOSSES[loss] or "true")
    machine.ok("labctl down lab")
    assert running(machine) == []
    machine.prove_clean()  # the bystanders included


def test_bystanders_survive_a_kill_at_any_time(machine: Machine) -> None:
    machine.start("exec sleep 5001")
    wait_until(lambda: machine.pids("sleep 5001"))
    machine.settle()
    file, change = machine.topology("lab", LAB), machine.topology("change", LAB.replace("mode: host", "mode: none"))
    for milliseconds in range(40, 200, 20):
        machine.run(f"timeout --signal KILL 0.{milliseconds:03} labctl up {file}")
        machine.ok(f"labctl up {file}")
        machine.run(f"timeout --signal KILL 0.{milliseconds:03} labctl up {change}")
        machine.run(f"timeout --signal KILL 0.{milliseconds:03} labctl down lab")
        machine.ok("labctl down --all")
        assert machine.pids("sleep 5001")
    machine.prove_clean()


def test_the_host_of_a_lab_somewhere_else(machine: Machine) -> None:
    """A lab on another network than the machine's first one, its record lost: nothing there is ended by mistake."""
    machine.ok("ip netns add elsewhere")
    machine.start("exec ip netns exec elsewhere sleep 5001")
    machine.start("exec sleep 5002")
    wait_until(lambda: machine.pids("sleep 5001") and machine.pids("sleep 5002"))
    machine.settle()
    file = machine.topology("lab", LAB)
    elsewhere = "nsenter --net=/run/netns/elsewhere"
    machine.ok(f"{elsewhere} labctl up {file}")
    refused = machine.run("labctl down lab")
    assert refused.status == 2
    assert "another network namespace" in refused.stderr
    machine.ok("rm /run/labctl/lab/lab.json")
    machine.ok("labctl down lab")
    assert machine.pids("sleep 5001")
    assert machine.pids("sleep 5002")
    machine.prove_clean()


def test_a_new_host_name_reaches_those_that_share_it(machine: Machine) -> None:
    machine.up(machine.topology("lab", LAB))
    has_run(machine, 1000, 1001, 1002, 1003)
    [pid] = machine.pids("sleep 1001")
    machine.up(machine.topology("lab", LAB.replace("www", "new")))
    assert machine.pids("sleep 1001") == [pid]
    names = [f"nsenter --uts --target $(pgrep -xf 'sleep {number}') hostname" for number in (1000, 1001, 1002)]
    assert [machine.ok(command) for command in names] == ["new\n", "new\n", machine.ok("hostname")]


def test_copies_share_in_pairs(machine: Machine) -> None:
    text = "name: lab\nbridges: {net: {subnet: 10.0.0.0/24}}\nnamespaces:\n  web: {count: 2, networks: [net]}\n"
    machine.up(machine.topology("lab", text + "  side: {count: 2, network_mode: namespace:web}\n"))
    for number in (1, 2):
        assert machine.inside(f"side-{number}", "ip address") == machine.inside(f"web-{number}", "ip address")
