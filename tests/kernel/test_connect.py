"""`connect` and `disconnect`: a running node gets and loses networks, as with `docker network connect`."""

from __future__ import annotations

import json

import pytest

from kernel.machine import Machine, each_way, wait_until

LAB = """
name: lab
bridges:
  front: {subnet: [10.1.0.0/24, "fd00:1::/64"]}
  back: {subnet: 10.2.0.0/24}
  inner: {subnet: 10.3.0.0/24, internal: true}
namespaces:
  web: {networks: [front], run: exec sleep 1000, environment: {VERSION: 1.10}}
  db: {networks: [back]}
  many: {count: 2, networks: [back], run: exec sleep 1001}
  side: {network_mode: namespace:web}
  copies: {count: 2, network_mode: namespace:many}
  tool: {network_mode: host}
  none: {network_mode: none}
  cabled: {}
links: [{endpoints: ["cabled:eth0", "web:eth5"]}]
"""


@pytest.fixture
def lab(machine: Machine) -> Machine:
    machine.up(machine.topology("lab", LAB))
    wait_until(lambda: machine.pids("sleep 1000") and len(machine.pids("sleep 1001")) == 2)
    return machine


def addresses(machine: Machine, node: str) -> dict[str, list[str]]:
    """IPv4 and global IPv6 addresses, by interface."""
    links = json.loads(machine.inside(node, "ip -json address"))
    return {
        link["ifname"]: [a["local"] for a in link["addr_info"] if a["scope"] == "global"]
        for link in links
        if link["ifname"] != "lo"
    }


def default(machine: Machine, node: str) -> str:
    return machine.inside(node, "ip route show default").split("via ")[-1].strip()


def test_what_has_ended_is_not_started_again(machine: Machine) -> None:
    text = LAB.replace("run: exec sleep 1000,", "run: {main: exec sleep 1000, once: echo once >>/run/scratch/once},")
    file = machine.topology("lab", text)
    machine.up(file)
    wait_until(lambda: "once exited (0)" in machine.ok("labctl ps"))
    machine.ok("labctl connect web back && labctl disconnect web front")
    assert "once exited (0)" in machine.ok("labctl ps")
    assert machine.path("/run/scratch/once").read_text() == "once\n"
    machine.up(file)
    wait_until(lambda: machine.path("/run/scratch/once").read_text() == "once\nonce\n")


@each_way
def test_connect_and_disconnect(machine: Machine, option: str) -> None:
    file = machine.topology("lab", LAB)
    machine.up(file, option)
    wait_until(lambda: machine.pids("sleep 1000") and len(machine.pids("sleep 1001")) == 2)
    pids = machine.pids("sleep 1000"), machine.pids("sleep 1001")
    done = machine.run("labctl connect web back --alias sql --alias s2")
    assert (done.status, done.stdout) == (0, ""), done.stderr
    assert addresses(machine, "web") == {"eth0": ["10.1.0.2", "fd00:1::2"], "eth1": ["10.2.0.5"], "eth5": []}
    assert default(machine, "web") == "10.1.0.1 dev eth0"
    assert machine.inside("db", "getent hosts sql").split()[:2] == ["10.2.0.5", "web"]
    assert "1 received" in machine.inside("db", "ping -c 1 -W 5 web.back")
    assert machine.inside("side", "cat /etc/hosts").count("db") == 2
    machine.ok("labctl disconnect web front")
    assert addresses(machine, "web") == {"eth1": ["10.2.0.5"], "eth5": []}
    assert default(machine, "web") == "10.2.0.1 dev eth1"
    machine.ok("labctl connect web front --gw-priority -1")
    assert addresses(machine, "web") == {"eth0": ["10.1.0.2", "fd00:1::2"], "eth1": ["10.2.0.5"], "eth5": []}
    assert default(machine, "web") == "10.2.0.1 dev eth1"
    assert (machine.pids("sleep 1000"), machine.pids("sleep 1001")) == pids
    assert machine.run(f"labctl plan {machine.seen(file)} --exit-code").status == 1
    assert machine.run(f"labctl up {machine.seen(file)}").status == 0
    assert addresses(machine, "web") == {"eth0": ["10.1.0.2", "fd00:1::2"], "eth5": []}
    assert (machine.pids("sleep 1000"), machine.pids("sleep 1001")) == pids
    machine.ok("labctl down")
    machine.prove_clean()


def test_settings(lab: Machine) -> None:
    lab.ok(
        "labctl connect db front --ip 10.1.0.9 --ip6 fd00:1::9 --mac 02:00:00:00:00:09 --interface wan0 --gw-priority 1"
    )
    assert addresses(lab, "db") == {"eth0": ["10.2.0.2"], "wan0": ["10.1.0.9", "fd00:1::9"]}
    assert "02:00:00:00:00:09" in lab.inside("db", "ip link show wan0")
    assert default(lab, "db") == "10.1.0.1 dev wan0"


def test_one_of_several_copies(lab: Machine) -> None:
    """The others, and who shares with them, stay as they are."""
    pids = lab.pids("sleep 1001")
    lab.ok("labctl connect many-2 inner")
    assert addresses(lab, "many-2") == {"eth0": ["10.2.0.4"], "eth1": ["10.3.0.2"]}
    assert addresses(lab, "many-1") == {"eth0": ["10.2.0.3"]}
    assert addresses(lab, "copies-2") == addresses(lab, "many-2")
    assert lab.pids("sleep 1001") == pids
    lab.ok("labctl disconnect lab/many-2 inner")
    assert lab.run("labctl plan /run/scratch/lab.yaml --exit-code").status == 0


def test_the_last_network(lab: Machine) -> None:
    """A node without any is there, and can be connected again; one that never had any cannot."""
    lab.ok("labctl disconnect db back")
    assert addresses(lab, "db") == {}
    lab.ok("labctl connect db inner")
    assert addresses(lab, "db") == {"eth0": ["10.3.0.2"]}
    lab.ok("labctl connect cabled inner")
    assert addresses(lab, "cabled") == {"eth0": [], "eth1": ["10.3.0.3"]}


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("connect web front", "web is already connected to front"),
        ("connect web bakc", "the lab has no bridge 'bakc'; did you mean 'back'?"),
        ("connect wbe back", "the lab lab has no node 'wbe'\ndid you mean 'web'?"),
        ("connect side back", "side shares the network of web, and has none of its own to change\nName web instead."),
        ("connect tool back", "tool shares the network of the host, and has none of its own to change"),
        ("connect none back", "none has 'network_mode: none', and can be connected to no network"),
        ("connect host back", "the host is on every bridge of its lab"),
        ("connect web back --ip 10.9.0.1", "10.9.0.1 is outside 10.2.0.0/24, the subnet of bridge 'back'"),
        ("connect web back --ip 10.2.0.1", "10.2.0.1 is already the address of bridge 'back'"),
        ("connect web back --ip x", "'x' is not an IP address"),
        ("connect web back --ip6 fd00::1", "bridge 'back' has no IPv6 subnet"),
        ("connect web back --interface eth0", "'web' has an interface 'eth0' already"),
        ("connect web back --alias 'a b'", "'a b' cannot be a host's name"),
        ("connect web back --mac x", "'x' is not a MAC address"),
        ("disconnect web back", "web is not connected to back\nIts networks: front."),
        ("disconnect side front", "side shares the network of web"),
    ],
)
def test_what_cannot_be(lab: Machine, command: str, says: str) -> None:
    done = lab.run(f"labctl {command}")
    assert lab.run("labctl plan /run/scratch/lab.yaml --exit-code").status == 0
    assert (done.status, done.stdout) == (2, "")
    assert done.stderr.startswith(f"labctl: {says}")


def test_what_does_not_fit_the_rest_of_the_file(machine: Machine) -> None:
    text = LAB.replace("db: {networks: [back]}", "db: {networks: [back], routes: [{to: 192.0.2.0/24, via: 10.2.0.9}]}")
    machine.up(machine.topology("lab", text))
    done = machine.run("labctl disconnect db back")
    assert (done.status, done.stdout) == (2, "")
    assert machine.run("labctl plan /run/scratch/lab.yaml --exit-code").status == 0
    assert "10.2.0.9 is not on a network of this namespace" in done.stderr


@pytest.mark.parametrize("verb", ["connect web back", "disconnect web front"])
def test_killed_at_any_time(lab: Machine, verb: str) -> None:
    for milliseconds in range(80, 200, 20):
        lab.run(f"timeout --signal KILL 0.{milliseconds:03} labctl {verb}")
        assert lab.run("labctl up /run/scratch/lab.yaml").status == 0
        assert lab.run("labctl plan /run/scratch/lab.yaml --exit-code").status == 0
    lab.ok("labctl down")
    lab.prove_clean()


def test_from_standard_input(machine: Machine) -> None:
    """No file is needed, nor the folder where labctl was called."""
    machine.ok("cd /run/scratch && labctl up -", LAB)
    wait_until(lambda: machine.pids("sleep 1000"))
    pids = machine.pids("sleep 1000")
    machine.ok("cd / && labctl connect web back")
    assert machine.pids("sleep 1000") == pids
