"""Docker internals, networking part I: each screen of the article, followed with the same tools on the lab.

The machine is the author's: a card enp4s0, 192.168.178.27 behind a router 192.168.178.1, and a server on port 8080.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from kernel.machine import Machine, needs, wait_until

CARD = """
ip netns add outside
ip link add name enp4s0 index 2 address 1c:6f:65:c0:c9:85 type veth peer name lan0 netns outside
ip -n outside link set lan0 addrgenmode none up
ip -n outside link set lo up
ip -n outside address add 192.168.178.1/24 dev lan0
ip link set enp4s0 addrgenmode none up
ip address add 192.168.178.27/24 dev enp4s0 metric 100
ip route add default via 192.168.178.1 dev enp4s0 proto static metric 100
ip route add 169.254.0.0/16 dev enp4s0 scope link metric 1000
"""
# Answers each request with the address that it came from.
SERVER = """
import http.server, socketserver, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.client_address[0].encode())
socketserver.TCPServer(("0.0.0.0", int(sys.argv[1])), Answer).serve_forever()
"""
CURL = "curl --silent --show-error --max-time 5"


@pytest.fixture(scope="module")
def lab() -> Iterator[Machine]:
    """The lab is brought up once and then looked at from all sides, as the reader of the article does."""
    with Machine() as machine:
        machine.ok(CARD)
        machine.write("server.py", SERVER)
        machine.ok("exec python3 /run/scratch/server.py 8080 >/dev/null 2>&1 &")
        machine.ok("exec ip netns exec outside python3 /run/scratch/server.py 80 >/dev/null 2>&1 &")
        for url in ("192.168.178.27:8080", "192.168.178.1:80"):
            wait_until(lambda url=url: machine.run(f"{CURL} {url}").status == 0)  # type: ignore[misc]
        machine.settle()
        machine.up("two-containers.yaml")
        for server in ("172.17.0.2", "172.17.0.3"):
            wait_until(lambda url=server: machine.run(f"{CURL} {url}").status == 0)  # type: ignore[misc]
        yield machine
        machine.prove_clean()


def screen(text: str) -> list[str]:
    """The lines of a screen, without what the article's machine gave by chance and without spaces at the end."""
    return [line.rstrip() for line in text.splitlines()]


def veths(machine: Machine) -> list[str]:
    """The host's ends, container1's first."""
    names = re.findall(r"^\d+: (veth[0-9a-f]{7})@", machine.ok("ip link"), re.MULTILINE)
    assert len(names) == 2
    return names


@needs("busybox")
def test_ifconfig_in_container1(lab: Machine) -> None:
    shown = lab.inside("container1", "busybox ifconfig")
    eth0, lo = shown.strip().split("\n\n")
    assert screen(eth0)[:3] == [
        "eth0      Link encap:Ethernet  HWaddr 02:42:AC:11:00:02",
        "          inet addr:172.17.0.2  Bcast:172.17.255.255  Mask:255.255.0.0",
        "          UP BROADCAST RUNNING MULTICAST  MTU:1500  Metric:1",
    ]
    without_ipv6 = [
        line for line in screen(lo) if "inet6 addr: ::1/128" not in line
    ]  # Docker's nodes have it since v26
    assert without_ipv6[:3] == [
        "lo        Link encap:Local Loopback",
        "          inet addr:127.0.0.1  Mask:255.0.0.0",
        "          UP LOOPBACK RUNNING  MTU:65536  Metric:1",
    ]


@needs("ifconfig")
def test_ifconfig_of_net_tools(lab: Machine) -> None:
    shown = lab.inside("container1", "ifconfig eth0")
    assert "eth0: flags=4163<UP,BROADCAST,RUNNING,MULTICAST>  mtu 1500\n" in shown
    assert "inet 172.17.0.2  netmask 255.255.0.0  broadcast 172.17.255.255\n" in shown
    assert "ether 02:42:ac:11:00:02 " in shown
    assert "inet6" not in shown
    assert "inet 172.17.0.3  netmask" in lab.inside("container2", "ifconfig eth0")


@needs("curl")
@pytest.mark.parametrize(("node", "peer"), [("container1", "172.17.0.3"), ("container2", "172.17.0.2")])
def test_curl_container_to_container(lab: Machine, node: str, peer: str) -> None:
    assert "It works!" in lab.inside(node, f"{CURL} {peer}")


@needs("curl")
@pytest.mark.parametrize("container", ["172.17.0.2", "172.17.0.3"])
def test_curl_host_to_container(lab: Machine, container: str) -> None:
    assert "It works!" in lab.ok(f"{CURL} {container}")


@needs("curl")
def test_curl_container_to_host(lab: Machine) -> None:
    """The host sees the container itself: what stays on the machine is not masqueraded."""
    assert lab.inside("container1", f"{CURL} 192.168.178.27:8080") == "172.17.0.2"
    assert lab.inside("container2", f"{CURL} 192.168.178.27:8080") == "172.17.0.3"


@needs("curl")
def test_curl_container_to_the_lan(lab: Machine) -> None:
    """The router knows nothing of 172.17.0.0/16, and need not: it sees the host."""
    assert "172.17" not in lab.ok("ip -n outside route")
    assert lab.inside("container1", f"{CURL} 192.168.178.1") == "192.168.178.27"


def test_ip_route_on_the_host(lab: Machine) -> None:
    assert screen(lab.ok("ip route show")) == [
        "default via 192.168.178.1 dev enp4s0 proto static metric 100",
        "169.254.0.0/16 dev enp4s0 scope link metric 1000",
        "172.17.0.0/16 dev docker0 proto kernel scope link src 172.17.0.1",
        "192.168.178.0/24 dev enp4s0 proto kernel scope link src 192.168.178.27 metric 100",
    ]


@needs("brctl")
def test_brctl_show(lab: Machine) -> None:
    title, first, second = lab.ok("brctl show").splitlines()
    assert title == "bridge name\tbridge id\t\tSTP enabled\tinterfaces"
    found = re.fullmatch(r"docker0\t\t(8000\.0242[0-9a-f]{8})\tno\t\t(veth[0-9a-f]{7})", first)
    last = re.fullmatch(r"\t{7}(veth[0-9a-f]{7})", second)
    assert found
    assert last
    assert {found[2], last[1]} == set(veths(lab))
    mac = lab.ok("cat /sys/class/net/docker0/address").strip()
    assert found[1] == f"8000.{mac.replace(':', '')}"


def test_ip_link_on_the_host(lab: Machine) -> None:
    first, second = veths(lab)
    lines = [line for line in screen(lab.ok("ip link")) if not line.startswith("    alias labctl:two-containers/")]
    titles, details = lines[::2], lines[1::2]
    flags = "BROADCAST,MULTICAST,UP,LOWER_UP"
    start = [re.sub(r" mode DEFAULT group .*", "", title) for title in titles]
    assert start == [
        "1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN",
        f"2: enp4s0@if{start[1].split('@if')[1].split(':')[0]}: <{flags}> mtu 1500 qdisc noqueue state UP",
        f"3: docker0: <{flags}> mtu 1500 qdisc noqueue state UP",
        f"25: {first}@if24: <{flags}> mtu 1500 qdisc noqueue master docker0 state UP",
        f"27: {second}@if26: <{flags}> mtu 1500 qdisc noqueue master docker0 state UP",
    ]
    assert re.fullmatch(r"    link/ether 02:42:[0-9a-f:]{11} brd ff:ff:ff:ff:ff:ff", details[2])
    for detail, node in zip(
        [line for line in details if "docker" not in line][-2:], ("container1", "container2"), strict=True
    ):
        assert re.fullmatch(rf"    link/ether [0-9a-f:]{{17}} brd ff:ff:ff:ff:ff:ff link-netns {node}", detail)


@pytest.mark.parametrize(
    ("node", "number", "mac"),
    [("container1", 24, "02:42:ac:11:00:02"), ("container2", 26, "02:42:ac:11:00:03")],
)
def test_ip_link_in_the_containers(lab: Machine, node: str, number: int, mac: str) -> None:
    shown = screen(lab.inside(node, "ip link"))
    assert [re.sub(r" mode DEFAULT .*| link-netns.*", "", line) for line in shown] == [
        "1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN",
        "    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00",
        f"{number}: eth0@if{number + 1}: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP",
        f"    link/ether {mac} brd ff:ff:ff:ff:ff:ff",
    ]


@pytest.mark.parametrize(("node", "own"), [("container1", "172.17.0.2"), ("container2", "172.17.0.3")])
def test_ip_route_in_the_containers(lab: Machine, node: str, own: str) -> None:
    assert screen(lab.inside(node, "ip route")) == [
        "default via 172.17.0.1 dev eth0",
        f"172.17.0.0/16 dev eth0 proto kernel scope link src {own}",
    ]


@needs("arp", "ping")
def test_arp_in_container1(lab: Machine) -> None:
    for address in ("172.17.0.1", "172.17.0.3"):
        lab.inside("container1", f"ping -q -c 1 -W 5 {address}")
    gateway = lab.ok("cat /sys/class/net/docker0/address").strip()
    assert set(screen(lab.inside("container1", "arp -an"))) == {
        f"? (172.17.0.1) at {gateway} [ether] on eth0",
        "? (172.17.0.3) at 02:42:ac:11:00:03 [ether] on eth0",
    }


@needs("traceroute")
def test_traceroute_is_one_hop(lab: Machine) -> None:
    title, *hops = lab.inside("container1", "traceroute -n -w 5 172.17.0.3").splitlines()
    assert title.startswith("traceroute to 172.17.0.3 (172.17.0.3), 30 hops max")
    assert len(hops) == 1
    assert re.fullmatch(r" 1  172\.17\.0\.3(  [0-9.]+ ms){3}", hops[0].rstrip())


@needs("traceroute")
def test_traceroute_to_the_lan_goes_by_the_host(lab: Machine) -> None:
    _, *hops = lab.inside("container1", "traceroute -n -w 5 192.168.178.1").splitlines()
    assert [hop.split()[1] for hop in hops] == ["172.17.0.1", "192.168.178.1"]
