"""Published ports, from every side: the host, its LAN, the same bridge, another bridge, the node itself."""

from __future__ import annotations

import pytest

from kernel.lan import BRIDGE_NF, Answers, asked, both, bridge_nf, connect, ready, serve, server
from kernel.machine import Machine

SHOP = """
name: shop
bridges:
  front: {subnet: [10.1.0.0/24, "fd00:1::/64"]}
  back: {subnet: 10.2.0.0/24}
namespaces:
  web:
    networks: [front]
    ports: ["8080:80", "8080:80/udp", "127.0.0.1:8081:80", "[::1]:8081:80", "10.2.0.1:8082:80"]
    environment: {NODE: web}
    run: WEB
  peer: {networks: [front]}
  four:
    networks: [back]
    ports: ["8090:80", "8090:80/udp"]
    environment: {NODE: four}
    run: FOUR
"""


@pytest.fixture(params=[False, True], ids=["", "bridge-nf"])
def shop(request: pytest.FixtureRequest, machine: Machine) -> Machine:
    if not bridge_nf(machine, request.param) and request.param:
        pytest.skip("this kernel has no br_netfilter")
    connect(machine, 7000)
    machine.up(shop_file(machine))
    opened(machine)
    return machine


def shop_file(machine: Machine) -> str:
    return machine.topology("shop", SHOP.replace("WEB", server(machine, 80, 81)).replace("FOUR", server(machine, 80)))


def opened(machine: Machine) -> None:
    for node in ("web", "four"):
        ready(machine, node, 80)


def expect(machine: Machine, where: str, wanted: Answers) -> None:
    assert asked(machine, where, *wanted) == wanted


def told(answer: str, *ends: str) -> Answers:
    return dict.fromkeys(both(*ends), answer)


def test_from_the_host(shop: Machine) -> None:
    expect(
        shop,
        "",
        told("web 10.1.0.1", "127.0.0.1:8080", "10.1.0.1:8080", "10.2.0.1:8080")
        | told("web 192.0.2.1", "192.0.2.1:8080")
        | told("web fd00:1::1", "[::1]:8080", "[fd00:1::1]:8080")
        | told("web 2001:db8::1", "[2001:db8::1]:8080")
        | told("four 10.2.0.1", "127.0.0.1:8090", "[::1]:8090", "[2001:db8::1]:8090")
        | {"tcp:127.0.0.1:8081": "web 10.1.0.1", "tcp:[::1]:8081": "web fd00:1::1", "tcp:192.0.2.1:8081": "refused"}
        | {"tcp:10.2.0.1:8082": "web 10.1.0.1", "tcp:192.0.2.1:8082": "refused", "tcp:127.0.0.1:8082": "refused"}
        | {"tcp:127.0.0.1:80": "refused", "tcp:10.1.0.2:81": "web 10.1.0.1"},
    )


def test_from_the_lan(shop: Machine) -> None:
    expect(
        shop,
        "client",
        told("web 192.0.2.2", "192.0.2.1:8080", "10.1.0.1:8080", "10.2.0.1:8080")
        | told("web 2001:db8::2", "[2001:db8::1]:8080", "[fd00:1::1]:8080")
        | told("four 192.0.2.2", "192.0.2.1:8090")
        | told("four 10.2.0.1", "[2001:db8::1]:8090")
        | {"tcp:192.0.2.1:8081": "refused", "tcp:[2001:db8::1]:8081": "refused", "tcp:10.2.0.1:8082": "web 192.0.2.2"}
        # the nodes' own addresses
        | told("silence", "10.1.0.2:80", "10.1.0.2:81", "[fd00:1::2]:80", "10.2.0.2:80"),
    )


def test_from_the_same_bridge_and_from_the_node_itself(shop: Machine) -> None:
    for node in ("peer", "web"):
        expect(
            shop,
            node,
            told("web 10.1.0.1", "192.0.2.1:8080", "10.1.0.1:8080", "10.2.0.1:8080")
            | told("web fd00:1::1", "[2001:db8::1]:8080", "[fd00:1::1]:8080"),
        )
    peer = "web 10.1.0.3", "web fd00:1::3"
    expect(shop, "peer", told(peer[0], "10.1.0.2:80") | told(peer[1], "[fd00:1::2]:80"))


def test_from_another_bridge(shop: Machine) -> None:
    """By the host's addresses, as in Docker 29; not by the node's own."""
    expect(
        shop,
        "four",
        told("web 10.1.0.1", "192.0.2.1:8080", "10.1.0.1:8080", "10.2.0.1:8080")
        | {"tcp:10.1.0.2:80": "silence", "tcp:10.1.0.2:81": "silence", "tcp:10.1.0.1:8081": "refused"},
    )
    expect(shop, "web", told("four 10.2.0.1", "192.0.2.1:8090") | told("silence", "10.2.0.2:80"))


def test_the_loopback_of_the_host_is_not_for_nodes_nor_for_the_lan(shop: Machine) -> None:
    """route_localnet is on for the bridge, so that the host's loopback reaches the ports: the rules must guard it."""
    assert shop.ok("cat /proc/sys/net/ipv4/conf/front/route_localnet") == "1\n"
    serve(shop, "", 7001)
    for node, address, dev in (("web", "10.1.0.1", "eth0"), ("client", "192.0.2.1", "eth0")):
        inside = f"ip netns exec {node}"
        shop.ok(f"{inside} ip route add 127.0.0.0/8 via {address} dev {dev} table 7")
        shop.ok(f"{inside} ip rule add to 127.0.0.0/8 pref 0 table 7 && {inside} ip rule del table local")
        shop.ok(f"{inside} ip rule add pref 1 table local")
        shop.ok(f"{inside} sysctl -qw net.ipv4.conf.all.route_localnet=1")
        found = asked(shop, "client" if node == "client" else node, "tcp:127.0.0.1:7001", "tcp:127.0.0.1:8081")
        assert set(found.values()) == {"silence"}
    shop.ok("sysctl -qw net.ipv4.conf.lan.route_localnet=1")  # as kube-proxy does for all
    assert asked(shop, "client", "tcp:127.0.0.1:8081") == {"tcp:127.0.0.1:8081": "silence"}
    shop.ok("sysctl -qw net.ipv4.conf.lan.route_localnet=0")
    shop.ok("ip netns exec client ip rule del pref 0 table 7; ip netns exec client ip route flush table 7")
    shop.ok("ip netns exec client sysctl -qw net.ipv4.conf.all.route_localnet=0")
    shop.ok("ip netns exec client ip rule del pref 1; ip netns exec client ip rule add pref 0 table local")
    shop.ok("kill $(ss -Hltnp sport = 7001 | grep -o 'pid=[0-9]*' | cut -d= -f2)")


def test_out_under_the_hosts_address(shop: Machine) -> None:
    expect(shop, "web", told("client 192.0.2.1", "192.0.2.2:7000") | told("client 2001:db8::1", "[2001:db8::2]:7000"))


def test_show_ports(shop: Machine) -> None:
    screen = shop.ok("labctl show ports")
    assert "  four  80/tcp -> 0.0.0.0:8090    NAT" in screen
    assert "        80/tcp -> [::]:8090       proxy" in screen
    assert "Published ports" in shop.ok("labctl show")


@pytest.mark.parametrize("option", ["--isolated", "rootless"])
def test_in_a_host_of_its_own(machine: Machine, option: str) -> None:
    if option == "rootless":
        machine.become_user()
        option = ""
    machine.ok(f"labctl up {shop_file(machine)} {option}")
    opened(machine)
    expect(
        machine,
        "host",
        told("web 10.1.0.1", "127.0.0.1:8080", "10.1.0.1:8080")
        | told("web fd00:1::1", "[::1]:8080", "[fd00:1::1]:8080")
        | told("four 10.2.0.1", "127.0.0.1:8090", "[::1]:8090"),
    )
    for node in ("peer", "web"):
        expect(machine, node, told("web 10.1.0.1", "10.1.0.1:8080") | told("web fd00:1::1", "[fd00:1::1]:8080"))
    for name in BRIDGE_NF:  # where a kernel has it, a host of the lab's own has it off
        assert machine.run(f"labctl exec host -- sysctl -n {name}").stdout in ("0\n", "")
