"""What labctl did not make it never touches, and what it made goes away again, also when `up` fails half-way."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from kernel.machine import Machine, changes, wait_until

FOREIGN_TABLE = "table inet labctl-two-containers { chain mine { tcp dport 22 accept; }; }"
ONE = "name: {0}\nprefix: {0}-\nbridges: {{br-{0}: {{subnet: {1}}}}}\nnamespaces: {{node: {{networks: [br-{0}]}}}}\n"
IMPOSSIBLE = """
name: impossible
bridges: {docker0: {subnet: 172.17.0.0/16}}
namespaces:
  first: {networks: [docker0], run: exec sleep 1000}
  second: {networks: [docker0], sysctls: {net.ipv4.ip_default_ttl: 999}}
"""


# An ordinary user who may read any file: this Python may be in root's home.
NOBODY = (
    "setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs --bounding-set=-all,+dac_read_search"
    " --inh-caps=-all,+dac_read_search --ambient-caps=-all,+dac_read_search"
)


def forwarding(machine: Machine) -> str:
    return machine.ok("cat /proc/sys/net/ipv4/ip_forward").strip()


@pytest.mark.parametrize(
    ("obstacle", "says"),
    [
        ("ip link add name docker0 type bridge", "docker0"),
        ("ip link add name docker0 type veth peer name other", "docker0"),
        ("ip netns add container1", "container1"),
        ("mkdir -p /run/netns && touch /run/netns/container2", "container2"),
        ("mkdir -p /etc/netns/container1", "/etc/netns/container1"),
        ("mkdir -p /etc/netns && ln -s /run/labctl/netns/container1 /etc/netns/container2", "/etc/netns/container2"),
        (f"nft '{FOREIGN_TABLE}'", "inet labctl-two-containers"),
    ],
)
def test_something_foreign_is_in_the_way(machine: Machine, obstacle: str, says: str) -> None:
    machine.ok(obstacle)
    machine.settle()
    for verb in ("up", "plan"):
        with machine.untouched():
            done = machine.run(f"labctl {verb} two-containers")
            assert done.status == 1, done.stderr
            assert done.stdout == ""
            assert re.search(rf"{says}\b", done.stderr)
            assert "It was left alone" in done.stderr


@pytest.mark.parametrize(
    ("route", "culprit"),
    [
        ("ip route add 172.16.0.0/12 dev card0", "172.16.0.0/12"),
        ("ip route add 172.17.99.0/24 via 10.9.9.1", "172.17.99.0/24"),
        ("ip address add 172.17.5.6/20 dev card0", "172.17.0.0/20"),
    ],
)
def test_a_subnet_that_the_host_uses(machine: Machine, route: str, culprit: str) -> None:
    machine.ok("ip link add name card0 type veth peer name far0")
    machine.ok("for end in card0 far0; do ip link set $end addrgenmode none up; done")
    machine.ok(f"ip address add 10.9.9.9/24 dev card0; {route}")
    machine.settle()
    file = machine.topology(
        "clash",
        "name: clash\nbridges:\n  docker0:\n    subnet: 172.17.0.0/16\nnamespaces: {node: {networks: [docker0]}}\n",
    )
    with machine.untouched():
        done = machine.run(f"labctl up {file}")
        assert done.status == 2, done.stderr
        assert done.stderr.startswith(f"{file}:4:13: 172.17.0.0/16 overlaps {culprit}, ")
        assert "card0" in done.stderr
        assert re.search(r"; (172\.\d+\.0\.0/16|192\.168\.\d+\.0/20) is free$", done.stderr.strip())
    machine.up(file, "--isolated")


def test_a_subnet_that_another_lab_uses(machine: Machine) -> None:
    machine.up(machine.topology("one", ONE.format("one", "10.1.0.0/16")))
    second = machine.topology("two", ONE.format("two", "10.1.5.0/24"))
    with machine.untouched():
        done = machine.run(f"labctl up {second}")
        assert done.status == 2
        assert done.stderr.startswith(f"{second}:3:28: 10.1.5.0/24 overlaps 10.1.0.0/16 of the lab one (br-one)")
    machine.up(second, "--isolated")
    machine.ok("labctl down one")
    machine.ok("labctl down two")
    machine.up(second)


@pytest.mark.parametrize("option", ["", "--isolated"], ids=["shared", "isolated"])
def test_a_failed_up_is_taken_back(machine: Machine, option: str) -> None:
    file = machine.topology("impossible", IMPOSSIBLE)
    with machine.untouched():
        done = machine.run(f"labctl up {file} {option}")
        assert done.status == 1
        assert "sysctl -qw net.ipv4.ip_default_ttl=999" in done.stderr
        assert "EINVAL" in done.stderr
        assert "The lab impossible was removed again; nothing is left of it." in done.stderr
        assert "Traceback" not in done.stderr


def test_a_failed_up_leaves_a_running_lab(machine: Machine) -> None:
    """What runs already goes on; the next `up` finishes or mends it."""
    running = IMPOSSIBLE.replace("999", "99")
    machine.up(machine.topology("impossible", running))
    pids = machine.ok("ip netns pids first")
    done = machine.run(f"labctl up {machine.topology('impossible', IMPOSSIBLE)}")
    assert done.status == 1
    assert "removed again" not in done.stderr
    assert machine.ok("ip netns pids first") == pids
    machine.up(machine.topology("impossible", running))
    assert "1 received" in machine.inside("first", "ping -c 1 -W 5 second")


def test_forwarding_is_restored_by_the_last_lab(machine: Machine) -> None:
    files = {name: machine.topology(name, ONE.format(name, f"10.{name[1:]}.0.0/24")) for name in ("n1", "n2", "n3")}
    assert forwarding(machine) == "0"
    for file in files.values():
        machine.up(file)
    for name in ("n2", "n1", "n3"):
        assert forwarding(machine) == "1"
        machine.ok(f"labctl down {name}")
    assert forwarding(machine) == "0"


def test_forwarding_that_was_on_stays_on(machine: Machine) -> None:
    machine.ok("sysctl -qw net.ipv4.ip_forward=1")
    machine.settle()
    machine.up("two-containers")
    machine.ok("labctl down")
    assert forwarding(machine) == "1"


def test_isolated_labs_with_the_same_subnets(machine: Machine) -> None:
    """Beside one on the machine itself and a foreign docker0; each reaches its own nodes."""
    machine.ok("ip link add name docker0 type bridge; ip address add 172.17.0.1/16 dev docker0")
    machine.settle()
    with machine.untouched():
        text = (
            "name: {}\nbridges: {{docker0: {{subnet: 172.17.0.0/16}}}}\nnamespaces: {{node: {{networks: [docker0]}}}}\n"
        )
        for name in ("one", "two"):
            machine.up(machine.topology(name, text.format(name)), "--isolated")
            machine.ok(f"labctl exec {name}/node -- sysctl -qw net.ipv4.ip_default_ttl={40 if name == 'one' else 50}")
        assert "ttl=40" in machine.ok("labctl exec one/host -- ping -c 1 -W 5 172.17.0.2")
        assert "ttl=50" in machine.ok("labctl exec two/host -- ping -c 1 -W 5 172.17.0.2")
        assert forwarding(machine) == "0"
        assert [lab["lab"] for lab in json.loads(machine.ok("labctl ps --json"))] == ["one", "two"]
        machine.ok("labctl down one")
        assert "ttl=50" in machine.ok("labctl exec two/host -- ping -c 1 -W 5 172.17.0.2")
        machine.ok("labctl down two")
        machine.ok("rmdir /run/netns 2>/dev/null || :")


def test_two_ups_of_one_lab_wait_for_each_other(machine: Machine) -> None:
    many = ONE.format("many", "10.1.0.0/16").replace("[br-many]", "[br-many], count: 100")
    file = machine.topology("many", many)
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(lambda _: machine.run(f"labctl up {file}"), range(3)))
    assert [each.status for each in done] == [0, 0, 0], [each.stderr for each in done]
    stories = [each.stderr for each in done]
    assert sum(": up on this machine" in story for story in stories) == 1
    assert sum("already as the file says" in story for story in stories) == 2
    assert sum("many: waiting for another labctl" in story for story in stories) == 2
    assert machine.run(f"labctl plan {file} --exit-code").status == 0


def test_labs_that_come_and_go_at_once(machine: Machine) -> None:
    """Each gets numbers of its own, and the last one turns forwarding off again, whichever it is."""
    files = [machine.topology(f"n{n}", ONE.format(f"n{n}", f"10.{n}.0.0/24")) for n in range(6)]
    with ThreadPoolExecutor() as pool:
        ups = list(pool.map(lambda file: machine.run(f"labctl up {file}"), files))
        assert [each.status for each in ups] == [0] * 6, [each.stderr for each in ups]
        assert forwarding(machine) == "1"
        downs = list(pool.map(lambda file: machine.run(f"labctl down {file}"), files))
    assert [each.status for each in downs] == [0] * 6, [each.stderr for each in downs]
    assert forwarding(machine) == "0"


def test_down_twice(machine: Machine) -> None:
    machine.up("two-containers")
    assert machine.run("labctl down two-containers").status == 0
    with machine.untouched():
        again = machine.run("labctl down two-containers")
        assert again.status == 2
        assert "no lab 'two-containers' is running" in again.stderr
        assert machine.run("labctl down").status == 2
        assert machine.ok("labctl down --all") == ""


@pytest.mark.parametrize("option", ["", "--isolated"], ids=["shared", "isolated"])
def test_what_is_beside_a_lab_stays_as_it_is(machine: Machine, option: str) -> None:
    """Names, groups, aliases and tables that look much like a lab's are still somebody else's."""
    machine.ok("""set -e
    ip netns add stranger; ip netns add two-containers-other; ip -n stranger link set lo up
    ip link add name veth1234567 type veth peer name eth0 netns stranger
    ip link add name br0 type bridge; ip link set veth1234567 master br0 group 77 alias labctl:two-containersx/a/eth0
    ip link set br0 addrgenmode none up; ip link set veth1234567 addrgenmode none up
    ip address add 10.77.0.1/24 dev br0; ip route add 10.78.0.0/24 via 10.77.0.7; ip rule add from 10.77.0.7 table 77
    nft 'table inet labctl { chain c { type filter hook forward priority 0; tcp dport 22 accept; }; }'
    for name in docker00 docker0x br-docker0; do ip link add name $name type bridge; done
    ip link add name veth7654321 type bridge; ip link set veth7654321 alias labctl:other/a/eth0
    nft 'table inet labctl-other { comment "labctl"; chain c { tcp dport 23 accept; }; }'
    nft 'table ip nat { chain p { type nat hook postrouting priority 100; oifname "br0" masquerade; }; }'
    mkdir -p /etc/netns/stranger; echo mine >/etc/netns/stranger/hosts; ln -s /run/labctl /etc/netns/other
    """)
    machine.start("exec ip netns exec stranger sleep 1000")
    wait_until(lambda: machine.pids("sleep 1000"))
    machine.settle()
    machine.up("two-containers", option)
    after = machine.snapshot()
    for what in ("ip -oneline -details link", "ip -oneline address", "ip -4 route show table all", "nft list ruleset"):
        gone = [line for line in machine.before[what] if line not in after[what]]
        assert gone == [], what
    impossible = IMPOSSIBLE.replace("docker0", "lan").replace("172.17", "172.16")
    for command in (f"up {machine.topology('impossible', impossible)} {option}", "down nobodys"):
        with machine.untouched():
            assert machine.run(f"labctl {command}").status != 0
    machine.ok("labctl down")
    machine.prove_clean()


@pytest.mark.parametrize("verb", ["down", "down --all"])
@pytest.mark.parametrize("option", ["", "--isolated"], ids=["shared", "isolated"])
def test_what_comes_while_a_lab_is_up_is_all_that_stays(machine: Machine, option: str, verb: str) -> None:
    """In the lab's group, under its nodes' names, with other labs' marks: still somebody else's."""
    machine.ok("mkdir /run/netns && sysctl -qw net.ipv4.ip_forward=1")  # else the lab's: foreigners have them too
    machine.settle()
    machine.up("two-containers", option)
    name = "two-containers-container2" if option else "container2"
    group = json.loads(machine.path("/run/labctl/two-containers/lab.json").read_text())["leases"]["group"]
    machine.ok(f"rm /run/netns/{name}")
    with_lab = machine.snapshot()
    machine.ok(f"""set -e
    ip netns add {name}
    ip link add name stranger group {group} type bridge; ip link set stranger alias mine
    ip link add name vethabcdef0 group {group} type veth peer name eth0 netns {name}
    ip link set vethabcdef0 alias labctl:other/container2/eth0 addrgenmode none up
    ip link add name docker1 group {group} type bridge; ip link set docker1 address 02:42:ac:11:00:01
    nft 'table inet labctl-two {{ chain mine {{ tcp dport 22 accept; }}; }}'
    """)
    foreign = changes(with_lab, machine.snapshot())
    assert len(foreign) > 8
    for command in ("up", "plan"):
        done = machine.run(f"labctl {command} two-containers")
        assert (done.status, done.stdout) == (1, "")
        assert f"a network namespace {name} already exists in /run/netns" in done.stderr
    assert changes(with_lab, machine.snapshot()) == foreign
    machine.ok(f"labctl {verb}")
    assert changes(machine.before, machine.snapshot()) == foreign
    wait_until(lambda: machine.ok("ip netns list-id").count("nsid") == 1)  # the stranger's; the lab's take a moment
    machine.settle()


def test_labs_do_not_wait_for_one_another(machine: Machine) -> None:
    """While one labctl stands still in the middle of its work, another lab comes and goes."""
    many = machine.topology("many", ONE.format("many", "10.1.0.0/16").replace("[br-many]", "[br-many], count: 400"))
    other = machine.topology("other", ONE.format("other", "10.2.0.0/16"))
    working = machine.start(f"exec labctl up {many}")
    command = f"{sys.executable} -P -m labctl up {many}"
    wait_until(lambda: machine.pids(command))
    [pid] = machine.pids(command)
    made = machine.path("/run/labctl/many/netns")
    wait_until(lambda: made.is_dir() and len(list(made.iterdir())) > 9)
    os.kill(pid, signal.SIGSTOP)
    try:
        for verb in ("up", "down"):
            done = machine.run(f"labctl {verb} {other}")
            assert (done.status, "waiting" in done.stderr) == (0, False), done.stderr
        assert working.poll() is None
    finally:
        os.kill(pid, signal.SIGCONT)
        os.kill(working.pid, signal.SIGCONT)  # nsenter(1) stops with what it started
    _, story = working.communicate(timeout=60)
    assert working.returncode == 0, story


def test_marks_that_somebody_else_wrote_are_not_believed(machine: Machine) -> None:
    """An ordinary user can write any environment: the machine's own network must not pass for a lost node's."""
    before, after = (
        machine.topology(name, f"name: lab\nbridges: {{b0: {{subnet: 10.0.0.0/24}}}}\nnamespaces: {{{nodes}}}\n")
        for name, nodes in (("before", "a: {networks: [b0]}"), ("after", "a: {networks: [b0]}, b: {networks: [b0]}"))
    )
    machine.up(before)
    machine.ok("setsid sleep 1001 </dev/null >/dev/null 2>&1 &")
    forged = "LABCTL_SERVICE=lab/b/x LABCTL_MACHINE=$(stat -c %d:%i /run) LABCTL_NETNS=$(readlink /proc/self/ns/net)"
    machine.ok(f"{NOBODY} env {forged} sleep 1002 </dev/null >/dev/null 2>&1 &")
    wait_until(lambda: machine.pids("sleep 1001") and machine.pids("sleep 1002"))
    machine.up(after)
    assert machine.inside("b", "readlink /proc/self/ns/net") != machine.ok("readlink /proc/self/ns/net")
    machine.ok("labctl down lab")
    assert machine.pids("sleep 1001")
    machine.ok("pkill -xf 'sleep 100[12]' || :")


def test_more_processes_than_descriptors(machine: Machine) -> None:
    machine.up(machine.topology("many", "namespaces: {node: {count: 60, network_mode: none, run: exec sleep 1000}}\n"))
    machine.ok("ulimit -Sn 40; labctl down many")


def test_another_hostname_is_the_nodes_alone(machine: Machine) -> None:
    """From a host name namespace of labctl's own, the machine's is that of any other process in the node."""
    before, after = (
        machine.topology(name, f"name: lab\nnamespaces: {{a: {{network_mode: none, hostname: {name}}}}}\n")
        for name in ("before", "after")
    )
    machine.up(before)
    machine.ok("setsid ip netns exec a sleep 1003 </dev/null >/dev/null 2>&1 &")
    wait_until(lambda: machine.pids("sleep 1003"))
    machine.ok(f"unshare --uts labctl up {after}")
    assert machine.ok("hostname") == "machine\n"


def test_what_a_service_starts_while_it_is_ended_ends_too(machine: Machine) -> None:
    run = "'trap : TERM; sleep 1004; sleep 1005; sleep 1006'"
    machine.up(machine.topology("lab", f"name: lab\nnamespaces: {{a: {{network_mode: none, run: {run}}}}}\n"))
    wait_until(lambda: machine.pids("sleep 1004"))
    machine.ok("labctl down lab")
    assert not [line for line in machine.processes() if "sleep" in line]


def test_a_lab_is_its_hosts(machine: Machine) -> None:
    """From inside of a node, or of another namespace, what labctl would see as the host is not the lab's."""
    machine.up("two-containers")
    with machine.untouched():
        for way in ("labctl exec container1 --", "unshare --net"):
            for verb in ("down two-containers", "up two-containers", "plan two-containers"):
                done = machine.run(f"{way} labctl {verb}")
                assert (done.status, done.stdout) == (2, ""), done.stderr
                assert "is on another network namespace than the one that labctl runs in now" in done.stderr
