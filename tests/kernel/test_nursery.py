"""Namespaces that a child makes ahead, and sysctls of many of them."""

from __future__ import annotations

import sys

from kernel.machine import Machine, each_way, wait_until

SIZE = 110  # nodes: a child makes their namespaces, several procfs are used, and their bridge goes up last


def large(machine: Machine, size: int = SIZE) -> str:
    nodes = "".join(
        f"  n{number}: {{networks: [lan], sysctls: {{net.ipv4.ip_default_ttl: {min(number, 255)}}}}}\n"
        for number in range(1, size + 1)
    )
    return machine.topology("lab", f"name: lab\nbridges: {{lan: {{subnet: 10.7.0.0/16}}}}\nnamespaces:\n{nodes}")


@each_way
def test_each_node_has_a_namespace_of_its_own(machine: Machine, option: str) -> None:
    """With its own settings, whichever process made it; and what is there is what was meant."""
    file = large(machine)
    machine.up(file, option)
    assert machine.run(f"labctl plan {file} --exit-code").status == 0
    wait_until(lambda: "state UP" in machine.ok("labctl exec host -- ip link show lan"))
    assert " 0% packet loss" in machine.ok(f"labctl exec n{SIZE} -- ping -c 1 -W 5 n1")
    for number in (1, 23, 24, SIZE):
        assert machine.ok(f"labctl exec n{number} -- sysctl -n net.ipv4.ip_default_ttl") == f"{number}\n"
        assert machine.ok(f"labctl exec n{number} -- sysctl -n net.ipv6.conf.eth0.disable_ipv6") == "1\n"
    inodes = machine.ok("labctl exec host -- sh -c 'stat -c %i /run/labctl/lab/netns/n*'")
    assert len(set(inodes.split())) == SIZE
    machine.ok("labctl down")
    assert machine.processes() == machine.before["processes"]


def test_the_child_ends_with_up(machine: Machine) -> None:
    """However that ends: here it is killed while the child is at work."""
    file = large(machine, 400)
    running = machine.start(f"exec labctl up {file}")
    wait_until(lambda: sum("labctl up" in line for line in machine.processes()) > 1)
    machine.ok("pkill -KILL -o -f 'labctl up'")  # the oldest is `up` itself
    running.communicate()
    wait_until(lambda: machine.processes() == machine.before["processes"])
    machine.ok("labctl down --all")


def test_the_kernel_makes_no_more(machine: Machine) -> None:
    """A child that cannot go on leaves the rest to whoever asks, and that one to hear why."""
    asks = "import itertools; from labctl.linux.nursery import Nursery; ahead = Nursery(60)"
    counts = "print(sum(1 for _ in itertools.takewhile(lambda fd: fd is not None, iter(ahead.take, 0)))); ahead.close()"
    limited = f"echo 40 >/proc/sys/user/max_net_namespaces; {sys.executable} -c '{asks}; {counts}'"
    made = machine.ok(f'unshare --user --map-root-user --net --mount sh -c "{limited}"')  # a limit of its own
    assert 16 <= int(made) < 40
