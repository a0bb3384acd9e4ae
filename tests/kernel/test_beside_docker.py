"""Beside a real Docker engine: whatever becomes of a lab, what Docker has stays as it is, byte for byte, and works."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from kernel.engine import DOCKERS, SERVER, answered, docker_machine
from kernel.machine import Machine, changes

# Names that Docker does not have, and the subnet that it would take next.
LAB = """
name: lab
bridges: {lab0: {subnet: 172.19.0.0/16}}
namespaces:
  a: {networks: [lab0], run: exec sleep 1000}
  b: {networks: [lab0]}
"""
MANY = LAB.replace("b: {", "b: {count: 100, ")
IMPOSSIBLE = LAB.replace("b: {", "b: {sysctls: {net.ipv4.ip_default_ttl: 999}, ")
SAME_NAME = LAB.replace("lab0", "docker0")
shared_or_isolated = pytest.mark.parametrize("option", ["", "--isolated"], ids=["shared", "isolated"])


@pytest.fixture(scope="module")
def beside() -> Iterator[Machine]:
    with docker_machine() as machine:
        answered(machine)
        yield machine


@pytest.fixture
def machine(beside: Machine) -> Iterator[Machine]:
    """The machine with Docker; after each test, with no lab any more, all is as before, and answers."""
    beside.settle()
    yield beside
    beside.prove_clean()
    answered(beside)


def missed(machine: Machine) -> list[str]:
    """All that went since Docker settled, and all that came to what is Docker's."""
    found = (change.partition(": ") for change in changes(machine.before, machine.snapshot()))
    return [f"{what}: {line}" for what, _, line in found if line.startswith("-") or what.startswith(DOCKERS)]


def test_the_names_and_subnets_of_docker_are_refused(machine: Machine) -> None:
    with machine.untouched():
        for verb in ("up", "plan"):
            done = machine.run(f"labctl {verb} two-containers")
            assert done.status == 2
            assert "172.17.0.0/16 overlaps 172.17.0.0/16, which this machine reaches through docker0" in done.stderr
            assert done.stderr.endswith("; 172.19.0.0/16 is free\n")
            done = machine.run(f"labctl {verb} {machine.topology('lab', SAME_NAME)}")
            assert done.status == 1
            assert "an interface docker0 is already on this machine and is not of the lab lab" in done.stderr


def test_looking_touches_nothing(machine: Machine) -> None:
    file = machine.topology("lab", LAB)
    with machine.untouched():
        assert "docker" in machine.run("labctl doctor").stdout.lower()
        for verb in (f"plan {file}", f"plan --isolated {file}", f"validate {file}", "ps", "down --all"):
            machine.ok(f"labctl {verb}")


def lives(machine: Machine, file: str, option: str, node: str, gateway: str) -> None:
    """Up, at work, up again and down: Docker notices nothing."""
    machine.up(file, option)
    assert "1 received" in machine.inside(node, f"ping -c 1 -W 5 {gateway}")
    assert missed(machine) == []
    answered(machine)
    assert "already as the file says" in machine.ok(f"labctl up {file} 2>&1")
    assert missed(machine) == []
    machine.ok("labctl down")


def test_a_lab_with_other_names(machine: Machine) -> None:
    lives(machine, machine.topology("lab", LAB), "", "a", "172.19.0.1")


def test_an_isolated_lab_with_dockers_names(machine: Machine) -> None:
    lives(machine, "two-containers", "--isolated", "container1", "172.17.0.1")


def test_a_rootless_lab_with_dockers_names() -> None:
    with docker_machine() as machine:
        lives(machine, "two-containers", "rootless", "container1", "172.17.0.1")
        machine.prove_clean()


def test_down_all(machine: Machine) -> None:
    machine.up(machine.topology("lab", LAB))
    machine.up("two-containers", "--isolated")
    assert missed(machine) == []
    machine.ok("labctl down --all")


@shared_or_isolated
def test_an_up_that_fails(machine: Machine, option: str) -> None:
    with machine.untouched():
        done = machine.run(f"labctl up {machine.topology('lab', IMPOSSIBLE)} {option}")
        assert done.status == 1
        assert "The lab lab was removed again; nothing is left of it." in done.stderr


@shared_or_isolated
def test_an_up_that_is_killed_half_way(machine: Machine, option: str) -> None:
    running = machine.start(f"exec labctl up {machine.topology('lab', MANY)} {option}")
    made = machine.path("/run/labctl/lab/netns/b-20" if option else "/sys/class/net/lab0")
    while not made.exists():
        assert running.poll() is None, running.communicate()
    os.killpg(running.pid, signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    assert missed(machine) == []
    answered(machine)
    machine.ok("labctl down")


@shared_or_isolated
def test_docker_goes_on_while_a_lab_is_up(machine: Machine, option: str) -> None:
    """What Docker starts and removes meanwhile is neither in the way of a lab nor of its end."""
    file = machine.topology("lab", LAB)
    machine.up(file, option)
    machine.ok(f"docker run --detach --name brief --publish 8082:80 {SERVER}")
    machine.ok(f"docker network create late && docker run --detach --name late --network late -p 8083:80 {SERVER}")
    answered(machine, 8082, 8083)
    assert machine.run(f"labctl plan {file} --exit-code").status == 0
    machine.ok("docker rm --force brief")
    assert "1 received" in machine.inside("a", "ping -c 1 -W 5 172.19.0.1")
    machine.ok("labctl down")
    answered(machine, 8083)
    machine.ok("docker rm --force late && docker network rm late")
    # Docker sweeps once a minute; what it has unmounted can go.
    machine.ok("cd /run/docker/netns && for each in *; do mountpoint -q $each || rm $each; done")
