"""`up` of a changed file on a running lab: what is there then is what the file says, and nothing is left to do."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from kernel.machine import FLEETING, GOOD, SHIPPED, Machine, each_way, wait_until

FILES = [file for file in [*SHIPPED, *GOOD] if file.stem not in ("explicit-document", "windows")]
PAIRS = list(zip(FILES, [*FILES[1:], FILES[0]], strict=True))


def as_lab(machine: Machine, file: Path) -> str:
    """The file's topology under a name that all of them share."""
    text = re.sub(r"^name:.*\n", "", file.read_text(), flags=re.MULTILINE)
    return machine.topology("lab", f"name: lab\n{text}")


@each_way
@pytest.mark.parametrize(("before", "after"), PAIRS, ids=lambda file: file.stem)
def test_a_changed_file(machine: Machine, before: Path, after: Path, option: str) -> None:
    machine.up(as_lab(machine, before), option)
    file = as_lab(machine, after)
    machine.up(file)
    again = json.loads(machine.ok(f"labctl plan {file} --json"))
    assert [op for op in again if "/".join(op["key"]) not in FLEETING] == []
    seen = machine.observe(f"up {file}")
    assert seen["observed"] == seen["desired"]


def test_untouched_nodes_keep_what_they_have(machine: Machine) -> None:
    """Namespace, process, interface and addresses, while a third node comes, changes and goes."""
    lab = "name: lab\nbridges: {lan: {subnet: 10.0.0.0/24}}\nnamespaces:\n  a: {networks: [lan], run: sleep 1000}\n"
    both = lab + "  b: {networks: [lan]}\n"
    machine.up(machine.topology("lab", both))
    facts = "readlink /proc/self/ns/net; ip -o address; ip route; pgrep -x sleep"
    before = machine.inside("a", f"sh -c '{facts}'")
    for third in ("  c: {networks: [lan]}\n", "  c: {networks: {lan: {ip: 10.0.0.77}}}\n", ""):
        machine.up(machine.topology("lab", both + third))
        assert machine.inside("a", f"sh -c '{facts}'") == before
        machine.inside("b", "ping -qc1 -W2 10.0.0.2")


ECHO = """
import socketserver
class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line)
socketserver.TCPServer(("", 7), Echo).serve_forever()
"""
TALK = """
import socket, sys
with socket.create_connection(("10.0.0.3", 7), timeout=10) as connection:
    for line in sys.stdin:
        connection.sendall(line.encode())
        print(connection.makefile().readline(), end="", flush=True)
"""
THIRDS = {  # what becomes of a third node, and of what is around it, one after the other
    "comes": "c: {networks: [lan]}",
    "gets another address": "c: {networks: {lan: {ip: 10.0.0.77}}}",
    "gets a network": "c: {networks: [lan, other]}",
    "gets a cable": "c: {networks: [lan, other]}\nlinks: [{endpoints: ['c:x', 'd:x']}]",
    "is renamed": "e: {networks: [lan, other]}",
    "routes": "e: {networks: [lan, other], forward: true, sysctls: {net.ipv4.ip_default_ttl: 9}, run: sleep 9}",
    "goes": "",
}


@each_way
def test_a_connection_outlives_every_change_of_others(machine: Machine, option: str) -> None:
    """One TCP connection between two nodes while a third one comes, changes and goes, and their network's rules too."""
    lab = "name: lab\nbridges: {lan: {subnet: 10.0.0.0/24}, other: {subnet: 10.1.0.0/24}}\nnamespaces:\n"
    lab += "  a: {networks: [lan]}\n  b: {networks: [lan], run: 'exec python3 /run/scratch/echo.py'}\n"
    lab += "  d: {network_mode: none}\n"
    machine.write("echo.py", ECHO)
    machine.write("talk.py", TALK)
    machine.up(machine.topology("lab", lab), option)
    wait_until(lambda: ":7 " in machine.inside("b", "ss -Hltn"))
    talk = machine.start("exec labctl exec a -- python3 /run/scratch/talk.py")
    assert talk.stdin
    assert talk.stdout
    for what, third in THIRDS.items():
        assert ": changed in " in machine.up(machine.topology("lab", f"{lab}  {third}\n")), what
        talk.stdin.write(f"{what}\n")
        talk.stdin.flush()
        assert talk.stdout.readline() == f"{what}\n"
    talk.stdin.close()
    assert talk.wait(timeout=10) == 0
    talk.stdin = None


def test_addresses_stay_with_their_nodes(machine: Machine) -> None:
    """Also when nodes come before them in the file, and when they stand in another order."""
    lab = "name: lab\nbridges: {lan: {subnet: 10.0.0.0/24}}\nnamespaces:\n"
    node = "  %s: {networks: [lan]}\n"
    machine.up(machine.topology("lab", lab + node % "a" + node % "b"))
    kept = [machine.inside(name, "ip -oneline address show eth0") for name in "ab"]
    machine.up(machine.topology("lab", lab + node % "new" + node % "b" + node % "a"))
    assert [machine.inside(name, "ip -oneline address show eth0") for name in "ab"] == kept
    assert "10.0.0.4/24" in machine.inside("new", "ip address show eth0")


def test_a_change_in_place_tells_its_reason_and_a_replacement_too(machine: Machine) -> None:
    lab = "name: lab\nbridges: {lan: {subnet: 10.0.0.0/24}}\nnamespaces:\n  a: {networks: [lan], run: sleep 1000}\n"
    machine.up(machine.topology("lab", lab))
    index = machine.inside("a", "cat /sys/class/net/eth0/ifindex")
    changed = machine.topology("lab", lab.replace("/24}", "/24, mtu: 1400}").replace("sleep 1000", "sleep 1001"))
    assert machine.run(f"labctl plan {changed} --exit-code").status == 1
    planned = machine.ok(f"labctl plan {changed}")
    story = machine.up(changed)
    for reason in ("mtu 1500 instead of 1400", "its settings changed"):
        assert reason in planned
        assert reason in story
    assert machine.inside("a", "cat /sys/class/net/eth0/ifindex") == index
    assert machine.run(f"labctl plan {changed} --exit-code").status == 0
