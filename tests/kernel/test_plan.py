"""The printed plan is the plan: run by a shell it makes what `up` makes, and it is the same text each time."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from kernel.machine import GOOD, SCRATCH, SHIPPED, Machine, wait_until

SERVICES = """
for name in $(ls /run/netns); do
  for pid in $(ip netns pids "$name"); do
    own='^(LABCTL_SERVICE|LOG|VERSION|PORT|URL|DEBUG|EMPTY)='
    mark=$(tr '\\0' '\\n' <"/proc/$pid/environ" | sort | grep -E "$own" | tr '\\n' ' ')
    echo "$name $mark $(tr '\\0\\n' '  ' <"/proc/$pid/cmdline")"
  done
done | grep -v ' sh -c [^ ]*\\(while\\|until\\|n=0\\)' | sort  # what starts a command again and again by hand
"""


def network(machine: Machine) -> object:
    """What ip(8) shows in the machine and in each namespace that has a name."""
    return json.loads(machine.ok(f"{sys.executable} {Path(__file__).with_name('view.py')}"))


def items(state: dict[str, str]) -> dict[str, str]:
    """Without services and namespaces, which labctl knows by more than the shell gives them."""
    return {key: item for key, item in state.items() if not key.startswith(("service/", "namespace/"))}


@pytest.mark.parametrize("file", [*SHIPPED, *GOOD], ids=lambda file: file.stem)
def test_plan_run_by_hand_is_what_up_does(machine: Machine, file: Path) -> None:
    script = machine.ok(f"labctl plan {file}")
    assert machine.ok(f"labctl plan {file}") == script
    machine.up(file)
    with Machine() as other:
        other.write("plan.sh", script)
        by_hand = other.observe(f"by-hand {file} {SCRATCH}/plan.sh")
        by_up = machine.observe(f"up {file}")
        assert items(by_hand["listed"]) == items(by_up["listed"])
        assert items(by_hand["listed"]).keys() == items(by_up["desired"]).keys()
        wait_until(lambda: network(other) == network(machine))  # link-local addresses come a moment after the carrier
        wait_until(lambda: other.ok(SERVICES) == machine.ok(SERVICES))


def test_services_are_compared(machine: Machine) -> None:
    """The comparison above sees a service: one of each node, with its environment."""
    machine.up("two-containers")
    marks = [line.split()[:2] for line in machine.ok(SERVICES).splitlines()]
    assert marks == [[node, f"LABCTL_SERVICE=two-containers/{node}/main"] for node in ("container1", "container2")]


def test_plan_of_a_running_lab_is_empty(machine: Machine) -> None:
    machine.up("two-containers")
    with machine.untouched():
        again = machine.run("labctl plan two-containers --exit-code")
        assert (again.status, again.stdout) == (0, "")
        assert again.stderr == "two-containers: already as the file says\n"
        assert json.loads(machine.ok("labctl plan two-containers --json")) == []
    before = machine.ok(SERVICES)
    assert machine.up("two-containers") == "two-containers: already as the file says\n"
    assert machine.ok(SERVICES) == before


def test_plan_tells_what_is_missing(machine: Machine) -> None:
    """What somebody took away is planned again, and nothing else; `up` mends it."""
    machine.up("two-containers")
    machine.ok("ip -n container1 route del default; ip -n container2 link set eth0 mtu 1400; ip link set docker0 down")
    operations = json.loads(machine.ok("labctl plan two-containers --json"))
    assert {(op["op"], *op["key"][:3]) for op in operations} == {
        ("change", "link", "host", "docker0"),
        ("change", "link", "host", operations[1]["key"][2]),
        ("add", "route", "container1", "254"),
    }
    assert "mtu 1400 instead of 1500" in operations[1]["reason"]
    story = machine.up("two-containers")
    assert ": changed in " in story
    assert "3 operations" in story
    assert machine.run("labctl plan two-containers --exit-code").status == 0


def test_plan_as_json(machine: Machine) -> None:
    operations = json.loads(machine.ok("labctl plan two-containers --json"))
    assert {tuple(op) for op in operations} == {("op", "kind", "node", "key", "reason", "shell")}
    assert {op["kind"] for op in operations if op["op"] != "add"} == {"sysctl"}
    assert [op["reason"] for op in operations if op["op"] == "change"] == ["value 0 instead of 1"]
    script = machine.ok("labctl plan two-containers")
    assert all(op["shell"] in script for op in operations)
    kinds = {op["kind"] for op in operations}
    assert kinds == {"ruleset", "sysctl", "link", "address", "namespace", "route", "file", "service"}


def test_reading_verbs_touch_nothing(machine: Machine) -> None:
    with machine.untouched():
        plan = machine.ok("labctl plan two-containers")
        assert machine.ok("labctl up two-containers --dry-run") == plan
        assert machine.ok("labctl up --dry-run two-containers.yaml") == plan
        assert machine.run("labctl plan two-containers --exit-code").status == 1
        machine.ok("labctl validate two-containers")


@pytest.mark.parametrize("file", [file for file in [*SHIPPED, *GOOD] if file.stem != "processes"], ids=lambda f: f.stem)
def test_isolated_plan_run_by_hand_stays_off_the_machine(machine: Machine, file: Path) -> None:
    """It makes the lab's host as well, and all that `up --isolated` makes, and nothing outside of it."""
    script = machine.ok(f"labctl plan {file} --isolated")
    machine.up(file, "--isolated")
    with Machine() as other:
        other.write("plan.sh", script)
        own = other.ok("ip -details link; ip address; ip route; nft list ruleset; sysctl net.ipv4.ip_forward")
        other.ok(f"sh -e {SCRATCH}/plan.sh")
        assert other.ok("ip -details link; ip address; ip route; nft list ruleset; sysctl net.ipv4.ip_forward") == own
        wait_until(lambda: network(other) == network(machine))


def test_isolated_plan(machine: Machine) -> None:
    """Namespaces of an isolated lab get its name in front, so that several fit into /run/netns."""
    script = machine.ok("labctl plan two-containers --isolated")
    assert "ip netns add two-containers-container1\n" in script
    machine.up("two-containers", "--isolated")
    assert machine.run("labctl plan two-containers --exit-code").status == 0
    assert machine.run("labctl plan two-containers --isolated --exit-code").status == 0


def test_verbose_names_namespaces_as_ip_does(machine: Machine) -> None:
    assert "\nip -n two-containers-container1 link set eth0 up\n" in machine.up(
        "two-containers", "--isolated --verbose"
    )
    machine.ok("ip -n two-containers-container1 link show eth0")
