"""Which limits of a machine a large lab meets: one at a time, just before it and at it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from labctl.desired import Context, desired
from labctl.fields import replace
from labctl.leases import Taken, lease
from labctl.limits import Limits, Needs, needs, refusals, warnings
from labctl.linux.limits import ROOM
from labctl.record import Leases
from labctl.state import State
from labctl.topology import load

ALL = Needs(600, {4: 1200, 6: 0}, ("br0", 600), 100, 50 << 20)
THRESHOLD, BACKLOG = "net.ipv4.neigh.default.gc_thresh", "net.core.netdev_max_backlog"


def meant(text: str) -> State:
    topology = load(text.encode(), "lab.yaml")
    return desired(topology, Context(lease(topology, Leases(), Taken()), isolated=True))


def test_needs_of_a_lab() -> None:
    found = needs(
        meant("""
bridges: {br0: {subnet: [10.1.0.0/16, "fd00:1::/64"]}, br1: {subnet: 10.2.0.0/16}}
namespaces:
  a: {networks: [br0], count: 5, run: sleep 1}
  b: {networks: [br1], count: 3}
  c: {network_mode: "namespace:d"}
  d: {}
  e: {}
links: [{endpoints: [{node: d, interface: eth0, ip: 10.3.0.1/24}, {node: e, interface: eth0, ip: 10.3.0.2/24}]}]
""")
    )
    assert replace(found, bytes=0) == Needs(10, {4: 2 * (5 + 3 + 1), 6: 2 * 5}, ("br0", 5), 5, 0)
    assert found.bytes > 10 * len("127.0.0.1\tlocalhost\n")


@pytest.mark.parametrize(
    ("limits", "what", "remedy"),
    [
        (
            Limits(files=1299),
            "a lab of 600 nodes takes 1300 open files, and labctl may have 1299 (ulimit -Hn)",
            "ulimit -n 2048",
        ),
        (
            Limits(namespaces=599),
            "a lab of 600 nodes is as many network namespaces, and there may be 599 (user.max_net_namespaces)",
            "sysctl -w user.max_net_namespaces=60000",
        ),
        (
            Limits(room=(10 << 20, 100 << 20)),
            "the hosts files of 600 nodes take 50 MiB, and /run has 10 MiB left",
            "mount -o remount,size=156M /run",
        ),
    ],
)
def test_refused(limits: Limits, what: str, remedy: str) -> None:
    ((told, helps),) = refusals(limits, ALL)
    assert told == what
    assert remedy in helps


@pytest.mark.parametrize(
    ("limits", "what", "remedy"),
    [
        (
            Limits({4: 1199, 6: 0}),
            (
                f"Nodes lose packets when all talk: that takes 1200 neighbour entries (IPv4), and all namespaces of "
                f"this machine share 1199 ({THRESHOLD}3)."
            ),
            f"sysctl -w {THRESHOLD}2=32768 {THRESHOLD}3=65536",
        ),
        (
            Limits(backlog=598),
            (
                f"Some nodes on br0 never get a broadcast (ARP): it is for 599 at once, and a CPU has room for 598 "
                f"packets ({BACKLOG})."
            ),
            f"sysctl -w {BACKLOG}=16384",
        ),
        (
            Limits(processes=199),
            (
                "Some services may not start: 100 are 200 processes or more, and there is room for 199 (kernel.pid_max"
                ", kernel.threads-max, pids.max of the cgroup)."
            ),
            "sysctl -w kernel.pid_max=4194304 kernel.threads-max=4194304",
        ),
    ],
)
def test_warned(limits: Limits, what: str, remedy: str) -> None:
    assert list(warnings(limits, ALL)) == [(what, remedy)]


@pytest.mark.parametrize("limits", [Limits(), Limits({4: 1200, 6: 0}, 599, 1300, 600, (50 << 20, 50 << 20), 200)])
def test_enough_or_not_to_be_seen(limits: Limits) -> None:
    assert [*refusals(limits, ALL), *warnings(limits, ALL)] == []


def test_descriptors_have_room_before_there_are_two_threads() -> None:
    """The table does not grow while threads share it: each doubling would wait for RCU."""
    tells = "next(line for line in open('/proc/self/status') if line.startswith('FDSize'))"
    script = f"from labctl.linux.thread import in_thread; print(in_thread(lambda: {tells}))"
    hard = f'ulimit -Hn; ulimit -n $(ulimit -Hn); {sys.executable} -c "{script}"'
    most, size = subprocess.run(["sh", "-c", hard], capture_output=True, text=True, check=True).stdout.split("\n")[:2]
    if most != "unlimited" and int(most) <= ROOM:
        pytest.skip(f"here nobody may have {ROOM} open files")
    assert int(size.split()[1]) > ROOM
