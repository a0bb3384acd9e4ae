"""What was changed behind labctl's back is found by `plan` and mended by `up`, and nothing else is touched."""

from __future__ import annotations

import json
import re

import pytest

from kernel.machine import USER, WAYS, Machine, changes, wait_until

LAB = """
name: lab
bridges: {lan: {subnet: [10.7.0.0/24, 'fd07::/64'], mtu: 1400}, back: {subnet: 10.8.0.0/24, icc: false}}
namespaces:
  a: {networks: [lan], run: exec sleep 1000, sysctls: {net.ipv4.ip_default_ttl: 40}}
  b: {networks: [lan, back], forward: true, run: exec sleep 1001}
  c: {networks: [back]}
links: [{endpoints: [{node: a, interface: c0, ip: 10.9.0.1/24}, {node: c, interface: c0, ip: 10.9.0.2/24}]}]
"""
VETH = "veth=$(ip -oneline link show type veth | grep -F labctl:lab/a/eth0 | grep -o 'veth[0-9a-f]*' | head -n 1)"
TABLE = "inet labctl-lab"

# where, what is done there, and the operations that mend it: verb, and the beginning of the key
HARM = {
    "address": ("a", "ip address del 10.7.0.2/24 dev eth0", ["add address/a/eth0", "add route/a"]),
    "IPv6 address": ("a", "ip address del fd07::2/64 dev eth0", ["add address/a/eth0/fd07"]),
    "link down": ("a", "ip link set eth0 down", ["add address/a/eth0/fd07", "add route/a", "change link/host/veth"]),
    "loopback down": ("b", "ip link set lo down", ["add link/b/lo"]),
    "loopback address": ("b", "ip address del 127.0.0.1/8 dev lo", ["add address/b/lo"]),
    "route": ("b", "ip route del default", ["add route/b/254/0.0.0.0/0"]),
    "other route": ("b", "ip route replace default via 10.7.0.77", ["change route/b/254/0.0.0.0/0"]),
    "MTU": ("c", "ip link set c0 mtu 1300", ["change link/a/c0"]),
    "MAC": ("a", "ip link set eth0 address 02:00:00:00:00:01", ["change link/host/veth"]),
    "sysctl": ("a", "sysctl -qw net.ipv4.ip_default_ttl=64", ["change sysctl/a/net.ipv4.ip_default_ttl"]),
    "forwarding": ("b", "sysctl -qw net.ipv4.ip_forward=0", ["change sysctl/b/net.ipv4.ip_forward"]),
    "IPv6 off": (
        "a",
        "sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1",
        ["change sysctl/a/net.ipv6.conf.eth0.disable_ipv6", "add address/a/eth0/fd07", "add route/a/254/::/0"],
    ),
    "cable gone": ("a", "ip link del c0", ["add link", "add address/a/c0", "add address/c/c0", "add sysctl/a"]),
    "cable renamed": (
        "a",
        "ip link set c0 down; ip link set c0 name other",
        ["remove link", "add link", "add address/a/c0", "add address/c/c0", "add sysctl/a"],
    ),
    "pair gone": ("b", "ip link del eth1", ["add link/host/veth", "add address/b/eth1", "add sysctl/b"]),
    "host address": ("host", "ip address del 10.7.0.1/24 dev lan", ["add address/host/lan"]),
    "unplugged": ("host", f"{VETH}; ip link set $veth nomaster", ["change link/host/veth"]),
    "veth down": ("host", f"{VETH}; ip link set $veth down", ["change link/host/veth"]),
    "veth gone": (
        "host",
        f"{VETH}; ip link del $veth",
        ["add link/host/veth", "add address/a/eth0/10.7", "add address/a/eth0/fd07", "add route/a/254"],
    ),
    "bridge down": ("host", "ip link set back down", ["change link/host/back"]),
    "bridge renamed": (
        "host",
        "ip link set back down; ip link set back name front",
        [
            "remove link/host/front",
            "add link/host/back",
            "add sysctl/host/net.ipv6.conf.back",
            "add address/host/back",
            "change link/host/veth",
        ],
    ),
    "bridge gone": (
        "host",
        "ip link del back",
        ["add link/host/back", "add sysctl/host/net.ipv6.conf.back", "add address/host/back", "change link/host/veth"],
    ),
    "host forwarding": ("host", "sysctl -qw net.ipv4.ip_forward=0", ["change sysctl/host/net.ipv4.ip_forward"]),
    "alias": ("host", "ip link set lan alias mine", ["change link/host/lan"]),
    "table gone": ("host", f"nft delete table {TABLE}", ["add ruleset"]),
    "rule gone": ("host", f"nft flush chain {TABLE} postrouting", ["change ruleset"]),
    "rule added": ("host", f"nft add rule {TABLE} forward counter", ["change ruleset"]),
    "set edited": ("host", f"nft 'delete element {TABLE} bridges {{ lan }}'", ["change ruleset"]),
    "service dead": ("a", "kill -KILL $(pgrep -xf 'sleep 1000')", ["add service/a/main"]),
}


def operations(machine: Machine, file: str) -> list[str]:
    return sorted(f"{op['op']} {'/'.join(op['key'])}" for op in json.loads(machine.ok(f"labctl plan {file} --json")))


def must_be_mended(machine: Machine, file: str, before: list[str], expected: list[str]) -> None:
    planned = operations(machine, file)
    assert planned, "the plan does not see it"
    assert [op for op in planned if not op.startswith(tuple(expected))] == []
    assert [start for start in expected if not any(op.startswith(start) for op in planned)] == []
    machine.ok(f"labctl up {file}")
    assert operations(machine, file) == []
    seen = machine.observe(f"up {file}")
    assert seen["observed"] == seen["desired"]
    wait_until(lambda: identity(machine) == before or pytest.fail("something else changed"))


def identity(machine: Machine) -> list[str]:
    """What must never change: the namespaces of b and c, and the process of b, which nobody touches."""
    namespaces = [machine.inside(node, "readlink /proc/self/ns/net") for node in "bc"]
    return [*namespaces, *map(str, machine.pids("sleep 1001"))]


@pytest.mark.parametrize("option", [WAYS[0], WAYS[2]], ids=["shared", "rootless"])  # which is isolated too
@pytest.mark.parametrize("harm", HARM)
def test_harm_is_mended(machine: Machine, harm: str, option: str) -> None:
    file = machine.topology("lab", LAB)
    machine.up(file, option)
    before = identity(machine)
    node, command, expected = HARM[harm]
    machine.write("harm", f"set -e\n{command}\n")
    machine.ok(f"labctl exec {node} -- sh /run/scratch/harm")
    must_be_mended(machine, file, before, expected)


# What only the machine itself can do; the rest of the mount namespace of a rootless lab is its holder's.
FOLDER = "/run/labctl/lab"
HOLDERS = f"nsenter --user --mount --target $(cat /run/user/{USER}/labctl/.holder) --"
UNDONE = {
    "name gone": ("rm /run/netns/*a", ["change namespace/a"]),
    "names gone": ("rm /run/netns/*", ["change namespace/"]),
    "unmounted, with a process in it": (f"umount {FOLDER}/netns/a", ["change namespace/a"]),
    "unmounted and removed": (f"umount {FOLDER}/netns/a; rm {FOLDER}/netns/a", ["change namespace/a"]),
    "unmounted, with nothing in it": (
        f"umount {FOLDER}/netns/c",
        ["add namespace/c", "add link", "add address", "add route/c", "add sysctl/"],
    ),
    "hosts file gone": (f"rm {FOLDER}/etc/a/hosts", ["add file/a/hosts"]),
    "hosts file edited": (f"echo 10.7.0.3 wrong >>{FOLDER}/etc/a/hosts", ["change file/a/hosts"]),
    "all files gone": (f"rm -r {FOLDER}/etc {FOLDER}/log {FOLDER}/run", ["add file/"]),
}


@pytest.mark.parametrize("option", [WAYS[0], WAYS[2]], ids=["shared", "rootless"])  # which is isolated too
@pytest.mark.parametrize("harm", UNDONE)
def test_what_is_undone_is_mended(machine: Machine, harm: str, option: str) -> None:
    file = machine.topology("lab", LAB)
    machine.up(file, option)
    command, expected = UNDONE[harm]
    before, sleeper = identity(machine), machine.pids("sleep 1000")
    inside = (
        f"nsenter --user --mount --target $(cat /run/user/{USER}/labctl/.holder) --" if option == "rootless" else ""
    )
    machine.ok(f"{inside} sh -c '{command}'")
    if harm == "unmounted, with nothing in it":
        before = []
    planned = operations(machine, file)
    machine.ok(f"labctl up {file}")
    assert [op for op in planned if not op.startswith(tuple(expected))] == []
    assert [start for start in expected if not any(op.startswith(start) for op in planned)] == []
    assert operations(machine, file) == []
    assert not before or identity(machine) == before
    assert machine.pids("sleep 1000") == sleeper
    machine.inside("a", "ping -qc1 -W2 10.9.0.2")


@pytest.mark.parametrize("option", WAYS[1:])
def test_the_host_of_a_lab_is_gone(machine: Machine, option: str) -> None:
    """All of it that is not in nodes; the nodes keep their namespaces and their processes."""
    file = machine.topology("lab", LAB)
    machine.up(file, option)
    before, sleeper = identity(machine), machine.pids("sleep 1000")
    inside = (
        f"nsenter --user --mount --target $(cat /run/user/{USER}/labctl/.holder) --" if option == "rootless" else ""
    )
    machine.ok(f"{inside} umount {FOLDER}/netns/host")
    wait_until(lambda: "eth0" not in machine.inside("a", "ip link"))
    machine.ok(f"labctl up {file}")
    assert operations(machine, file) == []
    assert (identity(machine), machine.pids("sleep 1000")) == (before, sleeper)
    machine.inside("a", "ping -qc1 -W2 10.7.0.3")


def test_a_replacement_says_why(machine: Machine) -> None:
    file = machine.topology("lab", LAB)
    machine.up(file)
    machine.ok(
        "ip link set back down; ip link set back name front; ip -n a link set c0 down; ip -n a link set c0 name x"
    )
    planned = machine.ok(f"labctl plan {file}")
    assert "# named front instead of back\nip link del front\n" in planned
    assert "# c0: its other end is not where it was\nip -n c link del c0\n" in planned


def test_a_repair_touches_nothing_else(machine: Machine) -> None:
    """Line by line, but for the order of a bridge's ports, the machine is as it was before the harm."""
    file = machine.topology("lab", LAB)
    machine.up(file)
    before = machine.snapshot()
    machine.ok(
        f"{VETH}; ip link set $veth nomaster; ip address del 10.8.0.1/24 dev back; sysctl -qw net.ipv4.ip_forward=0"
    )
    machine.ok(f"labctl up {file}")
    after = machine.snapshot()
    for found in (before, after):
        for what in ("ip -oneline -details link", "ip -6 route show table all"):
            found[what] = sorted(re.sub(r"port_(id|no) \S+", "", line) for line in found[what])
    left = [line for line in changes(before, after) if not re.search(r": (---|\+\+\+|@@) |lab\.json", line)]
    assert left == []
