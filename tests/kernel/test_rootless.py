"""Labs of an ordinary user: what they see of the machine and the machine of them, and what keeps them from it."""

from __future__ import annotations

import re
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from kernel.machine import IDS, SCRATCH, USER, Machine, wait_until

FOLDER = f"/run/user/{USER}"
HOLDER = f"{FOLDER}/labctl/.holder"
TWO = """
name: {0}
bridges: {{docker0: {{subnet: 172.17.0.0/16}}}}
namespaces: {{node: {{networks: [docker0], run: exec sleep 1000}}}}
"""


@pytest.fixture
def user(machine: Machine) -> Machine:
    machine.become_user()
    return machine


def test_the_machine_sees_nothing_of_it_but_processes_and_a_folder(user: Machine) -> None:
    before = user.snapshot()
    user.up("two-containers")
    after = user.snapshot()
    for what, lines in before.items():
        if what == "processes":
            assert set(lines) < set(after[what])
        elif not what.startswith("find"):
            assert after[what] == lines
    new = [line for what in after if what.startswith("find") for line in set(after[what]) - set(before[what])]
    assert {line.split()[0].startswith(f"{FOLDER}/labctl") for line in new} == {True}
    assert {line.split()[2] for line in new} == {str(USER)}


def test_it_is_the_users_own_in_there(user: Machine) -> None:
    story = user.up("two-containers")
    assert "up in its own host namespace" in story
    assert user.inside("container1", "id -u") == "0\n"
    assert user.inside("container1", f"cat {FOLDER}/labctl/two-containers/etc/container1/hostname") == "container1\n"
    assert "eth0" in user.inside("host", "ip netns exec two-containers-container2 ip -brief link")
    assert user.inside("container1", "cat /proc/self/uid_map").split() == ["0", str(USER), "1", "1", str(IDS), "65536"]
    wait_until(lambda: user.run("labctl exec container1 -- curl -s 172.17.0.3").status == 0)
    assert user.run("labctl exec container1 -- touch /etc/mine").status != 0


def test_roots_labs_and_the_users_do_not_see_each_other(user: Machine) -> None:
    file = user.topology("one", TWO.format("one"))
    as_root = f"{sys.executable} -P -m labctl"
    user.ok(f"{as_root} up {file}")
    assert "no lab is running" in user.run("labctl ps").stderr
    user.up(file)
    user.ok("labctl down one")
    assert len(user.pids("sleep 1000")) == 1
    user.up(file)
    user.ok(f"{as_root} down one")
    assert len(user.pids("sleep 1000")) == 1
    user.inside("node", "ping -qc1 -W2 172.17.0.1")


def test_the_holder_goes_with_the_last_lab(user: Machine) -> None:
    for name in ("one", "two"):
        user.up(user.topology(name, TWO.format(name)))
    user.ok("labctl down one")
    assert user.path(HOLDER).exists()
    user.inside("node", "true")
    user.ok("labctl down two")
    assert not user.path(f"{FOLDER}/labctl").exists()
    assert not [line for line in user.processes() if "sleep" in line]


def test_labs_that_come_and_go_at_once(user: Machine) -> None:
    """Every one of them finds, or starts, the one holder, and the last to go ends it."""
    files = [user.topology(f"n{n}", TWO.format(f"n{n}")) for n in range(5)]
    with ThreadPoolExecutor() as pool:
        for verb in ("up", "down", "up", "down"):
            done = list(pool.map(lambda file: user.run(f"labctl {verb} {file}"), files))  # noqa: B023
            assert [each.status for each in done] == [0] * 5, [each.stderr for each in done]
    assert not user.path(f"{FOLDER}/labctl").exists()


def test_the_holder_was_killed(user: Machine) -> None:
    """Its namespaces live on in the lab's programs, and cannot be entered again: those end, the lab is built anew."""
    file = user.topology("one", TWO.format("one"))
    user.up(file)
    user.ok(f"kill -KILL $(cat {HOLDER})")
    with user.untouched():
        for verb in (f"plan {file}", "ps", "show", "logs node"):
            done = user.run(f"labctl {verb}")
            assert (done.status, done.stdout) == (1, "")
            assert "the process that held the namespaces of your labs was killed" in done.stderr
    user.up(file)
    assert user.run(f"labctl plan {file} --exit-code").status == 0
    assert len(user.pids("sleep 1000")) == 1
    user.inside("node", "ping -qc1 -W2 172.17.0.1")
    user.ok(f"kill -KILL $(cat {HOLDER})")
    assert user.run("labctl down one").status == 0


def test_killed_while_it_starts_the_holder(user: Machine) -> None:
    """The holder does not go on alone, and nobody waits for it."""
    user.ok(f"mkdir {SCRATCH}/slow")
    user.write("slow/newuidmap", '#!/bin/sh\nsleep 1.5\nexec /usr/bin/newuidmap "$@"\n').chmod(0o755)
    slow = f'timeout -s KILL 1 user env "PATH={SCRATCH}/slow:$PATH" python3 -P -m labctl up two-containers'
    assert user.run(slow).status != 0
    wait_until(lambda: user.processes() == user.before["processes"])
    user.up("two-containers")


def test_without_subordinate_ids(machine: Machine) -> None:
    machine.become_user(more_ids=False)
    machine.up("two-containers")
    assert machine.inside("container1", "cat /proc/self/uid_map").split() == ["0", str(USER), "1"]
    wait_until(lambda: machine.run("labctl exec container1 -- curl -s 172.17.0.3").status == 0)


@pytest.mark.parametrize(
    ("plant", "says"),
    [
        (f"ln -s /etc {FOLDER}/labctl", f"{FOLDER}/labctl: is no folder"),
        (f"touch {FOLDER}/labctl", f"{FOLDER}/labctl: is no folder"),
        (f"mkdir {FOLDER}/labctl", f"{FOLDER}/labctl is not yours alone"),
        (f"mkdir {FOLDER}/labctl; chown {USER} {FOLDER}/labctl; chmod 777 {FOLDER}/labctl", "is not yours alone"),
    ],
)
def test_what_others_put_in_the_way_is_not_followed(user: Machine, plant: str, says: str) -> None:
    user.ok(plant)
    user.settle()
    with user.untouched():
        done = user.run("labctl up two-containers")
        assert (done.status, done.stdout) == (1, "")
        assert says in done.stderr
        assert "It was left alone." in done.stderr
    user.ok(f"rm -r {FOLDER}/labctl")
    user.settle()


OFF = "user namespaces are switched off here (user.max_user_namespaces = 0)"
PLANTED = {
    "lab": "ln -s /run/scratch/victim {home}/lab",
    "record": "mkdir {home}/lab; ln -s /run/scratch/victim/file {home}/lab/lab.json",
    "new record": "mkdir {home}/lab; ln -s /run/scratch/victim/file {home}/lab/.lab.json",
    "files": "mkdir {home}/lab; ln -s /run/scratch/victim {home}/lab/etc",
    "node's files": "mkdir -p {home}/lab/etc; ln -s /run/scratch/victim {home}/lab/etc/node",
    "namespaces": "mkdir {home}/lab; ln -s /run/scratch/victim {home}/lab/netns",
    "log": "mkdir -p {home}/lab/log; ln -s /run/scratch/victim/file {home}/lab/log/node.main.log",
    "holder": "rm -f {home}/.holder; ln -s /run/scratch/victim/file {home}/.holder",
}


@pytest.mark.parametrize("planted", PLANTED)
def test_links_in_the_folder_lead_nowhere(user: Machine, planted: str) -> None:
    """Whether labctl refuses or replaces them, what they lead to stays as it is."""
    victim = "mkdir -p /run/scratch/victim; echo precious >/run/scratch/victim/file; chown -R {0} /run/scratch/victim"
    user.ok(victim.format(USER))
    home = f"{FOLDER}/labctl"
    user.ok(f"mkdir -m 700 {home}; {PLANTED[planted].format(home=home)}; chown -hR {USER} {home}")
    look = "ls -lR /run/scratch/victim; cat /run/scratch/victim/*"
    before = user.ok(look)
    up = user.run(f"labctl up {user.topology('lab', TWO.format('lab'))}")
    assert user.ok(look) == before
    assert "Traceback" not in up.stderr
    user.run("labctl down lab")
    user.ok("labctl down --all || :")
    assert user.ok(look) == before
    user.ok(f"pkill -xf 'sleep 2147483647' || :; rm -rf {home}")


def test_a_plan_where_root_has_labs(user: Machine) -> None:
    user.ok(f"{sys.executable} -P -m labctl up two-containers")
    assert user.run("labctl plan two-containers --exit-code").status == 1
    assert "ip netns add" in user.ok("labctl up two-containers --dry-run")
    user.ok(f"{sys.executable} -P -m labctl down")


@pytest.mark.parametrize("gone", ["later", "deleted"])
def test_a_working_folder_that_is_not_there_inside(user: Machine, gone: str) -> None:
    user.up("two-containers")
    user.ok("mkdir -m 777 /run/later")
    end = "rmdir /run/later" if gone == "deleted" else ":"
    assert user.ok(f"cd /run/later; {end}; labctl exec container1 -- pwd") == "/\n"
    user.ok("cd /run/later || cd /; labctl down; rm -rf /run/later")


def test_who_has_no_labs(user: Machine) -> None:
    with user.untouched():
        done = user.run("labctl down nosuch")
        assert (done.status, done.stderr.splitlines()[0]) == (2, "labctl: no lab 'nosuch' is running")
        elsewhere = user.run("user env XDG_RUNTIME_DIR=/run/none python3 -P -m labctl up two-containers")
        assert (elsewhere.status, elsewhere.stderr.splitlines()) == (
            1,
            ["labctl: /run/none/labctl: no such file or directory", "Set XDG_RUNTIME_DIR to a folder of your own."],
        )


@pytest.mark.parametrize("name", ["../../scratch", "..", "a/b", "/etc", ".holder", "-x", "", "a b", "x" * 40])
@pytest.mark.parametrize("verb", ["down", "show", "logs", "exec"])
def test_names_are_no_paths(machine: Machine, verb: str, name: str) -> None:
    with machine.untouched():
        words = f"-- '{name}'" if verb in ("down", "show") else f"-- '{name}/node' true"
        done = machine.run(f"labctl {verb} {words}")
        assert done.status in (1, 2, 125)
        assert "Traceback" not in done.stderr


# The limit is each user namespace's own: it is set in one that has all ids, for the command that runs there.
LIMITED = """
import os, sys
from labctl.linux import libc
ready, told = os.pipe()
go, let = os.pipe()
child = os.fork()
if not child:
    libc.unshare(libc.CLONE_NEWUSER)
    os.write(told, b".")
    os.read(go, 1)
    with open("/proc/sys/user/max_user_namespaces", "w") as limit:
        limit.write("0")
    os.execvp(sys.argv[1], sys.argv[1:])
os.read(ready, 1)
for kind in ("uid", "gid"):
    with open(f"/proc/{child}/{kind}_map", "w") as file:
        file.write("0 0 1000000")
os.write(let, b".")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_where_user_namespaces_are_switched_off(user: Machine) -> None:
    user.write("limited.py", LIMITED)
    with user.untouched():
        done = user.run(f"{sys.executable} {SCRATCH}/limited.py labctl up two-containers")
        assert (done.status, done.stdout) == (1, "")
        assert done.stderr.splitlines() == [
            f"labctl: without root a lab needs a user namespace: {OFF}",
            "Allow them (to keep it, also in /etc/sysctl.d/60-labctl.conf):",
            "  sudo sysctl -w user.max_user_namespaces=15000",
        ]
        assert re.search(r"^no lab is running", user.run("labctl ps").stderr)
        doctor = user.run(f"{sys.executable} {SCRATCH}/limited.py labctl doctor")
        assert doctor.status == 1
        assert "User namespaces are switched off here" in doctor.stdout


def test_a_runtime_folder_written_otherwise_is_the_same(user: Machine) -> None:
    user.up("two-containers")
    otherwise = f"user env XDG_RUNTIME_DIR=/run//user/./{USER}/ python3 -P -m labctl"
    assert "two-containers" in user.ok(f"{otherwise} ps")
    user.ok(f"{otherwise} up two-containers")  # which ends what is left of a holder that it does not know
    assert user.ok("labctl exec container1 -- hostname") == "container1\n"
    user.ok(f"{otherwise} down")


def test_without_a_runtime_folder(user: Machine) -> None:
    """As after su(1), or for a service: a folder of the user's in /tmp."""
    user.ok("mount -t tmpfs -o mode=1777 tmpfs /tmp")
    user.settle()
    user.ok("env -u XDG_RUNTIME_DIR true")
    plain = "user env -u XDG_RUNTIME_DIR python3 -P -m labctl"
    user.ok(f"{plain} up two-containers")
    assert user.path(f"/tmp/labctl-{USER}/two-containers/lab.json").exists()
    assert "no lab is running" in user.run("labctl ps").stderr
    user.ok(f"{plain} down")
    assert not user.path(f"/tmp/labctl-{USER}").exists()
    user.prove_clean()
    user.ok("umount /tmp")
    user.settle()
