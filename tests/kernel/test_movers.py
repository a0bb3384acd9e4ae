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
