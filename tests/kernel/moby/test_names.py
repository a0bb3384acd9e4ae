"""Names, name servers, MACs, and what a file must not say: after {etchosts,resolvconf,mac_addr}_test.go and others."""

from __future__ import annotations

import json

import pytest

from kernel.lan import asked, connect
from kernel.machine import Machine, only_root
from kernel.moby.labs import end, pings, read, up

BOTH = """
bridges: {net: {subnet: [10.1.0.0/24, "fd00:1::/64"]}}
namespaces:
  a: {networks: [net], hostname: box.example.org, extra_hosts: {other.host.net: 2.3.4.5}}
"""
LOCALHOST = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n"
LOCALHOST += "ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"


def macs(machine: Machine, *nodes: str) -> list[str]:
    links = [json.loads(machine.inside(node, "ip -json link show dev eth0")) for node in nodes]
    return [str(link["address"]) for [link] in links]


def test_etc_hosts_ipv6(machine: Machine) -> None:
    """TestEtcHostsIpv6: the whole file, with IPv6 on the network and without."""
    up(machine, BOTH)
    lines = read(machine, "a", "/etc/hosts").removeprefix(LOCALHOST).splitlines()
    assert lines[0] == "2.3.4.5\tother.host.net"
    assert [line.split()[0] for line in lines[1:]] == ["10.1.0.2", "fd00:1::2"]
    assert all("box.example.org" in line for line in lines[1:])
    up(machine, BOTH.replace(', "fd00:1::/64"', ""))
    lines = read(machine, "a", "/etc/hosts").removeprefix(LOCALHOST).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["10.1.0.2"]


@only_root
def test_resolv_conf_localhost_ipv6(machine: Machine) -> None:
    """TestResolvConfLocalhostIPv6: of the host's name servers, those on its loopback are of no use in a container."""
    machine.ok(
        "printf 'nameserver %s\\n' 127.0.0.53 ::1 192.0.2.53 >/etc/resolv.conf\necho search lan >>/etc/resolv.conf"
    )
    machine.settle()
    up(machine, BOTH)
    lines = read(machine, "a", "/etc/resolv.conf").splitlines()
    assert [line for line in lines if line.startswith("nameserver")] == ["nameserver 192.0.2.53"]
    assert "search lan" in lines


def test_internal_network_local_dns(machine: Machine) -> None:
    """TestInternalNetworkLocalDNS: a server on the internal network is asked; nobody outside is reached."""
    nodes = "dns: {networks: [net]}\n  a: {networks: [net], dns: 10.1.0.2}"
    up(machine, f"bridges: {{net: {{subnet: 10.1.0.0/24, internal: true}}}}\nnamespaces:\n  {nodes}")
    server = machine.start(f'exec labctl exec dns -- python3 -c "{DNS}"')
    assert server.stdout
    assert server.stdout.readline() == "ready\n"
    assert machine.inside("a", "getent ahostsv4 answer.example.org").split()[0] == "10.1.0.99"
    server.kill()


DNS = """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(('', 53))
print('ready', flush=True)
while True:
    query, peer = server.recvfrom(512)
    end = query.index(0, 12) + 5
    answer = bytes([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 1, 0, 99])
    server.sendto(query[:2] + bytes([0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]) + query[12:end] + answer, peer)
"""


def test_dns_options(machine: Machine) -> None:
    """TestRunDNSOptions: --dns, --dns-search and --dns-option are what is in the file."""
    words = (
        "dns: [192.0.2.53, '2001:db8::53'], dns_search: [example.org, example.net], dns_opt: ['ndots:2', 'timeout:1']"
    )
    up(machine, f"bridges: {{net: {{subnet: 10.1.0.0/24}}}}\nnamespaces: {{a: {{networks: [net], {words}}}}}")
    assert read(machine, "a", "/etc/resolv.conf").splitlines() == [
        "nameserver 192.0.2.53",
        "nameserver 2001:db8::53",
        "search example.org example.net",
        "options ndots:2 timeout:1",
    ]


def test_host_gateway(machine: Machine) -> None:
    """TestHostGatewayFromDocker0, `--add-host=…:host-gateway`: a name for the host, which answers."""
    connect(machine)
    entry = "extra_hosts: ['host.docker.internal:host-gateway']"
    up(machine, f"bridges: {{net: {{subnet: 10.1.0.0/24}}}}\nnamespaces: {{a: {{networks: [net], {entry}}}}}")
    assert "10.1.0.1\thost.docker.internal" in read(machine, "a", "/etc/hosts").splitlines()
    assert pings(machine, "a", "host.docker.internal")


def test_alias_and_anonymous_endpoint(machine: Machine) -> None:
    """TestDockerNetworkAnonymousEndpoint: names are known where their network is."""
    nodes = "a: {networks: {one: {aliases: [db, primary]}, two: {}}}\n  b: {networks: [one]}\n  c: {networks: [two]}"
    up(machine, f"bridges: {{one: {{subnet: 10.1.0.0/24}}, two: {{subnet: 10.2.0.0/24}}}}\nnamespaces:\n  {nodes}")
    for name in ("a", "db", "primary"):
        assert pings(machine, "b", f"-4 {name}")
    assert pings(machine, "c", "-4 a")
    assert not pings(machine, "c", "-4 db")
    assert not pings(machine, "c", "-4 b")


def test_mac_addr_on_restart(machine: Machine) -> None:
    """TestMACAddrOnRestart: however nodes come and go, no MAC is there twice."""
    bridge = "bridges: {net: {subnet: 10.1.0.0/24}}\nnamespaces:\n"
    up(machine, f"{bridge}  a: {{networks: [net]}}\n  b: {{networks: [net]}}")
    up(machine, f"{bridge}  b: {{networks: [net]}}\n  c: {{networks: [net]}}")
    up(machine, f"{bridge}  a: {{networks: [net]}}\n  b: {{networks: [net]}}\n  c: {{networks: [net]}}")
    assert len(set(macs(machine, "a", "b", "c"))) == 3
    assert pings(machine, "a", "b")
    assert pings(machine, "a", "c")


def test_configured_mac_addr_on_restart(machine: Machine) -> None:
    """TestCfgdMACAddrOnRestart: a MAC of the file's is there again after each start."""
    text = "bridges: {net: {subnet: 10.1.0.0/24}}\nnamespaces: {a: {networks: {net: {mac: '02:42:ac:11:00:42'}}}}"
    for _ in range(2):
        up(machine, text)
        assert macs(machine, "a") == ["02:42:ac:11:00:42"]
        machine.ok("labctl down")


@pytest.mark.parametrize(
    ("bridges", "said"),
    [
        ("one: {subnet: 10.1.0.0/24, ip_range: 10.2.0.0/28}", "10.2.0.0/28"),
        ("one: {subnet: 10.1.0.0/24, gateway: 10.2.0.1}", "10.2.0.1"),
        ("one: {subnet: [10.1.0.0/24, 10.2.0.0/24]}", "a second IPv4 subnet"),
        ("one: {subnet: 10.1.0.0/24}, two: {subnet: 10.1.0.128/25}", "10.1.0.128/25"),
        ("one: {subnet: 10.1.0.300/24}", "10.1.0.300/24"),
    ],
    ids=["range", "gateway", "two of a family", "overlap", "no network"],
)
def test_ipam_invalid_combinations(machine: Machine, bridges: str, said: str) -> None:
    """TestDockerNetworkIPAMInvalidCombinations, TestDockerNetworkIPAMMultipleNetworks: refused, and nothing is made."""
    file = machine.topology("lab", f"name: lab\nbridges: {{{bridges}}}\nnamespaces: {{a: {{networks: [one]}}}}")
    with machine.untouched():
        done = machine.run(f"labctl up {file}")
        assert done.status == 2
        assert said in done.stderr


def test_unsupported_preferred_ip(machine: Machine) -> None:
    """TestDockerNetworkUnsupportedRequiredIP: an address outside the subnet, the bridge's own, another container's."""
    for ip in ("10.2.0.2", "10.1.0.1", "10.1.0.0", "10.1.0.255"):
        node = f"a: {{networks: {{net: {{ip: {ip}}}}}}}"
        text = f"name: lab\nbridges: {{net: {{subnet: 10.1.0.0/24}}}}\nnamespaces: {{{node}}}"
        with machine.untouched():
            done = machine.run(f"labctl up {machine.topology('lab', text)}")
            assert done.status == 2
            assert ip in done.stderr


def test_host_mode(machine: Machine) -> None:
    """TestRunNetHost: the host's network and its host name; ports are its own."""
    connect(machine)
    up(
        machine,
        "bridges: {net: {subnet: 10.1.0.0/24}}\nnamespaces:\n  a: {SERVER, network_mode: host}\n  b: {networks: [net]}",
    )
    assert machine.inside("a", "hostname") == machine.ok("hostname")
    assert machine.inside("a", "ip -oneline link") == machine.ok("ip -oneline link")
    assert asked(machine, "client", end("192.0.2.1")) == {end("192.0.2.1"): "a 192.0.2.2"}


def test_none_mode(machine: Machine) -> None:
    """TestRunNetworkNotInitializedNoneMode: a loopback interface, and nothing else."""
    up(machine, "namespaces: {a: {network_mode: none}}")
    assert machine.inside("a", "ip -oneline link").count("\n") == 1
    assert pings(machine, "a", "127.0.0.1")


@only_root
def test_unprivileged_ports(machine: Machine) -> None:
    """TestUnprivilegedPortsAndPing: who is not root listens on port 80, in a network that is shared too."""
    serves = "run: {main: {command: exec python3 -m http.server 80, user: nobody, ready: tcp 80}}"
    sharing = serves.replace("http.server 80", "http.server 81").replace("tcp 80", "tcp 81")
    nodes = f"namespaces: {{a: {{networks: [net], {serves}}}, b: {{network_mode: 'namespace:a', {sharing}}}}}"
    up(machine, f"bridges: {{net: {{subnet: 10.1.0.0/24}}}}\n{nodes}")
    assert machine.ok("curl -s http://10.1.0.2:80") == machine.ok("curl -s http://10.1.0.2:81")
    assert machine.inside("a", "cat /proc/sys/net/ipv4/ip_unprivileged_port_start") == "0\n"
