"""What `run:` starts: in turn, when ready, again when ended; how it ended is told, and all of it goes."""

from __future__ import annotations

import json
import os
import signal

import pytest

from kernel.machine import SCRATCH, Machine, each_way, wait_until
from kernel.watching import lab, service, services, supervisors, the_one

SERVER = "exec python3 -m http.server 80"

# --- ends and restarts -----------------------------------------------------------------------------------------------

ENDS = """
good: exit 0
bad: exit 3
killed: kill -KILL $$
missing: [no-such-program]
text: [/etc/passwd]
nowhere: {command: [sleep, 1], working_dir: /nowhere}
nobody: {command: [sleep, 1], user: no-such-user}
"""
ENDED = {
    "good": ("exited", 0, None, "exited (0)"),
    "bad": ("exited", 3, None, "exited (3)"),
    "killed": ("killed", None, "SIGKILL", "killed (SIGKILL)"),
    "missing": ("exited", 127, None, "exited (127)"),
    "text": ("exited", 126, None, "exited (126)"),
    "nowhere": ("exited", 125, None, "exited (125)"),
    "nobody": ("exited", 125, None, "exited (125)"),
}
LOGGED = {
    "missing": "labctl: no-such-program: No such file or directory\n",
    "text": "labctl: /etc/passwd: Permission denied\n",
    "nowhere": "labctl: working_dir /nowhere: No such file or directory\n",
    "nobody": "labctl: user no-such-user: no such user\n",
}


@each_way
def test_how_each_ended_is_told(machine: Machine, option: str) -> None:
    machine.up(lab(machine, ENDS.strip().replace("\n", ", ")), option)
    wait_until(lambda: not any(s["pids"] for s in services(machine).values()))
    found = {name.partition("/")[2]: s for name, s in services(machine).items()}
    assert {name: (s["state"], s["exit_status"], s["signal"]) for name, s in found.items()} == {
        name: told[:3] for name, told in ENDED.items()
    }
    for screen in (machine.ok("labctl ps"), machine.ok("labctl show lab services")):
        assert [name for name, told in ENDED.items() if told[3] not in screen] == []
    assert {name: machine.ok(f"labctl logs node {name}") for name in LOGGED} == LOGGED
    wait_until(lambda: not supervisors(machine))  # nothing is left to watch


@each_way
def test_restarts(machine: Machine, option: str) -> None:
    processes = (
        "always: {command: 'echo again; exec sleep 1000', restart: always}, "
        "twice: {command: 'echo once; exit 3', restart: on-failure:2}, "
        "good: {command: 'echo good', restart: on-failure}"
    )
    machine.up(lab(machine, processes), option)
    wait_until(lambda: machine.ok("labctl logs node twice") == "once\n" * 3)
    wait_until(lambda: service(machine, "twice")["state"] == "exited")
    assert (service(machine, "twice")["exit_status"], service(machine, "twice")["restarts"]) == (3, 2)
    assert (service(machine, "good")["restarts"], machine.ok("labctl logs node good")) == (0, "good\n")
    for number in (1, 2):
        os.kill(the_one(machine, "sleep 1000"), signal.SIGTERM)
        wait_until(lambda number=number: machine.ok("labctl logs node always") == "again\n" * (number + 1))  # type: ignore[misc]
        assert service(machine, "always")["restarts"] == number
    wait_until(lambda: machine.pids("sleep 1000"))
    machine.ok("labctl down")
    assert machine.processes() == machine.before["processes"]


def test_one_that_is_about_to_be_restarted_is_there(machine: Machine) -> None:
    """Between two starts there is nothing for `up` to do; taken out of the file, it is not started again."""
    file = lab(machine, "main: {command: 'echo go; exit 1', restart: always}, other: exec sleep 1000")
    machine.up(file)
    wait_until(lambda: service(machine)["state"] == "restarting" and service(machine)["restarts"] > 4)  # for 3 s
    assert "restarting (1)" in machine.ok("labctl ps")
    assert machine.run(f"labctl plan {file} --exit-code").status == 0
    machine.up(lab(machine, "other: exec sleep 1000"))
    assert list(services(machine)) == ["node/other"]
    assert len(supervisors(machine)) == 1
    assert machine.ok("ls /run/labctl/lab/status/node") == "other\n"


def test_a_restart_is_a_new_beginning(machine: Machine) -> None:
    """What the last start left behind is killed first, though it has left the session."""
    command = "(setsid sh -c \"trap '' TERM; sleep 1001\" &); sleep 1000"
    machine.up(lab(machine, f"main: {{command: {json.dumps(command)}, restart: always}}"))
    wait_until(lambda: machine.pids("sleep 1001") and machine.pids("sleep 1000"))
    [old] = machine.pids("sleep 1001")
    os.kill(machine.pids("sleep 1000")[0], signal.SIGKILL)
    wait_until(lambda: machine.pids("sleep 1001") not in ([], [old]) and len(machine.pids("sleep 1001")) == 1)


def test_a_killed_supervisor_takes_nothing_along(machine: Machine) -> None:
    """The next `up` starts those anew that it would have restarted, and leaves the others alone."""
    file = lab(machine, "main: {command: exec sleep 1000, restart: always}, other: exec sleep 1001")
    machine.up(file)
    before = [the_one(machine, "sleep 1000")], [the_one(machine, "sleep 1001")]
    [line] = supervisors(machine)
    [pid] = machine.pids(line.partition(" ")[2].strip())
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not supervisors(machine))
    assert (machine.pids("sleep 1000"), machine.pids("sleep 1001")) == before
    assert "# nobody watches it any more" in machine.ok(f"labctl plan {file}")
    machine.up(file)
    assert machine.pids("sleep 1001") == before[1]
    assert [the_one(machine, "sleep 1000")] != before[0]
    assert machine.run(f"labctl plan {file} --exit-code").status == 0
    assert len(supervisors(machine)) == 1


# --- readiness and order ---------------------------------------------------------------------------------------------


@each_way
def test_up_waits_until_all_is_ready(machine: Machine, option: str) -> None:
    processes = (
        f"web: {{command: 'sleep 0.3; {SERVER}', ready: tcp 80}}, "
        "text: {command: 'sleep 0.3; touch text; exec sleep 1000', ready: test -e text}, "
        "words: {command: 'sleep 0.3; touch words; exec sleep 1001', ready: [test, -e, words]}"
    )
    machine.up(lab(machine, processes), option)
    assert ":80 " in machine.inside("node", "ss -Hltn")
    assert {s["ready"] for s in services(machine).values()} == {True}
    assert machine.ok("labctl exec node -- ss -Htn state time-wait") == ""  # nobody has connected
    assert machine.run(f"labctl plan {lab(machine, processes)} --exit-code").status == 0


@each_way
def test_a_new_lab_that_is_not_ready_is_removed_again(machine: Machine, option: str) -> None:
    file = lab(machine, "main: {command: 'echo one; echo two; exec sleep 1000', ready: tcp 81, ready_timeout: 1}")
    if option == "rootless":
        machine.become_user()
        option = ""
    done = machine.run(f"labctl up {file} {option}")
    assert (done.status, done.stdout) == (1, "")
    assert done.stderr.startswith(
        "labctl: node/main was not ready within 1 s: nothing listens on tcp 81\nThe end of its log:\n  one\n  two\n"
    )
    assert "was removed again" in done.stderr
    assert machine.processes() == machine.before["processes"]


@pytest.mark.parametrize(
    ("process", "says"),
    [
        ("{command: 'echo no; exit 3', ready: 'true && false'}", "ended before it was ready: exit status 3"),
        ("{command: 'kill -KILL $$', ready: 'false'}", "ended before it was ready: killed by SIGKILL"),
        ("{command: 'exit 0', ready: tcp 80}", "ended before it was ready: exit status 0"),
        ("{command: [nothing], ready: tcp 80}", "could not be started: nothing: No such file or directory"),
        ("{command: sleep 9, ready: exit 7, ready_timeout: 1}", "was not ready within 1 s: its command: exit status 7"),
        (
            "{command: sleep 9, ready: [nix], ready_timeout: 1}",
            "was not ready within 1 s: its command: nix: No such file or directory",
        ),
        (
            "{command: sleep 9, ready: exec sleep 9, ready_timeout: 1}",
            "was not ready within 1 s: its command: still runs",
        ),
        (
            "{command: exit 1, ready: tcp 80, restart: always, ready_timeout: 1}",
            "was not ready within 1 s: nothing listens on tcp 80",
        ),
    ],
)
def test_why_it_was_not_ready_is_told(machine: Machine, process: str, says: str) -> None:
    done = machine.run(f"labctl up {lab(machine, f'main: {process}')}")
    assert done.status == 1
    assert done.stderr.startswith(f"labctl: node/main {says}\n")
    assert machine.processes() == machine.before["processes"]


def test_a_running_lab_stays_when_something_new_is_not_ready(machine: Machine) -> None:
    machine.up(lab(machine, "old: exec sleep 1000"))
    old = the_one(machine, "sleep 1000")
    both = "old: exec sleep 1000, new: {command: exec sleep 1001, ready: test -e there, ready_timeout: 1}"
    done = machine.run(f"labctl up {lab(machine, both)}")
    assert done.status == 1
    assert "removed again" not in done.stderr
    assert machine.pids("sleep 1000") == [old]
    assert "new running (not ready)" in machine.ok("labctl ps")
    assert "# it was not ready in time" in machine.ok(f"labctl plan {lab(machine, both)}")
    machine.ok("labctl exec node -- touch /run/labctl/lab/run/node/there")
    machine.up(lab(machine, both))
    assert machine.pids("sleep 1000") == [old]
    assert service(machine, "new")["ready"] is True


ORDER = """
name: lab
namespaces:
  db:
    network_mode: none
    run: {main: {command: "echo db >>/run/scratch/order; sleep 0.3; touch up; exec sleep 1000", ready: test -e up}}
  web:
    network_mode: none
    count: 2
    depends_on: db
    run:
      main: {command: "echo web >>/run/scratch/order; exec sleep 1001", depends_on: web/first}
      first: {command: "echo first >>/run/scratch/order; sleep 0.2; touch first; exec sleep 1002", ready: test -e first}
  a: {network_mode: none, run: {last: {command: "echo last >>/run/scratch/order; exec sleep 1", depends_on: [web]}}}
"""


def test_what_is_depended_on_is_ready_first(machine: Machine) -> None:
    machine.up(machine.topology("lab", ORDER))
    wait_until(lambda: "last" in machine.ok(f"cat {SCRATCH}/order"))
    assert machine.ok(f"cat {SCRATCH}/order").split() == ["db", "first", "first", "web", "web", "last"]


def test_what_depends_on_a_failure_is_not_started(machine: Machine) -> None:
    machine.up(machine.topology("lab", "name: lab\nnamespaces: {c: {network_mode: none}}\n"))
    for broken, says in (
        ("exit 1", "ended before it was ready: exit status 1"),
        ("[no]", "could not be started: no: No"),
    ):
        text = ORDER.replace('"echo db >>/run/scratch/order; sleep 0.3; touch up; exec sleep 1000"', broken)
        done = machine.run(f"labctl up {machine.topology('lab', text)}")
        assert (done.status, done.stderr.startswith(f"labctl: db/main {says}")) == (1, True), done.stderr
        wait_until(lambda: not supervisors(machine))
        assert services(machine)["web-1/main"]["state"] == "waiting"
    machine.up(machine.topology("lab", ORDER))
    assert "last" in machine.ok(f"cat {SCRATCH}/order")


@pytest.mark.parametrize("new", [True, False], ids=["new", "running"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
def test_up_ends_while_it_waits(machine: Machine, number: signal.Signals, new: bool) -> None:
    if not new:
        machine.up(
            machine.topology("lab", "name: lab\nnamespaces: {a: {network_mode: none}, b: {network_mode: none}}\n")
        )
    text = """
name: lab
namespaces:
  a: {network_mode: none, run: {main: {command: echo a; exec sleep 1000, ready: test -e /run/scratch/now}}}
  b: {network_mode: none, depends_on: a, run: exec sleep 1001}
"""
    file = machine.topology("lab", text)
    up = machine.start(f"exec labctl up {file}")
    wait_until(lambda: machine.pids("sleep 1000"))
    os.killpg(up.pid, number)
    up.communicate(timeout=10)
    if new and number == signal.SIGINT:
        assert machine.processes() == machine.before["processes"]
    machine.write("now", "")
    machine.up(file)
    the_one(machine, "sleep 1000")
    the_one(machine, "sleep 1001")
    assert machine.run(f"labctl plan {file} --exit-code").status == 0
    assert services(machine)["a/main"]["ready"] is True
