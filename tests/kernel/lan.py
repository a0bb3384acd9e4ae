"""What the machine of a test is connected to: another computer on its LAN, and what questions from there bring.

    client 192.0.2.2, 2001:db8::2 ── 192.0.2.1, 2001:db8::1 machine ── labs

The client's default route leads through the machine, so it also tries the nodes' own addresses.
"""

from __future__ import annotations

from pathlib import Path

from kernel.machine import Machine, wait_until

ECHO = Path(__file__).with_name("echo.py")
SETUP = """
set -e
sysctl -qw net.ipv6.conf.default.accept_dad=0
ip netns add client
ip link add name lan type veth peer name eth0 netns client
ip address add 192.0.2.1/24 dev lan && ip address add 2001:db8::1/64 dev lan nodad && ip link set lan up
ip -n client link set lo up
ip -n client address add 192.0.2.2/24 dev eth0 && ip -n client address add 2001:db8::2/64 dev eth0 nodad
ip -n client link set eth0 up
ip -n client route add default via 192.0.2.1 && ip -n client route add default via 2001:db8::1
"""
BRIDGE_NF = "net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables"

Answers = dict[str, str]


def connect(machine: Machine, *serving: int) -> None:
    """Gives the machine its LAN, with a server on some ports of the client."""
    machine.ok(SETUP)
    for address in ("192.0.2.2", "2001:db8::2"):  # from now on they know each other
        wait_until(lambda address=address: machine.run(f"ping -c 1 -W 1 {address}").status == 0)  # type: ignore[misc]
    if serving:
        serve(machine, "client", *serving)
    machine.settle()


def server(machine: Machine, *ports: int) -> str:
    """The command of a server, for `run:` of a node."""
    return f"exec python3 -IS {machine.seen(ECHO)} serve {' '.join(map(str, ports))}"


def serve(machine: Machine, netns: str, *ports: int) -> None:
    """A server in a namespace that is not the lab's; an empty name is the machine itself."""
    where = f"ip netns exec {netns}" if netns else ""
    machine.start(f"NODE={netns or 'machine'} {server(machine, *ports).replace('exec', f'exec {where}')}")
    wait_until(lambda: listening(machine, where, *ports))


def listening(machine: Machine, where: str, *ports: int) -> bool:
    found = machine.ok(f"{where} ss -Hltn")
    return all(f":{port} " in found for port in ports)


def ready(machine: Machine, node: str, *ports: int) -> None:
    """Waits until a node of the lab listens."""
    wait_until(lambda: listening(machine, f"labctl exec {node} --", *ports))


def asked(machine: Machine, where: str, *targets: str) -> Answers:
    """What somebody is answered: `client`, a node of the lab (`host` too), or the machine itself."""
    ways = {"": "", "client": "ip netns exec client"}
    way = ways.get(where, f"labctl exec {where} --")
    answers = machine.ok(f"{way} python3 -IS {machine.seen(ECHO)} ask {' '.join(targets)}").splitlines()
    return dict(zip(targets, answers, strict=True))


def both(*ends: str) -> list[str]:
    """The same by TCP and by UDP."""
    return [f"{protocol}:{end}" for end in ends for protocol in ("tcp", "udp")]


def bridge_nf(machine: Machine, on: bool) -> bool:
    """Has netfilter see the frames of bridges, or not; answers whether this kernel can."""
    return all(machine.run(f"sysctl -qw {name}={int(on)}").status == 0 for name in BRIDGE_NF)
