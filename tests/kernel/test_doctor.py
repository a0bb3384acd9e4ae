"""`labctl doctor` on a real kernel: it finds what is put in a lab's way, and touches nothing."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from kernel.machine import SCRATCH, Machine, needs, only_root, wait_until
from kernel.test_ownership import NOBODY

# What labctl says of a user namespace that it may not make; the sysctl is that of the namespace it is set in.
REFUSED = """
from labctl.doctor import refusal
from labctl.linux.probe import user_namespaces
from labctl.linux.trial import trial

refused = trial(as_root=False, extras=[]).user
print(*refusal(user_namespaces(), refused.step, refused.errno), sep="\\n")
"""


def diagnosis(machine: Machine, status: int = 0) -> list[dict[str, Any]]:
    """The findings, from a doctor that touches nothing."""
    with machine.untouched():
        done = machine.run("labctl doctor --json")
        assert (done.status, done.stderr) == (status, "")
    data = json.loads(done.stdout)
    assert data["level"] == max((f["level"] for f in data["findings"]), key=["ok", "note", "warning", "problem"].index)
    return list(data["findings"])


def of(findings: list[dict[str, Any]], level: str) -> dict[str, str]:
    """Sentence and remedy of those of a level."""
    return {finding["what"]: finding["remedy"] for finding in findings if finding["level"] == level}


def pretend(machine: Machine, service: str, way: str = "") -> None:
    """A process of a service's name, as of now a part of the machine."""
    command = f"{SCRATCH}/{service} 1000"
    machine.ok(f"ln -s $(command -v sleep) {SCRATCH}/{service}; {way} {command} >/dev/null 2>&1 &")
    wait_until(lambda: machine.pids(command))
    machine.settle()


def test_a_machine_without_obstacles(machine: Machine) -> None:
    findings = diagnosis(machine)
    assert of(findings, "problem") == of(findings, "warning") == {}
    assert list(findings[0]) == ["topic", "level", "what", "remedy"]
    assert [what for what in of(findings, "ok") if "has network namespaces, mounts, bridges" in what]
    done = machine.run("labctl doctor")
    assert (done.status, done.stderr) == (0, "")
    assert [line for line in done.stdout.splitlines() if len(line) > 80] == []
    assert done.stdout.endswith("\n\nLabs can be built here.\n")


def test_a_running_lab_is_no_obstacle_to_others(machine: Machine) -> None:
    machine.up("two-containers")
    assert of(diagnosis(machine), "warning") == {}


@pytest.mark.parametrize(
    ("obstacle", "says", "remedy"),
    [
        (
            "nft 'table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }'",
            "ip filter FORWARD (policy drop)",
            "iptables -I FORWARD -i BRIDGE -j ACCEPT",
        ),
        (
            "nft 'table inet edge { chain way { type filter hook forward priority 0; counter reject; }; }'",
            "inet edge way (last rule reject)",
            "nft insert rule inet edge way iifname BRIDGE accept",
        ),
        (
            "echo 1 >/proc/sys/net/ipv4/conf/all/rp_filter",
            "net.ipv4.conf.all.rp_filter = 1",
            "sysctl -w net.ipv4.conf.all.rp_filter=2",
        ),
        (
            "ip link add vpn0 type veth peer name far0; ip link set vpn0 up; ip address add 172.16.0.1/12 dev vpn0",
            "reaches 172.16.0.0/12 through vpn0, and the topology two-containers uses 172.17.0.0/16",
            "labctl up --isolated two-containers; or choose another subnet in the file: 192.168.0.0/20 is free",
        ),
        ("mkdir -p /run/labctl/torn/log", "/run/labctl/torn is of a lab", "labctl down torn"),
    ],
    ids=["policy", "reject", "rp_filter", "route", "leftover"],
)
def test_an_obstacle_is_found(machine: Machine, obstacle: str, says: str, remedy: str) -> None:
    machine.ok(obstacle)
    if "labctl" not in obstacle:  # that goes with `down`
        machine.settle()
    warnings = of(diagnosis(machine), "warning")
    assert [what for what in warnings if says in what], warnings
    assert [told for told in warnings.values() if remedy in told], warnings
    machine.ok("rm -rf /run/labctl")
    machine.settle()


def test_the_remedies_help(machine: Machine) -> None:
    """What doctor says to type is what ends its complaint."""
    machine.ok("echo 1 >/proc/sys/net/ipv4/conf/all/rp_filter; mkdir -p /run/labctl/torn/log")
    for remedy in of(diagnosis(machine), "warning").values():
        for command in [line for line in remedy.splitlines() if line.startswith("  ")] or [remedy]:
            machine.run(command)
    assert of(diagnosis(machine), "warning") == {}
    machine.ok("rm -rf /run/labctl")
    machine.settle()


@pytest.mark.parametrize(
    ("service", "says"),
    [
        ("dockerd", "Docker drops what"),
        ("firewalld", "firewalld drops what"),
        ("NetworkManager", "NetworkManager runs"),
    ],
)
@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "in a container"])
def test_a_service_is_found_by_its_process(machine: Machine, service: str, says: str, elsewhere: bool) -> None:
    """Only in the machine's own network: what runs in a container is the container's."""
    machine.ok("nft 'table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }'")
    pretend(machine, service, "unshare --net" if elsewhere else "")
    assert bool([what for what in of(diagnosis(machine), "warning") if says in what]) is not elsewhere


@only_root
def test_networkd_is_judged_by_its_files(machine: Machine) -> None:
    machine.ok("mkdir -p /etc/systemd/network; printf '[Match]\\nName=*\\n' >/etc/systemd/network/10-all.network")
    pretend(machine, "systemd-network")
    assert "/etc/systemd/network/10-all.network" in "".join(of(diagnosis(machine), "warning"))


def test_nft_is_missing(machine: Machine) -> None:
    """Nowhere: neither on the PATH nor where a plain user's PATH does not look."""
    machine.ok(
        "for folder in /usr/local/sbin /usr/sbin /sbin; do"
        " [ ! -e $folder/nft ] || mount --bind /dev/null $folder/nft; done"
    )
    machine.settle()
    assert of(diagnosis(machine, status=1), "problem") == {"nft is not installed.": "apt-get install nftables"}
    done = machine.run("labctl doctor")
    assert done.status == 1
    assert done.stdout.endswith("\n\nNo lab can be built here until the problem above is solved.\n")


def test_nft_is_found_where_an_ordinary_path_does_not_look(machine: Machine) -> None:
    machine.environment["PATH"] = f"{SCRATCH}:/usr/bin:/bin"
    assert of(diagnosis(machine), "problem") == {}


@only_root
@needs("setpriv")
def test_an_ordinary_user(machine: Machine) -> None:
    machine.path(SCRATCH).chmod(0o755)
    with machine.untouched():
        done = machine.run(f"{NOBODY} labctl doctor --json")
        assert (done.status, done.stderr) == (0, "")
    findings = json.loads(done.stdout)["findings"]
    assert of(findings, "problem") == {}
    assert "You are nobody (uid 65534) and may make user namespaces: labs are rootless." in of(findings, "ok")
    assert [what for what in of(findings, "ok") if what.endswith("your labs: they are isolated.")]


@needs("setpriv")
def test_root_without_capabilities(machine: Machine) -> None:
    with machine.untouched():
        done = machine.run("setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin labctl doctor --json")
        assert (done.status, done.stderr) == (1, "")
    problems = of(json.loads(done.stdout)["findings"], "problem")
    assert "You are root, but without CAP_SYS_ADMIN." in problems
    assert [what for what in problems if what.startswith("No network namespaces on Linux")]


def test_without_proc_sys_and_with_a_read_only_sys(machine: Machine) -> None:
    """As in a container."""
    machine.ok("mount -t tmpfs -o ro tmpfs /proc/sys; mount -o remount,bind,ro /sys; touch /run/.containerenv")
    machine.settle()
    done = machine.run("labctl doctor --json")
    assert (done.status, done.stderr) == (0, "")
    machine.ok("rm /run/.containerenv; umount /proc/sys; mount -o remount,bind,rw /sys")
    machine.settle()


def test_user_namespaces_that_are_switched_off(machine: Machine) -> None:
    script = machine.write("refused.py", REFUSED)
    settings = "echo 0 >/proc/sys/user/max_user_namespaces"
    message, *hint = machine.ok(
        f"unshare -Ur sh -c '{settings}; {sys.executable} {SCRATCH}/{script.name}'"
    ).splitlines()
    assert message == "user namespaces are switched off here (user.max_user_namespaces = 0)"
    assert hint[-1] == "  sudo sysctl -w user.max_user_namespaces=15000"


@only_root
def test_user_namespaces_in_a_chroot(machine: Machine) -> None:
    script = machine.write("refused.py", REFUSED)
    root = f"{SCRATCH}/root"
    machine.ok(f"mkdir {root} && mount -t tmpfs tmpfs {root}")
    machine.ok(
        f"for d in /*; do [ -L $d ] && cp -P $d {root} || {{ mkdir {root}$d; mount --rbind $d {root}$d; }}; done"
    )
    message, _ = machine.ok(f"chroot {root} {sys.executable} {SCRATCH}/{script.name}").splitlines()
    assert message == "user namespaces may not be made in a chroot (EPERM)"
    machine.ok(f"umount --recursive --lazy {root}")
