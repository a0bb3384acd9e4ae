"""Who reaches whom on bridges, and which addresses there are: after integration/networking/bridge_linux_test.go."""

from __future__ import annotations

import pytest

from kernel.lan import asked, connect
from kernel.machine import Machine
from kernel.moby.labs import VERSIONS, address, addresses, default_route, end, ping, pings, up

TWO = """
bridges:
  one: {subnet: [10.1.0.0/24, "fd00:1::/64"], KEYS}
  two: {subnet: [10.2.0.0/24, "fd00:2::/64"], KEYS}
namespaces:
  a: {networks: [one]}
  b: {SERVER, networks: [one]}
  c: {SERVER, networks: [two]}
"""
MODE = """
bridges:
  one: {subnet: [10.1.0.0/24, "fd00:1::/64"]}
  two: {subnet: [10.2.0.0/24, "fd00:2::/64"], gateway_mode: MODE}
namespaces:
  a: {networks: [one]}
  b: {SERVER, networks: [two], ports: ["8080:80"]}
  c: {SERVER, networks: [two]}
"""
ordinary_or_internal = pytest.mark.parametrize("keys", ["internal: false", "internal: true"], ids=["", "internal"])
each_version = pytest.mark.parametrize("version", VERSIONS, ids=["IPv4", "IPv6"])


@ordinary_or_internal
def test_bridge_icc(machine: Machine, keys: str) -> None:
    """TestBridgeICC: by name, by address and by the address that the kernel makes of the MAC."""
    up(machine, TWO.replace("KEYS", keys))
    local = next(each for each, scope in addresses(machine, "b").items() if scope == "link")
    for target in ("-4 b", "-6 b", "10.1.0.3", "fd00:1::3", f"{local}%eth0"):
        assert pings(machine, "a", target), target
    assert asked(machine, "a", "tcp:10.1.0.3:80", "tcp:[fd00:1::3]:80") == {
        "tcp:10.1.0.3:80": "b 10.1.0.2",
        "tcp:[fd00:1::3]:80": "b fd00:1::2",
    }


@each_version
def test_no_icc_across_bridges(machine: Machine, version: int) -> None:
    """TestBridgeINC: nothing comes back from another bridge."""
    up(machine, TWO.replace("KEYS", "mtu: 1500"))
    assert "100% packet loss" in ping(machine, "a", address(version, 2, 2)).stdout
    assert asked(machine, "a", end(address(version, 2, 2))) == {end(address(version, 2, 2)): "silence"}


@each_version
def test_no_icc_across_internal_bridges(machine: Machine, version: int) -> None:
    """TestBridgeINC: from an internal one there is no way."""
    up(machine, TWO.replace("KEYS", "internal: true"))
    done = ping(machine, "a", address(version, 2, 2))
    assert "Network is unreachable" in done.stdout + done.stderr


@each_version
def test_routed_and_nat(machine: Machine, version: int) -> None:
    """TestBridgeINCRouted: into a routed network come pings and what asks for a published port; out of it, nothing."""
    up(machine, MODE.replace("MODE", "routed"))
    routed, nat = address(version, 2, 2), address(version, 1, 2)
    assert pings(machine, "a", routed)
    assert pings(machine, "a", address(version, 2, 3))
    open_, closed, none = end(routed), end(routed, 81), end(address(version, 2, 3))
    answers = asked(machine, "a", open_, closed, none)
    assert answers == {open_: f"b {nat}", closed: "silence", none: "silence"} or answers[open_].startswith("b ")
    assert answers[closed] == answers[none] == "silence"
    assert not pings(machine, "b", nat)


@each_version
@pytest.mark.parametrize(
    ("mode", "published", "other"), [("nat", False, False), ("routed", True, False), ("nat-unprotected", True, True)]
)
def test_inter_network_direct_routing(machine: Machine, version: int, mode: str, published: bool, other: bool) -> None:
    """TestInterNetworkDirectRouting: by a container's own address, from another network."""
    up(machine, MODE.replace("MODE", mode))
    b, c = end(address(version, 2, 2)), end(address(version, 2, 3))
    answers = asked(machine, "a", b, c)
    assert (answers[b] != "silence", answers[c] != "silence") == (published, other)


@each_version
def test_internal_connectivity(machine: Machine, version: int) -> None:
    """TestInternalNwConnectivity: the bridge is reached, and the host reaches the container; the LAN is unreachable."""
    connect(machine)
    up(machine, TWO.replace("KEYS", "internal: true"))
    assert pings(machine, "a", address(version, 1, 1))
    assert pings(machine, "", address(version, 1, 2))
    done = ping(machine, "a", {4: "192.0.2.2", 6: "2001:db8::2"}[version])
    assert "Network is unreachable" in done.stdout + done.stderr


@each_version
def test_internal_with_a_default_route_by_hand(machine: Machine, version: int) -> None:
    """TestInternalNwConnectivity: root in the container does not get further either."""
    connect(machine)
    up(machine, TWO.replace("KEYS", "internal: true"))
    machine.inside("a", f"ip -{version} route add default via {address(version, 1, 1)}")
    assert not pings(machine, "a", {4: "192.0.2.2", 6: "2001:db8::2"}[version])
    assert not pings(machine, "a", address(version, 2, 2))


@pytest.mark.parametrize("subnet", ["fd00:9::/64", "2001:db8:9::/64"])
def test_default_bridge_ipv6(machine: Machine, subnet: str) -> None:
    """TestDefaultBridgeIPv6: containers on docker0 find one another and the host by IPv6."""
    nodes = "namespaces: {a: {networks: [docker0]}, b: {networks: [docker0]}}"
    up(machine, f'bridges: {{docker0: {{subnet: [172.17.0.0/16, "{subnet}"]}}}}\n{nodes}')
    prefix = subnet.removesuffix("/64")
    assert pings(machine, "a", f"{prefix}3")
    assert pings(machine, "a", f"{prefix}1")
    assert pings(machine, "", f"{prefix}2")


def test_default_bridge_addresses(machine: Machine) -> None:
    """TestDefaultBridgeAddresses: another IPv6 subnet in the file is the bridge's; its link-local address stays."""
    text = 'bridges: {docker0: {subnet: [172.17.0.0/16, "SUBNET"]}}\nnamespaces: {a: {networks: [docker0]}}'
    up(machine, text.replace("SUBNET", "fd00:8::/64"))
    before = addresses(machine, "host", "docker0")
    up(machine, text.replace("SUBNET", "fd00:9::/56"))
    after = addresses(machine, "host", "docker0")
    assert set(before) - set(after) == {"fd00:8::1"}
    assert set(after) - set(before) == {"fd00:9::1"}
    assert "link" in after.values()
    assert pings(machine, "a", "fd00:9::1")


def test_disable_ipv4(machine: Machine) -> None:
    """TestDisableIPv4: a network of IPv6 alone."""
    connect(machine)
    up(
        machine,
        'bridges: {six: {subnet: "fd00:1::/64"}}\nnamespaces: {a: {networks: [six]}, b: {SERVER, networks: [six]}}',
    )
    assert {"." in each for each in addresses(machine, "a")} == {False}
    assert default_route(machine, "a", 4) == ""
    assert pings(machine, "a", "b")
    assert pings(machine, "a", "2001:db8::2")


def test_non_ipv6_network(machine: Machine) -> None:
    """TestNonIPv6Network: no IPv6 address on the interface of a network without it."""
    up(machine, "bridges: {four: {subnet: 10.1.0.0/24}}\nnamespaces: {a: {networks: [four]}}")
    assert machine.inside("a", "ip -6 address show dev eth0") == ""
    assert machine.inside("a", "cat /proc/sys/net/ipv6/conf/eth0/disable_ipv6") == "1\n"


def test_disable_ipv6_on_interface(machine: Machine) -> None:
    """TestDisableIPv6OnInterface: a setting of one interface has its way; the other keeps IPv6."""
    nodes = "namespaces: {a: {networks: [one, two], sysctls: {net.ipv6.conf.eth0.disable_ipv6: 1}}}"
    up(machine, TWO.partition("namespaces")[0].replace("KEYS", "mtu: 1500") + nodes)
    assert machine.inside("a", "ip -6 address show dev eth0") == ""
    assert "fd00:2::2" in addresses(machine, "a", "eth1")


def test_set_interface_sysctl(machine: Machine) -> None:
    """TestSetInterfaceSysctl, TestSetEndpointSysctl: each interface has its own setting."""
    settings = "{net.ipv4.conf.eth0.log_martians: 1, net.ipv4.conf.eth1.forwarding: 1}"
    nodes = f"namespaces: {{a: {{networks: [one, two], sysctls: {settings}}}}}"
    up(machine, TWO.partition("namespaces")[0].replace("KEYS", "mtu: 1500") + nodes)
    files = [f"/proc/sys/net/ipv4/conf/eth{n}/{key}" for key in ("log_martians", "forwarding") for n in (0, 1)]
    assert machine.inside("a", f"cat {' '.join(files)}").split() == ["1", "0", "0", "1"]


def test_point_to_point(machine: Machine) -> None:
    """TestPointToPoint: two containers on a subnet of two addresses, on a bridge that takes none."""
    bridge = "bridges: {wire: {subnet: 10.9.0.0/31, gateway_mode: isolated, internal: true}}"
    up(machine, f"{bridge}\nnamespaces: {{a: {{networks: [wire]}}, b: {{networks: [wire]}}}}")
    assert addresses(machine, "host", "wire") == {}
    assert pings(machine, "a", "b")
    assert pings(machine, "b", "10.9.0.0")


def test_isolated(machine: Machine) -> None:
    """TestIsolated: a bridge without any address; the containers reach one another and nobody else."""
    up(machine, TWO.replace("KEYS", "internal: true, gateway_mode: isolated"))
    assert addresses(machine, "host", "one") == {}
    for version in VERSIONS:
        assert pings(machine, "a", f"-{version} b")
        assert default_route(machine, "a", version) == ""
    assert machine.ok("ip -json -6 address show dev one scope link").strip() in ("", "[]", "[{}]")


def test_endpoint_with_custom_ifname(machine: Machine) -> None:
    """TestEndpointWithCustomIfname: the interface has the name that it is given, and no other."""
    bridge = "bridges: {one: {subnet: 10.1.0.0/24}}"
    up(machine, f"{bridge}\nnamespaces: {{a: {{networks: {{one: {{interface: foobar}}}}}}}}")
    names = [line.split()[1] for line in machine.inside("a", "ip -oneline link").splitlines()]
    assert names[0] == "lo:"
    assert [name.partition("@")[0] for name in names[1:]] == ["foobar"]


def test_icc_off(machine: Machine) -> None:
    """TestBridgeICC's counterpart, `enable_icc=false`: the containers see the host and not one another."""
    up(machine, TWO.replace("KEYS", "icc: false"))
    for version in VERSIONS:
        assert not pings(machine, "a", address(version, 1, 3))
        assert pings(machine, "a", address(version, 1, 1))
        assert pings(machine, "", address(version, 1, 3))


def test_no_router_is_accepted_by_a_bridge(machine: Machine) -> None:
    """What setup_device_linux.go writes for every bridge: a container is no router of the host's."""
    bridges = 'bridges: {one: {subnet: 10.1.0.0/24}, two: {subnet: "fd00:2::/64"}}'
    up(machine, f"{bridges}\nnamespaces: {{a: {{networks: [one, two]}}}}")
    assert machine.ok("cat /proc/sys/net/ipv6/conf/one/accept_ra /proc/sys/net/ipv6/conf/two/accept_ra") == "0\n0\n"
