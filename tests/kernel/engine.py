"""A private machine with a real Docker engine at work: all that Docker has is part of the machine's snapshot.

client 192.0.2.2 ── 192.0.2.1 machine ─┬─ docker0 172.17.0.1 ─┬─ web 172.17.0.2, published as 8080
                                       │                      └─ quiet 172.17.0.3
                                       └─ br-… 172.18.0.1 ────── shop 172.18.0.2, published as 8081
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks import docker
from kernel import lan
from kernel.machine import SCRATCH, Machine, wait_until

PARENT = "labctl-test-"  # what the names of the daemons' control groups begin with
MISSING = "no Docker engine here: `make docker` unpacks Debian's docker.io into .cache"
UNABLE = "failed to start daemon: "  # dockerd about a kernel, or a machine, that lacks something
SERVER = f"{docker.IMAGE} /bin/busybox httpd -f -h /www"

# The machine's new /sys hides the control groups, so they are taken from the one below.
CGROUPS = f"""
umount /sys && mkdir {SCRATCH}/cgroup && mount --rbind /sys/fs/cgroup {SCRATCH}/cgroup
mount -t sysfs sysfs /sys && mount --move {SCRATCH}/cgroup /sys/fs/cgroup
{docker.OPT}
"""
CONTAINERS = f"""
docker run --detach --name web --publish 8080:80 {SERVER}
docker run --detach --name quiet {SERVER}
docker network create shopping
docker run --detach --name shop --network shopping --publish 8081:80 {SERVER}
"""
# What a snapshot has besides: Docker's own word, the rules as Docker writes them, and the containers' insides.
LOOKS = """
what sh -c 'docker inspect $(docker ps --all --quiet)'
what sh -c 'docker network inspect $(docker network ls --quiet)'
what sh -c 'for each in /run/docker/netns/*; do nsenter --net=$each sh -c "ip -oneline address; ip route"; done'
what iptables-save
"""
DOCKERS = ("sh", "iptables-save")  # what a snapshot has of these is Docker's alone
PAGES = """
inside() { name=$1; shift; nsenter --net="$(docker inspect --format '{{.NetworkSettings.SandboxKey}}' $name)" "$@"; }
get="curl --fail --silent --show-error --max-time 5"
$get http://127.0.0.1:8080 http://172.17.0.3
ip netns exec client $get http://192.0.2.1:8080 http://192.0.2.1:8081 MORE
inside web $get http://172.17.0.3 http://192.0.2.2
inside shop $get http://192.0.2.2
"""


@contextmanager
def engine_machine(ground: str, options: str = "") -> Iterator[Machine]:
    """A machine with a Docker engine and no container. Skips the test where it cannot run; leaves no control group.

    `ground` is a script that runs before the daemon starts, `options` are more of the daemon's.
    """
    if os.geteuid() != 0:
        pytest.skip("a Docker engine needs root")
    if not (engine := docker.find()):
        pytest.skip(MISSING)
    machine = Machine()
    try:
        with machine:
            machine.ok(f"set -e{CGROUPS}\n{ground}")
            _start(machine, engine, options)
            yield machine
    finally:
        wait_until(lambda: docker.forget(PARENT, machine.pid))


def _start(machine: Machine, engine: docker.Engine, options: str) -> None:
    docker.image(engine, machine.path(SCRATCH))
    socket = Path(SCRATCH, "docker.sock")
    variables = engine.environment() | {"DOCKER_HOST": f"unix://{socket}"}
    environment = " ".join(f"{name}={value}" for name, value in variables.items())
    for name in ("docker", "iptables-save"):
        machine.write(name, f'#!/bin/sh\nexec env {environment} {name} "$@"\n').chmod(0o755)
    machine.path(f"{SCRATCH}/busybox").symlink_to(engine.busybox)
    words = [*engine.command(socket, f"{PARENT}{machine.pid}"), "--data-root", f"{SCRATCH}/data", options]
    daemon = machine.start(f"exec env {environment} {' '.join(words)} >{SCRATCH}/dockerd.log 2>&1")
    wait_until(lambda: daemon.poll() is not None or machine.run("docker version").status == 0)
    if daemon.poll() is not None:
        reason = machine.path(f"{SCRATCH}/dockerd.log").read_text().strip().rpartition("\n")[2]
        assert reason.startswith(UNABLE), reason
        pytest.skip(f"no Docker engine runs here: {reason.removeprefix(UNABLE)}")
    machine.ok(f"docker import {SCRATCH}/image.tar {docker.IMAGE}")


@contextmanager
def docker_machine() -> Iterator[Machine]:
    """The machine of the picture."""
    with engine_machine(lan.SETUP) as machine:
        machine.ok(f"set -e{CONTAINERS}")
        machine.start(f"exec ip netns exec client busybox httpd -f -h {SCRATCH}")
        wait_until(lambda: machine.run("ip netns exec client curl -sf http://127.0.0.1/").status == 0)
        machine.looks = LOOKS
        machine.settle()
        yield machine


def answered(machine: Machine, *ports: int) -> None:
    """Each container is reached, and reaches, as Docker promised; `ports` are more that are published."""
    more = " ".join(f"http://192.0.2.1:{port}" for port in ports)
    assert machine.ok(f"set -e{PAGES.replace('MORE', more)}") == docker.PAGE * (7 + len(ports))
