"""The life of published ports: taken ones, two labs, changes while they are in use, a proxy that is killed."""

from __future__ import annotations

import pytest

from kernel.lan import asked, connect, ready, serve, server
from kernel.machine import Machine, wait_until

WEB = """
name: NAME
prefix: NAME-
bridges: {BRIDGE: {subnet: SUBNET}}
namespaces:
  web: {networks: [BRIDGE], ports: PORTS, environment: {NODE: NAME}, run: SERVER}
"""


def lab(machine: Machine, ports: str, name: str = "one", bridge: str = "br1", subnet: str = "10.1.0.0/24") -> str:
    words = {"NAME": name, "BRIDGE": bridge, "SUBNET": subnet, "PORTS": ports, "SERVER": server(machine, 80)}
    text = WEB
    for word, value in words.items():
        text = text.replace(word, value)
    return machine.topology(name, text)


def refused(machine: Machine, file: str) -> list[str]:
    """The problems of an `up`, and of a `plan`, that must touch nothing."""
    with machine.untouched():
        done = machine.run(f"labctl up {file}")
        assert done.status == 2
        assert machine.run(f"labctl plan {file}").stderr == done.stderr
    return [line.partition(".yaml:")[2] for line in done.stderr.splitlines()]


def test_a_port_that_is_in_use_is_a_refusal_that_names_who_has_it(machine: Machine) -> None:
    serve(machine, "", 8080, 8081)
    machine.settle()
    [tcp, udp] = refused(machine, lab(machine, '["8080:80", "8081:80/udp"]'))
    assert tcp.startswith("6:34: port 8080/tcp of the host is in use by python3, process ")
    assert udp.startswith("6:45: port 8081/udp of the host is in use by python3, process ")
    assert tcp.endswith("; choose another, or use --isolated")


def test_an_address_that_the_host_does_not_have(machine: Machine) -> None:
    file = lab(machine, '["192.0.2.99:8080:80", "127.0.0.7:8080:80", "10.1.0.1:8080:80"]')
    message = "6:34: 192.0.2.99 is no address of the host; write one that 'ip address' shows, or leave it out"
    assert refused(machine, file) == [message]
    with machine.untouched():
        assert machine.run(f"labctl up --isolated {file}").stderr.endswith(f"{message}\n")


def test_two_labs_cannot_publish_one_port(machine: Machine) -> None:
    machine.up(lab(machine, '["8080:80", 80]'))
    other = lab(machine, '["127.0.0.1:8080:80", 80]', "two", "br2", "10.2.0.0/24")
    assert refused(machine, other) == [
        "6:34: port 8080/tcp of the host is published by the lab one already (web); choose another"
    ]
    machine.up(lab(machine, '["8081:80", 80]', "two", "br2", "10.2.0.0/24"))
    ready(machine, "one/web", 80)
    ready(machine, "two/web", 80)
    # each has the port that it asked for, and a free one
    found = asked(machine, "", "tcp:127.0.0.1:8080", "tcp:127.0.0.1:8081", "tcp:127.0.0.1:32768", "tcp:127.0.0.1:32769")
    assert list(found.values()) == ["one 10.1.0.1", "two 10.2.0.1", "one 10.1.0.1", "two 10.2.0.1"]
    # and each reaches the other's, as it would any host's
    machine.ok("ip address add 192.0.2.1/32 dev lo")
    assert asked(machine, "one/web", "tcp:192.0.2.1:8081", "tcp:10.2.0.2:80") == {
        "tcp:192.0.2.1:8081": "two 10.2.0.1",
        "tcp:10.2.0.2:80": "silence",
    }
    machine.ok("ip address del 192.0.2.1/32 dev lo")


def test_a_free_port_is_one_that_nobody_uses_and_stays(machine: Machine) -> None:
    serve(machine, "", 32768, 9000)
    machine.settle()
    file = lab(machine, '[80, "9000-9002:80"]')
    machine.up(file)
    assert "80/tcp -> 0.0.0.0:32769" in machine.ok("labctl show ports")
    assert "80/tcp -> 0.0.0.0:9001" in machine.ok("labctl show ports")
    machine.ok("kill $(ss -Hltnp sport = 9000 | grep -o 'pid=[0-9]*' | cut -d= -f2)")
    wait_until(lambda: ":9000 " not in machine.ok("ss -Hltn"))
    assert "already as the file says" in machine.up(file)
    lab(machine, '["9000-9002:80", 80, "9100:81"]')
    machine.up(file)
    assert "80/tcp -> 0.0.0.0:32769" in machine.ok("labctl show ports")
    machine.ok("labctl down")
    machine.settle()


OUT = """
import socket, sys
server = socket.create_server(("127.0.0.1", 5555))
client = socket.create_connection(("127.0.0.1", 5555), source_address=("127.0.0.1", 32768))
sys.stdin.read()
"""


def test_a_port_from_which_somebody_is_connected_is_not_free(machine: Machine) -> None:
    """The machine's own connections leave from the very ports that are given to whoever names none."""
    machine.write("out.py", OUT)
    machine.start("exec python3 -IS /run/scratch/out.py")
    wait_until(lambda: ":32768 " in machine.ok("ss -Htn"))
    machine.settle()
    machine.up(lab(machine, "[80]"))
    assert "0.0.0.0:32769" in machine.ok("labctl show ports")


def test_no_port_of_a_span_is_free(machine: Machine) -> None:
    serve(machine, "", 9000, 9001)
    machine.settle()
    file = lab(machine, '["9000-9001:80"]')
    with machine.untouched():
        done = machine.run(f"labctl up {file}")
    assert done.status == 1
    assert "none of the host's ports 9000 to 9001 is free for 80/tcp" in done.stderr


def test_a_port_that_comes_and_goes_while_the_lab_is_up(machine: Machine) -> None:
    connect(machine)
    machine.up(lab(machine, '["8080:80"]'))
    ready(machine, "web", 80)
    assert asked(machine, "client", "tcp:192.0.2.1:8080", "tcp:192.0.2.1:8081") == {
        "tcp:192.0.2.1:8080": "one 192.0.2.2",
        "tcp:192.0.2.1:8081": "refused",
    }
    pid = machine.inside("web", "sh -c 'pgrep -f [e]cho.py'")
    machine.up(lab(machine, '["8081:80"]'))
    assert asked(machine, "client", "tcp:192.0.2.1:8080", "tcp:192.0.2.1:8081") == {
        "tcp:192.0.2.1:8080": "refused",
        "tcp:192.0.2.1:8081": "one 192.0.2.2",
    }
    assert machine.inside("web", "sh -c 'pgrep -f [e]cho.py'") == pid
    machine.up(lab(machine, "[]"))
    assert machine.ok("ss -Hltun").strip() == ""
    assert machine.ok("cat /proc/sys/net/ipv4/conf/br1/route_localnet") == "0\n"


# One UDP socket, kept open: what it is answered now, and after a line on standard input.
TALK = """
import socket, sys
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.bind(("0.0.0.0", 5000))
client.settimeout(0.5)
for line in sys.stdin:
    client.sendto(b"?", ("192.0.2.1", 8080))
    try:
        print(client.recv(100).decode(), flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
"""


FLOWS = """
from labctl.linux.conntrack import tracked
print(sum(flow.original.destination_port == PORT for flow in tracked()))
"""


def flows(machine: Machine, port: int) -> int:
    """The flows to a port that the machine's kernel remembers."""
    return int(machine.ok(f"python3 -c '{FLOWS.replace('PORT', str(port))}'"))


def test_a_udp_flow_that_goes_on_follows_the_ports(machine: Machine) -> None:
    """NAT is chosen for the first packet of a flow: without a word to conntrack it would keep its old way."""
    connect(machine)
    serve(machine, "", 8081)
    machine.write("talk.py", TALK)
    talk = machine.start("exec ip netns exec client python3 /run/scratch/talk.py")
    assert talk.stdin
    assert talk.stdout

    def answer() -> str:
        assert talk.stdin
        assert talk.stdout
        talk.stdin.write("\n")
        talk.stdin.flush()
        return talk.stdout.readline().strip()

    assert answer() == "TimeoutError"  # to a closed port
    machine.up(lab(machine, '["8080:80/udp"]'))
    ready(machine, "web", 80)
    assert answer() == "one 192.0.2.2"
    machine.up(lab(machine, "[]"))
    assert answer() == "TimeoutError"
    machine.up(lab(machine, '["8080:80/udp"]'))
    assert answer() == "one 192.0.2.2"
    assert flows(machine, 8080) == 1
    machine.ok("labctl down")
    assert flows(machine, 8080) == 0
    assert answer() == "TimeoutError"
    machine.ok("kill $(pgrep -f '[t]alk.py') $(pgrep -f 'serve [8]081')")


SAY = 'import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.2", 8080))'


def test_a_udp_flow_to_somebody_else_is_left_alone(machine: Machine) -> None:
    """The machine's firewall may know the answer by it."""
    connect(machine)
    lab_file = lab(machine, '["8080:80/udp"]')
    machine.up(lab(machine, "[]", "two", "br2", "10.2.0.0/24"))  # with it, the kernel keeps an eye on flows
    machine.ok(f"python3 -c '{SAY}'")
    before = flows(machine, 8080)
    assert before == 1
    machine.up(lab_file)
    assert flows(machine, 8080) == before


def test_a_killed_proxy_is_missed_and_comes_back(machine: Machine) -> None:
    file = lab(machine, '["8080:80"]')
    machine.up(file)
    ready(machine, "web", 80)
    machine.ok("kill -9 $(pgrep -f [p]roxy.py)")
    wait_until(lambda: machine.ok("ss -Hltn sport = 8080") == "")
    assert "not held: the proxy is gone" in machine.ok("labctl show ports")
    assert asked(machine, "", "tcp:127.0.0.1:8080", "tcp:[::1]:8080") == {
        "tcp:127.0.0.1:8080": "one 10.1.0.1",
        "tcp:[::1]:8080": "refused",
    }
    assert "proxy.py" in machine.ok(f"labctl plan {file}")
    machine.up(file)
    assert asked(machine, "", "tcp:[::1]:8080") == {"tcp:[::1]:8080": "one 10.1.0.1"}
    assert "already as the file says" in machine.up(file)


# `up`, for which all ports are free when it looks.
BLIND = """
import sys
from labctl import cli
from labctl.linux import machine
machine.refused = lambda place, wanted: []
sys.argv = ["labctl", "up", *sys.argv[1:]]
cli.main()
"""


@pytest.mark.parametrize("option", ["", "--isolated"])
def test_a_port_that_is_taken_at_the_last_moment_undoes_the_lab(machine: Machine, option: str) -> None:
    """Between the question whether it is free and the answer to it. In a host of its own nobody else can have it."""
    file = lab(machine, '["8080:80"]')
    machine.write("blind.py", BLIND)
    serve(machine, "", 8080)
    machine.settle()
    with machine.untouched():
        done = machine.run(f"python3 -P /run/scratch/blind.py {file} {option}")
        if option:
            assert done.status == 0, done.stderr
            machine.ok("labctl down")
    if not option:
        assert done.status == 1
        assert "proxy.py …\n  tcp port 8080 of 0.0.0.0: address already in use (EADDRINUSE)\n" in done.stderr
        assert "The lab one was removed again; nothing is left of it." in done.stderr


TURN = """
import socket
server = socket.create_server(("", 80))
while True:
    peer, _ = server.accept()
    data = b""
    while part := peer.recv(65536):
        data += part
    peer.sendall(data[::-1])
    peer.close()
"""
SEND = """
import socket
client = socket.create_connection(("::1", 8080))
data = bytes(range(256)) * 4096
client.sendall(data)
client.shutdown(socket.SHUT_WR)
back = b""
while part := client.recv(65536):
    back += part
print(back == data[::-1])
"""


def test_the_proxy_relays_both_ways_to_the_end(machine: Machine) -> None:
    """A megabyte each way, and the end of one side's words before the other's."""
    machine.write("turn.py", TURN)
    machine.write("send.py", SEND)
    file = lab(machine, '["8080:80"]')
    text = machine.path(file).read_text().replace(server(machine, 80), "exec python3 /run/scratch/turn.py")
    machine.up(machine.topology("one", text))
    ready(machine, "web", 80)
    assert machine.ok("python3 /run/scratch/send.py") == "True\n"


@pytest.mark.parametrize("policy", ["policy drop", "last rule reject"])
def test_a_foreign_firewall_that_drops_is_told(machine: Machine, policy: str) -> None:
    ends = "policy drop" if policy == "policy drop" else "policy accept"
    machine.ok(f"nft 'table ip filter {{ chain FORWARD {{ type filter hook forward priority 0; {ends}; }}; }}'")
    if policy != "policy drop":
        machine.ok("nft add rule ip filter FORWARD counter reject")
    machine.settle()
    file = lab(machine, "[]")
    told = (
        f"warning: A firewall drops what a lab forwards, unless a rule lets it through: ip filter FORWARD ({policy})."
    )
    for _ in range(2):
        story = machine.up(file)
        assert told in story
        assert "    iptables -I FORWARD -i br1 -j ACCEPT\n    iptables -I FORWARD -o br1 -j ACCEPT\n" in story
    machine.ok("nft insert rule ip filter FORWARD iifname br1 accept")
    assert "warning" not in machine.up(file)
    machine.ok("labctl down && nft delete rule ip filter FORWARD handle $(nft -a list chain ip filter FORWARD | "
               "grep br1 | grep -o '[0-9]*$')")  # fmt: skip
    assert "warning" not in machine.up(file, "--isolated")
