"""`exec`, `shell`, `logs` and the services of a lab: processes in nodes, as `docker exec` has them."""

from __future__ import annotations

import os
import re
import signal
import sys

import pytest

from kernel.machine import SCRATCH, Machine, needs, wait_until

LAB = """
name: runs
bridges:
  docker0: {subnet: 172.17.0.0/16}
namespaces:
  container1: {networks: [docker0], hostname: web.example.org, dns: 192.0.2.53, extra_hosts: {db: 192.0.2.7}}
  container2: {networks: {docker0: {aliases: [peer]}}}
"""
# A service whose children leave its session, close all they have, and do not listen to SIGTERM.
STUBBORN = """
name: stubborn
namespaces:
  node:
    network_mode: none
    run:
      parent: |
        trap '' TERM
        setsid sh -c 'trap "" TERM; setsid sleep 1000 & sleep 1001' >/dev/null 2>&1 &
        (setsid env -i sleep 1002 &)
        sleep 1003
      quiet: echo out; echo err >&2; exec sleep 1004
      other: echo other; exec sleep 1005
"""


@pytest.fixture
def lab(machine: Machine) -> Machine:
    machine.up(machine.topology("runs", LAB))
    return machine


def test_input_and_output_are_passed(lab: Machine) -> None:
    done = lab.run("labctl exec container1 -- sh -c 'cat; echo error >&2'", "some\ntext")
    assert (done.status, done.stdout, done.stderr) == (0, "some\ntext", "error\n")


@pytest.mark.parametrize(
    ("command", "status", "says"),
    [
        ("container1 -- sh -c 'exit 42'", 42, ""),
        ("container1 true", 0, ""),
        ("container1 false", 1, ""),
        ("container1 -- no-such-command", 127, "labctl: no-such-command: no such command\n"),
        ("container1 -- /etc/hosts", 126, "labctl: /etc/hosts: Permission denied\n"),
        ("container1 -- /etc", 126, "labctl: /etc: Permission denied\n"),
        ("contain1 -- true", 125, "labctl: the lab runs has no node 'contain1'\ndid you mean 'container1'?\n"),
        ("other/container1 -- true", 125, "labctl: no lab 'other' is running\nRunning: runs.\n"),
        ("-w /none container1 -- true", 125, "labctl: cannot change to /none: No such file or directory\n"),
        ("container1 --", 2, "labctl: exec needs a command\nFor example: labctl exec container1 -- ip route\n"),
    ],
)
def test_exit_status(lab: Machine, command: str, status: int, says: str) -> None:
    done = lab.run(f"labctl exec {command}")
    assert (done.status, done.stdout, done.stderr) == (status, "", says)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_a_signal_reaches_the_command(lab: Machine, number: signal.Signals) -> None:
    """The process that was started is the command itself; nothing stands between."""
    started = lab.start("exec env --default-signal labctl exec container1 -- sleep 1000")
    wait_until(lambda: lab.pids("sleep 1000"))
    [pid] = lab.pids("sleep 1000")
    os.kill(pid, number)
    started.communicate(timeout=10)
    assert started.returncode == -number  # nsenter ends as what it started did
    assert lab.pids("sleep 1000") == []


@needs("script")
def test_terminal(lab: Machine) -> None:
    assert lab.inside("container1", "sh -c 'test -t 0 || echo no terminal'") == "no terminal\n"
    shown = lab.ok("script -qec 'labctl exec container1 -- sh -c \"tty; stty size\"' /dev/null </dev/null")
    assert shown.startswith("/dev/pts/")


@needs("script")
def test_shell(lab: Machine) -> None:
    lab.environment["SHELL"] = "/bin/sh"
    shown = lab.ok("script -qec 'labctl shell container1' /dev/null", "ip -brief address show eth0\nexit 0\n")
    assert "172.17.0.2/16" in shown
    assert "container1:" in shown


def test_the_node_is_what_a_command_sees(lab: Machine) -> None:
    with lab.untouched():
        assert lab.inside("container1", "hostname") == "web.example.org\n"
        assert lab.inside("container1", "cat /etc/hostname") == "web.example.org\n"
        assert lab.inside("container1", "cat /etc/resolv.conf") == "nameserver 192.0.2.53\n"
        assert set(lab.inside("container1", "ls /sys/class/net").split()) == {"lo", "eth0"}
        assert "192.0.2.7\tdb\n" in lab.inside("container1", "cat /etc/hosts")
        assert "172.17.0.2\tcontainer1 web.example.org container1.docker0\n" in lab.inside(
            "container2", "cat /etc/hosts"
        )
    assert lab.ok("hostname") == "machine\n"
    assert "docker0" in lab.inside("host", "ls /sys/class/net").split()


@needs("getent")
@pytest.mark.parametrize("name", ["container2", "peer"])
def test_names_resolve(lab: Machine, name: str) -> None:
    assert lab.inside("container1", f"getent hosts {name}").split()[0] == "172.17.0.3"
    assert "1 received" in lab.inside("container1", f"ping -c 1 -W 5 {name}")
    assert lab.run(f"getent hosts {name}").status != 0


def test_environment_and_folder(lab: Machine) -> None:
    assert lab.ok("labctl exec -e A=1 --env 'B=two words=2' container1 -- sh -c 'echo $A $B $LABCTL_NODE'") == (
        "1 two words=2 container1\n"
    )
    assert lab.ok(f"labctl exec --workdir {SCRATCH} container1 -- pwd") == f"{SCRATCH}\n"
    assert lab.ok("labctl exec runs/container2 -- sh -c 'echo $LABCTL_LAB/$LABCTL_NODE'") == "runs/container2\n"


def test_options_of_the_command_stay_with_it(lab: Machine) -> None:
    assert lab.ok("labctl exec container1 -- printf %s, -e -w --help --json") == "-e,-w,--help,--json,"
    assert lab.ok("labctl exec container1 printf %s, -- -x") == "--,-x,"


def test_logs(machine: Machine) -> None:
    machine.up(machine.topology("stubborn", STUBBORN))
    wait_until(lambda: machine.ok("labctl logs node quiet") == "out\nerr\n")
    every = machine.ok("labctl logs node")
    assert sorted(every.splitlines()) == ["other  | other", "quiet  | err", "quiet  | out"]
    assert machine.ok("labctl logs --tail 1 node quiet") == "err\n"
    wrong = machine.run("labctl logs node quite")
    assert (wrong.status, wrong.stdout) == (2, "")
    assert "no service 'quite'" in wrong.stderr


def test_logs_follow(machine: Machine) -> None:
    topology = "name: talks\nnamespaces: {node: {network_mode: none, run: 'echo 1; read x <pipe; echo $x; sleep 1000'}}"
    machine.up(machine.topology("talks", topology))
    following = machine.start("exec labctl logs -f node")
    assert following.stdout
    assert following.stdout.readline() == "1\n"
    os.killpg(following.pid, 9)
    following.communicate(timeout=10)


def test_services_run_in_their_node(machine: Machine) -> None:
    machine.up("two-containers")
    for node in ("container1", "container2"):
        wait_until(lambda node=node: "http.server" in machine.ok(commands(node)))  # type: ignore[misc]
        wait_until(lambda node=node: re.search(r":80\s", machine.inside(node, "ss -Hltn")))  # type: ignore[misc]
    assert not re.search(r":80\s", machine.ok("ss -Hltn"))


def commands(node: str) -> str:
    return f"for pid in $(ip netns pids {node}); do tr '\\0' ' ' <\"/proc/$pid/cmdline\"; echo; done"


def test_down_ends_every_descendant(machine: Machine) -> None:
    """Also those that left the session, cleared their environment or ignore SIGTERM: they are in the namespace."""
    machine.up(machine.topology("stubborn", STUBBORN))
    sleepers = [f"sleep {number}" for number in range(1000, 1006)]
    wait_until(lambda: all(sleeper in machine.ok(commands("node")) for sleeper in sleepers))
    machine.ok("labctl down")
    assert machine.processes() == machine.before["processes"]


def test_down_ends_what_exec_started(lab: Machine) -> None:
    lab.ok("labctl exec container1 -- sh -c 'sleep 1000 >/dev/null 2>&1 &'")
    assert "sleep 1000" in lab.ok(commands("container1"))
    lab.ok("labctl down")
    assert lab.processes() == lab.before["processes"]


def test_a_dead_service_is_seen_and_mended(machine: Machine) -> None:
    machine.up("two-containers")
    assert "http.server" in machine.ok(commands("container1"))
    alive = machine.ok("labctl ps")
    machine.ok("kill -KILL $(ip netns pids container1)")
    wait_until(lambda: machine.ok("ip netns pids container1") == "")
    assert machine.ok("labctl ps") != alive
    plan = machine.ok("labctl plan two-containers")
    assert "http.server" in plan
    assert "container2" not in plan
    machine.up("two-containers")
    assert machine.ok("labctl ps") == alive
    assert machine.run("labctl plan two-containers --exit-code").status == 0


def test_a_service_of_an_isolated_lab(machine: Machine) -> None:
    machine.up("two-containers", "--isolated")
    fetch = (
        f"{sys.executable} -c 'import urllib.request as r; print(r.urlopen(\"http://172.17.0.3\", timeout=5).read())'"
    )
    for node in ("host", "container1"):
        wait_until(lambda node=node: machine.run(f"labctl exec {node} -- {fetch}").status == 0)  # type: ignore[misc]
        assert "It works!" in machine.inside(node, fetch)
    assert machine.run(fetch).status != 0
