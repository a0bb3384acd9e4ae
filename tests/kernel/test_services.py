"""What `run:` starts: in turn, when ready, again when ended, as whom; how it ended, what it wrote, and that it goes."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest

from kernel.machine import SCRATCH, Machine, each_way, needs, wait_until

NODE = "name: lab\nnamespaces: {{node: {{network_mode: none, run: {{{}}}}}}}\n"
SERVER = "exec python3 -m http.server 80"


def lab(machine: Machine, processes: str) -> str:
    """A file with one namespace that runs these."""
    return machine.topology("lab", NODE.format(processes))


def services(machine: Machine) -> dict[str, Any]:
    """What `ps` tells of each, by name."""
    [found] = json.loads(machine.ok("labctl ps --json"))
    return {f"{node['node']}/{s['name']}": s for node in found["nodes"] for s in node["services"]}


def service(machine: Machine, name: str = "main") -> dict[str, Any]:
    found: dict[str, Any] = services(machine)[f"node/{name}"]
    return found


def supervisors(machine: Machine) -> list[str]:
    return [line for line in machine.processes() if "supervise.py" in line]


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
        [pid] = machine.pids("sleep 1000")
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda number=number: machine.ok("labctl logs node always") == "again\n" * (number + 1))  # type: ignore[misc]
        assert service(machine, "always")["restarts"] == number
    wait_until(lambda: machine.pids("sleep 1000"))
    machine.ok("labctl down")
    assert machine.processes() == machine.before["processes"]


def test_one_that_is_about_to_be_restarted_is_there(machine: Machine) -> None:
    """Between two starts there is nothing for `up` to do; taken out of the file, it is not started again."""
    file = lab(machine, "main: {command: 'echo go; exit 1', restart: always}, other: exec sleep 1000")
    machine.up(file)
    wait_until(lambda: service(machine)["state"] == "restarting" and service(machine)["restarts"] > 2)
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
    before = machine.pids("sleep 1000"), machine.pids("sleep 1001")
    [line] = supervisors(machine)
    [pid] = machine.pids(line.partition(" ")[2].strip())
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not supervisors(machine))
    assert (machine.pids("sleep 1000"), machine.pids("sleep 1001")) == before
    assert "# nobody watches it any more" in machine.ok(f"labctl plan {file}")
    machine.up(file)
    assert machine.pids("sleep 1001") == before[1]
    assert machine.pids("sleep 1000") not in ([], before[0])
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
        ("{command: sleep 9, ready: exit 7, ready_timeout: 1}", "was not ready within 1 s: its command fails"),
        ("{command: sleep 9, ready: exec sleep 9, ready_timeout: 1}", "was not ready within 1 s: its command fails"),
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
    [old] = machine.pids("sleep 1000")
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
    assert (len(machine.pids("sleep 1000")), len(machine.pids("sleep 1001"))) == (1, 1)
    assert machine.run(f"labctl plan {file} --exit-code").status == 0
    assert services(machine)["a/main"]["ready"] is True


# --- users -----------------------------------------------------------------------------------------------------------


@each_way
def test_users(machine: Machine, option: str) -> None:
    say = "echo $(id -u) $(id -g) $(id -G) $HOME $USER $LOGNAME; touch $(id -u).file; echo >&2 e; echo o >>/dev/stdout"
    ways = {"named": "www-data", "number": "33", "group": "www-data:nogroup", "free": "4711", "ids": '"4711:12"'}
    processes = [f"{name}: {{command: '{say}', user: {user}}}" for name, user in ways.items()]
    machine.ok("echo extra:x:777:www-data >>/etc/group")
    machine.up(lab(machine, ", ".join([*processes, "own: {command: id -u, user: 0}"])), option)
    wait_until(lambda: not any(s["pids"] for s in services(machine).values()))
    logs = {name: machine.ok(f"labctl logs node {name}").splitlines() for name in ways}
    own = "33 33 33 777 /var/www www-data www-data"
    assert logs == {
        "named": [own, "e", "o"],
        "number": [own, "e", "o"],
        "group": ["33 65534 65534 /var/www www-data www-data", "e", "o"],
        "free": ["4711 0 0 /", "e", "o"] if option != "rootless" else logs["free"],
        "ids": ["4711 12 12 /", "e", "o"] if option != "rootless" else logs["ids"],
    }
    assert machine.ok("labctl logs node own") == "0\n"


# --- logs ------------------------------------------------------------------------------------------------------------

TALK = "i=0; while [ $i -lt 600 ]; do head -c 100000 /dev/zero | tr '\\\\0' x; i=$((i + 1)); echo; echo line $i; done"


def test_a_log_stays_small_and_is_followed(machine: Machine) -> None:
    """60 MB are written; a follower that began with the first line has every last one."""
    machine.up(lab(machine, "main: exec sleep 1000"))
    following = machine.start("exec labctl logs -f node | grep --line-buffered line")
    machine.ok("mkfifo /run/labctl/lab/run/node/go")
    machine.up(lab(machine, f'main: {{command: "read x <go; {TALK}; exec sleep 1001"}}'))
    machine.ok("echo >/run/labctl/lab/run/node/go")
    assert following.stdout
    lines = []
    for line in following.stdout:
        lines.append(line)
        if line == "line 600\n":
            break
    assert lines == [f"line {number}\n" for number in range(1, 601)]
    log = machine.path("/run/labctl/lab/log/node.main.log")
    wait_until(lambda: log.stat().st_blocks * 512 <= 21 << 20)
    assert log.stat().st_size > 60_000_000
    kept = machine.ok("labctl logs node | grep line").splitlines()
    assert kept == [f"line {number}" for number in range(601 - len(kept), 601)]
    assert len(kept) >= 90
    assert machine.ok("labctl logs --tail 1 node main") == "line 600\n"
    machine.ok("labctl down")
    assert following.wait(timeout=10) == 0  # the log has gone


def test_logs_of_several_are_told_apart(machine: Machine) -> None:
    file = lab(machine, "a: echo 1; echo 2, long: {command: 'echo x; exit 1', restart: on-failure:1}, none: 'true'")
    machine.up(file)
    wait_until(lambda: service(machine, "long")["restarts"] == 1 and not service(machine, "long")["pids"])
    assert machine.ok("labctl logs node").splitlines() == ["a    | 1", "a    | 2", "long | x", "long | x"]
    assert machine.ok("labctl logs node -n 1").splitlines() == ["a    | 2", "long | x"]
    assert machine.ok("labctl logs node long -n 0") == ""
    wrong = machine.run("labctl logs node -n some")
    assert (wrong.status, wrong.stdout) == (2, "")
    assert "--tail takes a number of lines or 'all', not 'some'" in wrong.stderr


# --- real daemons ----------------------------------------------------------------------------------------------------

NGINX = """
name: lab
bridges: {b: {subnet: 10.0.0.0/24}}
namespaces:
  web:
    networks: [b]
    run:
      main:
        command: |
          mkdir -p /run/scratch/nginx
          printf 'It works!' >/run/scratch/nginx/index.html
          cat >/run/scratch/nginx.conf <<END
          user www-data; pid /run/scratch/nginx.pid; error_log stderr; DAEMON
          events {}
          http {
            access_log /dev/stdout; client_body_temp_path /run/scratch/nginx/b; proxy_temp_path /run/scratch/nginx/p;
            server { listen 80; root /run/scratch/nginx; }
          }
          END
          exec nginx -c /run/scratch/nginx.conf
        ready: tcp 80
        restart: RESTART
  client: {networks: [b], depends_on: web, run: "curl -s 10.0.0.2"}
"""


@needs("nginx", "curl")
@pytest.mark.parametrize("background", [False, True], ids=["foreground", "background"])
def test_nginx(machine: Machine, background: bool) -> None:
    """It writes its title over its environment and, as Debian has it, goes into the background."""
    text = NGINX.replace("DAEMON", "" if background else "daemon off;").replace(
        "RESTART", "no" if background else "always"
    )
    file = machine.topology("lab", text)
    machine.up(file)
    wait_until(lambda: machine.ok("labctl logs client") == "It works!")
    wait_until(lambda: "GET / HTTP" in machine.ok("labctl logs web"))
    before = services(machine)["web/main"]["pids"]
    assert services(machine)["web/main"]["state"] == "running"
    assert set(machine.ok("ps -o user= -C nginx").split()) == {"root", "www-data"}
    assert "web/main" not in machine.ok(f"labctl plan {file}")
    machine.up(machine.topology("lab", text.replace("It works!", "Changed!")))
    assert machine.ok("labctl exec client -- curl -s 10.0.0.2") == "Changed!"
    after = services(machine)["web/main"]["pids"]
    assert after
    assert not set(before) & set(after)
    machine.ok("labctl down")
    assert machine.processes() == machine.before["processes"]


REDIS = """
name: lab
bridges: {b: {subnet: 10.0.0.0/24}}
namespaces:
  cache:
    networks: [b]
    run:
      main:
        command: [redis-server, --bind, 0.0.0.0, --save, "", --protected-mode, "no"]
        user: redis
        ready: "redis-cli ping | grep -q PONG"
        restart: on-failure
  client: {networks: [b], depends_on: cache/main, run: redis-cli -h 10.0.0.2 set key value}
"""


@needs("redis-server", "redis-cli")
@each_way
def test_redis(machine: Machine, option: str) -> None:
    machine.ok("getent passwd redis || echo redis:x:111:111::/var/lib/redis:/bin/false >>/etc/passwd")
    null = machine.ok("stat -c '%u %g %a' /dev/null")
    machine.up(machine.topology("lab", REDIS), option)
    assert machine.ok("stat -c '%u %g %a' /dev/null") == null  # its log is the user's, and nothing else
    wait_until(lambda: machine.ok("labctl logs client") == "OK\n")
    [before] = services(machine)["cache/main"]["pids"]
    machine.run("labctl exec cache -- redis-cli debug segfault")
    machine.ok(f"kill -SEGV {before}" if option != "rootless" else f"user kill -KILL {before} || kill -KILL {before}")
    wait_until(lambda: services(machine)["cache/main"]["pids"] not in ([], [before]))
    wait_until(lambda: machine.run("labctl exec client -- redis-cli -h 10.0.0.2 get key").stdout == "\n")
    assert services(machine)["cache/main"]["restarts"] == 1


@needs("dnsmasq")
def test_dnsmasq(machine: Machine) -> None:
    command = (
        "[dnsmasq, --keep-in-foreground, --no-resolv, --pid-file=, --address=/www.example.org/192.0.2.7, --user=root]"
    )
    machine.up(lab(machine, f"main: {{command: {command}, ready: udp 53}}"))
    question = "000101000001000000000000" + "03777777076578616d706c65036f72670000010001"  # www.example.org, A
    ask = "import socket; s = socket.socket(2, 2); s.settimeout(9);"
    ask += f" s.sendto(bytes.fromhex('{question}'), ('127.0.0.1', 53)); print(s.recv(512)[-4:].hex())"
    assert machine.inside("node", f'python3 -c "{ask}"') == "c0000207\n"
