"""Default routes, and networks that come and go: after network_linux_test.go and docker_cli_network_unix_test.go."""

from __future__ import annotations

import pytest

from kernel.lan import asked, connect
from kernel.machine import Machine
from kernel.moby.labs import VERSIONS, addresses, default_route, end, pings, read, up

NETWORKS = """
bridges:
  nine: {subnet: [10.9.0.0/24, "fd00:9::/64"]}
  four: {subnet: 10.4.0.0/24}
  best: {subnet: [10.5.0.0/24, "fd00:5::/64"]}
  deep: {subnet: [10.6.0.0/24, "fd00:6::/64"], internal: true}
namespaces:
  a: {PORTS, networks: {}}
  z: {networks: [nine, four, best, deep]}
"""


def lab(machine: Machine, networks: str, more: str = "") -> None:
    text = NETWORKS.replace("a: {PORTS, ", f"a: {{{more}")
    up(machine, text.replace("networks: {}", f"networks: {networks}"))


def routes(machine: Machine) -> list[str]:
    return [default_route(machine, "a", version) for version in VERSIONS]


def routes_of(machine: Machine, node: str) -> int:
    """How many routes the main table has, IPv4."""
    return len(machine.inside(node, "ip -4 route").splitlines())


@pytest.mark.parametrize(
    ("networks", "gateways"),
    [
        ("[nine, best]", ["10.5.0.1", "fd00:5::1"]),  # the first by name
        ("[four, nine]", ["10.9.0.1", "fd00:9::1"]),  # both families before one
        ("{four: {gw_priority: 1}, nine: {}}", ["10.4.0.1", "fd00:9::1"]),  # each family its own
        ("{best: {gw_priority: -1}, nine: {}}", ["10.9.0.1", "fd00:9::1"]),
        ("{nine: {gw_priority: 2}, best: {gw_priority: 1}, four: {}}", ["10.9.0.1", "fd00:9::1"]),
        ("{deep: {gw_priority: 9}, four: {}}", ["10.4.0.1", ""]),  # an internal one has no gateway to offer
        ("[deep]", ["", ""]),
    ],
)
def test_create_with_priority(machine: Machine, networks: str, gateways: list[str]) -> None:
    """TestCreateWithPriority: one default route of each family, by priority, families and name."""
    lab(machine, networks)
    assert routes(machine) == gateways


def test_connect_with_priority(machine: Machine) -> None:
    """TestConnectWithPriority: the default route after each network that comes or goes, and the number of routes."""
    lab(machine, "[nine]")
    assert (routes(machine), routes_of(machine, "a")) == (["10.9.0.1", "fd00:9::1"], 2)
    steps = [
        ("connect a best", ["10.5.0.1", "fd00:5::1"], 3),
        ("connect a four --gw-priority 5", ["10.4.0.1", "fd00:5::1"], 4),
        ("connect a deep --gw-priority 9", ["10.4.0.1", "fd00:5::1"], 5),
        ("disconnect a best", ["10.4.0.1", "fd00:9::1"], 4),
        ("disconnect a four", ["10.9.0.1", "fd00:9::1"], 3),
        ("disconnect a nine", ["", ""], 1),
    ]
    for step, gateways, count in steps:
        machine.ok(f"labctl {step}")
        assert (step, routes(machine), routes_of(machine, "a")) == (step, gateways, count)


def test_gateway_selection(machine: Machine) -> None:
    """TestGatewaySelection: published ports lead to the address with the default route, whichever that is now."""
    connect(machine)
    nodes = 'a: {SERVER, networks: [nine], ports: ["8080:80"]}'
    up(machine, NETWORKS.replace("a: {PORTS, networks: {}}", nodes))
    four, six = end("192.0.2.1", 8080), end("2001:db8::1", 8080)
    assert asked(machine, "client", four, six) == {four: "a 192.0.2.2", six: "a 2001:db8::2"}
    assert "10.9.0.2" in machine.ok("labctl show rules")
    machine.ok("labctl connect a four --gw-priority 1")
    assert asked(machine, "client", four, six) == {four: "a 192.0.2.2", six: "a 2001:db8::2"}
    assert "80/tcp -> 0.0.0.0:8080" in machine.ok("labctl show ports")
    rules = machine.ok("labctl show rules")
    assert ("10.4.0.3 . 80" in rules, "10.9.0.2 . 80" in rules) == (True, False)
    machine.ok("labctl disconnect a nine")
    assert asked(machine, "client", four, six) == {four: "a 192.0.2.2", six: "a 10.4.0.1"}  # IPv6 by the proxy
    assert machine.run("labctl disconnect a four").status == 2  # Docker forgets the port, which would lead nowhere


def test_connect_and_disconnect(machine: Machine) -> None:
    """TestDockerNetworkConnectDisconnect: the interface comes and goes with its addresses; others' are untouched."""
    lab(machine, "[nine]")
    before = machine.inside("z", "ip address")
    machine.ok("labctl connect a best")
    assert {"10.5.0.3", "fd00:5::3"} & set(addresses(machine, "a", "eth1")) or "10.5.0.2" in addresses(
        machine, "a", "eth1"
    )
    assert pings(machine, "a", "-4 z")
    machine.ok("labctl disconnect a best")
    assert "eth1" not in machine.inside("a", "ip link")
    assert machine.inside("z", "ip address") == before


def test_connect_with_an_address(machine: Machine) -> None:
    """TestDockerNetworkConnectPreferredIP: --ip, --ip6; a taken one, and one outside, is refused."""
    lab(machine, "[nine]")
    machine.ok("labctl connect a best --ip 10.5.0.77 --ip6 fd00:5::77 --interface lan0")
    found = addresses(machine, "a", "lan0")
    assert {"10.5.0.77", "fd00:5::77"} <= set(found)
    machine.ok("labctl disconnect a best")
    for wrong in ("10.5.0.1", "10.9.0.77"):
        done = machine.run(f"labctl connect a best --ip {wrong}")
        assert done.status == 2
        assert wrong in done.stderr
    assert "eth1" not in machine.inside("a", "ip link")


def test_connect_with_an_alias(machine: Machine) -> None:
    """TestUserDefinedNetworkConnectDisconnectAlias: the alias is known on its network while it lasts."""
    lab(machine, "[nine]")
    assert not pings(machine, "z", "-4 -I eth1 nick")
    machine.ok("labctl connect a four --alias nick")
    assert "nick" in read(machine, "z", "/etc/hosts")
    assert pings(machine, "z", "-4 nick")
    machine.ok("labctl disconnect a four")
    assert "nick" not in read(machine, "z", "/etc/hosts")


def test_connect_to_what_is_not_there(machine: Machine) -> None:
    """TestDockerNetworkConnectFailsNoInspectChange: a connect that fails changes nothing."""
    lab(machine, "[nine]")
    before = machine.inside("a", "ip address")
    for wrong in ("connect a none-such", "connect nobody nine", "connect a nine", "disconnect a four"):
        assert machine.run(f"labctl {wrong}").status == 2
    assert machine.inside("a", "ip address") == before


def test_disconnect_in_the_hosts_file(machine: Machine) -> None:
    """TestEtcHostsDisconnect: only the lines of the network that is left disappear."""
    lab(machine, "[nine, best]")
    before = read(machine, "a", "/etc/hosts").splitlines()
    machine.ok("labctl disconnect a best")
    gone = [line for line in before if line not in read(machine, "a", "/etc/hosts").splitlines()]
    assert {line.split()[0].rstrip("0123456789") for line in gone} == {"10.5.0.", "fd00:5::"}


def test_host_network_cannot_be_connected(machine: Machine) -> None:
    """TestDockerNetworkConnectToHostFromOtherNetwork, TestDockerNetworkDisconnectFromHost."""
    up(machine, NETWORKS.replace("a: {PORTS, networks: {}}", "a: {network_mode: host}"))
    assert machine.run("labctl connect a nine").status == 2


def test_shared_network_cannot_be_connected(machine: Machine) -> None:
    """TestRunModeNetContainerHostname, `--network container:`: it has the other one's interfaces alone."""
    up(machine, NETWORKS.replace("a: {PORTS, networks: {}}", "a: {SERVER, network_mode: 'namespace:z'}"))
    assert machine.run("labctl connect a nine").status == 2
    assert machine.inside("a", "ip address") == machine.inside("z", "ip address")
    assert asked(machine, "z", end("127.0.0.1")) == {end("127.0.0.1"): "a 127.0.0.1"}
