"""A provisioned machine of one's own, as after `vagrant up`: labctl on root's PATH, the lab on the machine itself."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

pytestmark = [
    pytest.mark.vm,
    pytest.mark.xdist_group("machine"),  # there is only one
    pytest.mark.skipif("LABCTL_VM" not in os.environ, reason="changes the machine it runs on: make test-vm"),
]

# What sudo gives on Debian.
ROOT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/root"}


def run(command: str) -> str:
    done = subprocess.run(command.split(), env=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, f"{command}: {done.stdout}"
    return done.stdout


def machine() -> dict[str, str]:
    looks = (
        "ip -brief link",
        "ip -brief address",
        "ip route",
        "ip netns list",
        "nft list ruleset",
        "sysctl net.ipv4.ip_forward",
    )
    return {look: run(look) for look in looks}


@pytest.fixture(scope="module", autouse=True)
def lab() -> Iterator[None]:
    before = machine()
    run("labctl up two-containers.yaml")
    yield
    run("labctl down")
    assert machine() == before


@pytest.mark.parametrize(
    ("command", "shows"),
    [
        ("ip -brief address show docker0", "172.17.0.1/16"),
        ("brctl show docker0", "veth"),
        ("ip netns exec container1 ip route", "default via 172.17.0.1 dev eth0"),
        ("labctl exec container1 -- traceroute -n 172.17.0.3", " 1  172.17.0.3"),
        ("labctl exec container1 -- curl -sS --retry 5 --retry-connrefused 172.17.0.3", "It works!"),
        ("curl -sS --retry 5 --retry-connrefused 172.17.0.2", "It works!"),
    ],
)
def test_article_can_be_followed(command: str, shows: str) -> None:
    assert shows in run(command)
