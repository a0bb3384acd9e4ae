"""Services that leave the namespaces that labctl started them in: nobody is taken for theirs because of it."""

from __future__ import annotations

from kernel.machine import Machine, needs, wait_until
from kernel.watching import lab

STRANGERS = 40


@needs("nsenter", "unshare")
def test_a_foreign_network_that_a_service_moved_into_is_no_nodes(machine: Machine) -> None:
    """The node's own has lost its mount, and a process of the service is somewhere else."""
    machine.ok("ip netns add foreign")
    machine.start("exec ip netns exec foreign sleep 1001")
    wait_until(lambda: machine.pids("sleep 1001"))
    machine.settle()
    file = lab(machine, "main: exec nsenter --net=/run/netns/foreign sleep 1000")
    machine.up(file)
    wait_until(lambda: machine.pids("sleep 1000"))
    machine.ok("umount /run/labctl/lab/netns/node")
    machine.up(file)
    machine.ok("umount /run/labctl/lab/netns/node; labctl down")
    machine.prove_clean()


@needs("unshare")
def test_the_number_of_a_mount_namespace_is_not_believed_for_ever(machine: Machine) -> None:
    """The kernel gives it to the next one, when neither the service nor its supervisor has it any more."""
    machine.up(lab(machine, "main: exec unshare --mount sleep 1000"))
    wait_until(lambda: machine.pids("sleep 1000"))
    machine.ok("kill -9 $(pgrep -f supervise[.]py)")
    wait_until(lambda: not machine.ok("pgrep -f supervise[.]py || :"))
    for _ in range(STRANGERS):
        machine.start("exec unshare --mount sleep 1001")
    wait_until(lambda: len(machine.pids("sleep 1001")) == STRANGERS)
    machine.up(lab(machine, "main: exec sleep 1002"))
    assert (len(machine.pids("sleep 1000")), len(machine.pids("sleep 1001"))) == (0, STRANGERS)
    machine.ok("labctl down; pkill -f sleep.100[1]")
    wait_until(lambda: not machine.pids("sleep 1001"))


def test_who_shares_a_namespace_keeps_it(machine: Machine) -> None:
    """The node whose it is runs nothing, and its mount is gone; what runs in it cannot be told by its environment."""
    nodes = "a: {network_mode: none}, b: {network_mode: 'namespace:a', run: exec env -i sleep 1000}"
    file = machine.topology("lab", f"name: lab\nnamespaces: {{{nodes}}}\n")
    machine.up(file)
    wait_until(lambda: machine.pids("sleep 1000"))
    before = machine.pids("sleep 1000")
    machine.ok("umount /run/labctl/lab/netns/a")
    machine.up(file)
    assert machine.pids("sleep 1000") == before
    machine.ok("umount /run/labctl/lab/netns/a; labctl down")
    machine.prove_clean()


def test_what_a_daemon_left_in_the_machines_network_is_known_without_its_supervisor(machine: Machine) -> None:
    """Neither its environment nor its parents tell whose it is."""
    run = "(setsid env -i sleep 1000 &); (setsid env -i sleep 0.5 &)"
    machine.up(machine.topology("lab", f"name: lab\nnamespaces: {{a: {{network_mode: host, run: '{run}'}}}}\n"))
    status = machine.path("/run/labctl/lab/status/a/main")
    wait_until(lambda: machine.pids("sleep 1000") and "state=exited" in status.read_text())
    wait_until(lambda: not machine.pids("sleep 0.5"))
    wait_until(lambda: f"pid={machine.ok('pgrep -fx sleep.1000').strip()} " in status.read_text().splitlines()[-1])
    machine.ok("kill -9 $(pgrep -f supervise[.]py)")
    machine.ok("labctl down")
    machine.prove_clean()
