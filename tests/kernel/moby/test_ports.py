"""Published ports, and containers' own addresses: after integration/networking/port_mapping_linux_test.go."""

from __future__ import annotations

import pytest

from kernel.lan import asked, connect, ready, serve
from kernel.machine import Machine, wait_until
from kernel.moby.labs import VERSIONS, address, end, pings, up

ONE = """
bridges: {one: {subnet: [10.1.0.0/24, "fd00:1::/64"], KEYS}}
namespaces:
  web: {SERVER, networks: [one], ports: PORTS}
  peer: {SERVER, networks: [one]}
"""
PLAIN = ONE.replace(", KEYS", "")
LAN = {4: "192.0.2.1", 6: "2001:db8::1"}
each_version = pytest.mark.parametrize("version", VERSIONS, ids=["IPv4", "IPv6"])
each_protocol = pytest.mark.parametrize("protocol", ["tcp", "udp"])
each_mode = pytest.mark.parametrize("mode", ["nat", "routed", "nat-unprotected"])


def names(answers: dict[str, str]) -> dict[str, str]:
    """Who answered, without whom he saw."""
    return {target: answer.partition(" ")[0] for target, answer in answers.items()}


@each_protocol
def test_port_mapped_hairpin(machine: Machine, protocol: str) -> None:
    """TestPortMappedHairpinTCP, TestPortMappedHairpinUDP: from another network by the host's address."""
    connect(machine)
    nodes = f"web: {{SERVER, networks: [one], ports: ['80/{protocol}']}}\n  other: {{networks: [two]}}"
    up(machine, f"bridges: {{one: {{subnet: 10.1.0.0/24}}, two: {{subnet: 10.2.0.0/24}}}}\nnamespaces:\n  {nodes}")
    target = end(LAN[4], 32768, protocol)
    assert asked(machine, "other", target) == {target: "web 10.1.0.1"}


def test_proxy_4_to_6(machine: Machine) -> None:
    """TestProxy4To6: an IPv6 address of the host's leads to a container that has IPv4 alone."""
    connect(machine)
    web = 'web: {SERVER, networks: [one], ports: ["[2001:db8::1]:8080:80"]}'
    up(machine, f"bridges: {{one: {{subnet: 10.1.0.0/24}}}}\nnamespaces:\n  {web}")
    target = end(LAN[6], 8080)
    for place in ("", "client"):
        assert asked(machine, place, target) == {target: "web 10.1.0.1"}


def test_access_published_port_from_host(machine: Machine) -> None:
    """TestAccessPublishedPortFromHost: at every address of the host."""
    connect(machine)
    up(machine, PLAIN.replace("PORTS", '["8080:80"]'))
    own = ["127.0.0.1", "::1", LAN[4], LAN[6], "10.1.0.1", "fd00:1::1"]
    answers = asked(machine, "", *(end(each, 8080) for each in own))
    assert set(names(answers).values()) == {"web"}, answers


def test_access_published_port_from_remote_host(machine: Machine) -> None:
    """TestAccessPublishedPortFromRemoteHost: a neighbour reaches it at every address of the host, and is seen."""
    connect(machine)
    up(machine, PLAIN.replace("PORTS", '["8080:80"]'))
    wanted = {end(each, 8080): "web 192.0.2.2" for each in (LAN[4], "10.1.0.1")}
    wanted |= {end(each, 8080): "web 2001:db8::2" for each in (LAN[6], "fd00:1::1")}
    assert asked(machine, "client", *wanted) == wanted


@pytest.mark.parametrize("node", ["web", "peer"])
def test_access_published_port_from_ctr(machine: Machine, node: str) -> None:
    """TestAccessPublishedPortFromCtr: the container itself and its neighbour, by the host's addresses."""
    connect(machine)
    up(machine, PLAIN.replace("PORTS", '["8080:80"]'))
    targets = [end(each, 8080) for each in (LAN[4], LAN[6], "10.1.0.1", "fd00:1::1")]
    assert set(names(asked(machine, node, *targets)).values()) == {"web"}


@each_version
@each_mode
def test_access_to_published_port(machine: Machine, version: int, mode: str) -> None:
    """TestAccessToPublishedPort: from a network of each mode to a port that another network publishes."""
    connect(machine)
    bridges = 'one: {subnet: [10.1.0.0/24, "fd00:1::/64"]}'
    bridges += f', two: {{subnet: [10.2.0.0/24, "fd00:2::/64"], gateway_mode: {mode}}}'
    nodes = 'web: {SERVER, networks: [one], ports: ["8080:80"]}\n  other: {networks: [two]}'
    up(machine, f"bridges: {{{bridges}}}\nnamespaces:\n  {nodes}")
    target = end(LAN[version], 8080)
    assert names(asked(machine, "other", target)) == {target: "web"}


@each_version
@each_mode
def test_direct_routing_open_ports(machine: Machine, version: int, mode: str) -> None:
    """TestDirectRoutingOpenPorts: from a neighbour that has a route to the containers."""
    connect(machine)
    up(machine, ONE.replace("KEYS", f"gateway_mode: {mode}").replace("PORTS", '["8080:80"]'))
    web, peer = address(version, 1, 2), address(version, 1, 3)
    answers = asked(machine, "client", end(web), end(web, 81), end(peer))
    reached = [pings(machine, "client", web), *(answers[each] != "silence" for each in answers)]
    wanted = {"nat": [0, 0, 0, 0], "routed": [1, 1, 0, 0], "nat-unprotected": [1, 1, 1, 1]}
    assert reached == wanted[mode]


@each_version
@each_mode
def test_direct_remote_access_on_exposed_port(machine: Machine, version: int, mode: str) -> None:
    """TestDirectRemoteAccessOnExposedPort: a port published at the host's loopback, by the container's address."""
    connect(machine)
    local = {4: "127.0.0.1", 6: "[::1]"}[version]
    up(machine, ONE.replace("KEYS", f"gateway_mode: {mode}").replace("PORTS", f'["{local}:8080:80"]'))
    target = end(address(version, 1, 2))
    assert (asked(machine, "client", target)[target] != "silence") == (mode != "nat")


def test_disable_nat(machine: Machine) -> None:
    """TestDisableNAT: the ports that are told: on the host with NAT, the container's own without."""
    modes = "gateway_mode: {ipv4: nat, ipv6: routed}"
    up(machine, ONE.replace("KEYS", modes).replace("PORTS", '["8080:80"]'))
    told = machine.ok("labctl show ports")
    assert "80/tcp -> 0.0.0.0:8080" in told
    assert "[::]:8080" not in told
    assert names(asked(machine, "", end("10.1.0.1", 8080), end("fd00:1::1", 8080))) == {
        end("10.1.0.1", 8080): "web",
        end("fd00:1::1", 8080): "refused",
    }


def test_restart_under_2msl(machine: Machine) -> None:
    """TestRestartUserlandProxyUnder2MSL: the same port again while old connections are in TIME_WAIT."""
    text = PLAIN.replace("PORTS", '["8080:80"]')
    for _ in range(3):
        up(machine, text)
        assert names(asked(machine, "", end("127.0.0.1", 8080), end("::1", 8080))) == {
            end("127.0.0.1", 8080): "web",
            end("::1", 8080): "web",
        }
        machine.ok("labctl down")


def test_access_port_published_on_loopback_address(machine: Machine) -> None:
    """TestAccessPortPublishedOnLoopbackAddress: 127.0.0.2 is for the host, whatever a neighbour's routes say."""
    connect(machine)
    up(machine, PLAIN.replace("PORTS", '["127.0.0.2:8080:80"]'))
    target = end("127.0.0.2", 8080)
    assert names(asked(machine, "", target)) == {target: "web"}
    forged = "sysctl -qw net.ipv4.conf.all.route_localnet=1; ip address del 127.0.0.1/8 dev lo"
    machine.ok(f"ip netns exec client sh -ec '{forged}; ip route add 127.0.0.2 via 192.0.2.1'")
    try:
        assert asked(machine, "client", target) == {target: "silence"}
    finally:
        machine.ok("ip netns exec client sh -ec 'ip route del 127.0.0.2; ip address add 127.0.0.1/8 dev lo'")
        machine.ok("ip netns exec client sysctl -qw net.ipv4.conf.all.route_localnet=0")


def test_mix_any_with_specific_host_addrs(machine: Machine) -> None:
    """TestMixAnyWithSpecificHostAddrs: one port for all IPv4 addresses, and the same for all IPv6 addresses."""
    connect(machine)
    ports = 'web: {SERVER, networks: [one], ports: ["0.0.0.0:8080:80"]}'
    ports += '\n  six: {SERVER, networks: [one], ports: ["[::]:8080:80"]}'
    up(machine, f'bridges: {{one: {{subnet: [10.1.0.0/24, "fd00:1::/64"]}}}}\nnamespaces:\n  {ports}')
    wanted = {
        end("127.0.0.1", 8080): "web",
        end(LAN[4], 8080): "web",
        end("::1", 8080): "six",
        end(LAN[6], 8080): "six",
    }
    assert names(asked(machine, "", *wanted)) == wanted


def test_port_mapping_on_distinct_loopback_addrs(machine: Machine) -> None:
    """TestPortMappingOnDistinctLoopbackAddrs: 127.0.0.2 leads to one container, 127.0.0.3 to another."""
    ports = 'web: {SERVER, networks: [one], ports: ["127.0.0.2:8080:80"]}'
    ports += '\n  two: {SERVER, networks: [one], ports: ["127.0.0.3:8080:80"]}'
    up(machine, f"bridges: {{one: {{subnet: 10.1.0.0/24}}}}\nnamespaces:\n  {ports}")
    wanted = {end("127.0.0.2", 8080): "web", end("127.0.0.3", 8080): "two", end("127.0.0.1", 8080): "refused"}
    assert names(asked(machine, "", *wanted)) == wanted


def test_published_port_already_in_use(machine: Machine) -> None:
    """TestPublishedPortAlreadyInUse: the second one fails, and nothing of it is there."""
    up(machine, PLAIN.replace("PORTS", '["8080:80"]'))
    text = (
        PLAIN.replace("PORTS", '["8080:80"]')
        .replace("one", "other")
        .replace("10.1.0", "10.3.0")
        .replace("fd00:1", "fd00:3")
    )
    file = machine.topology("second", "name: second\nprefix: second-" + text.replace("SERVER, ", ""))
    done = machine.run(f"labctl up {file}")
    assert done.status == 2
    assert "port 8080/tcp of the host is published by the lab lab already" in done.stderr
    assert "second" not in machine.ok("labctl ps")


def test_host_ipv4_label(machine: Machine) -> None:
    """TestHostIPv4BridgeLabel: what leaves has the address that the network says."""
    connect(machine)
    machine.ok("ip address add 192.0.2.77/32 dev lan")
    machine.settle()
    serve(machine, "client", 7000)
    machine.settle()
    up(machine, ONE.replace("KEYS", "snat: 192.0.2.77").replace("PORTS", "[]"))
    target = end("192.0.2.2", 7000)
    assert asked(machine, "web", target) == {target: "client 192.0.2.77"}


def test_masquerade_off(machine: Machine) -> None:
    """TestHostIPv4BridgeLabel's neighbour, `enable_ip_masquerade=false`: what leaves keeps its address."""
    connect(machine, 7000)
    up(machine, ONE.replace("KEYS", "masquerade: false").replace("PORTS", "[]"))
    targets = {end("192.0.2.2", 7000): "client 10.1.0.2", end("2001:db8::2", 7000): "client fd00:1::2"}
    assert asked(machine, "web", *targets) == targets


def test_conntrack_flows_leak(machine: Machine) -> None:
    """TestConntrackFlowsLeak: a flow of datagrams that began before a port moved follows it."""
    connect(machine)
    text = PLAIN.replace("PORTS", "PORTS_WEB").replace("networks: [one]}", "networks: [one], ports: PORTS_PEER}")
    udp = '["8080:80/udp"]'
    up(machine, text.replace("PORTS_WEB", udp).replace("PORTS_PEER", "[]"))
    where = "ip netns exec client python3 -c"
    flow = machine.start(f'{where} "{FLOW}"')
    assert flow.stdin
    assert flow.stdout
    assert flow.stdout.readline() == "web 192.0.2.2\n"
    up(machine, text.replace("PORTS_WEB", "[]").replace("PORTS_PEER", udp))
    ready(machine, "peer", 80)
    answers: list[str] = []

    def moved() -> bool:
        assert flow.stdin
        assert flow.stdout
        flow.stdin.write("\n")
        flow.stdin.flush()
        answers.append(flow.stdout.readline())
        return answers[-1] == "peer 192.0.2.2\n"

    wait_until(moved)
    assert "web 192.0.2.2\n" not in answers
    flow.communicate()


FLOW = """
import socket, sys
flow = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
flow.bind(('', 9999))
flow.connect(('192.0.2.1', 8080))
flow.settimeout(1)
while True:
    try:
        flow.send(b'?')
        print(flow.recv(100).decode(), flush=True)
    except OSError as error:
        print(error, flush=True)
    if not sys.stdin.readline():
        break
""".replace('"', "'")
