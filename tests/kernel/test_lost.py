"""`down` when what it would go by is gone or wrong: the record, the file, the namespaces, room to write."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from kernel.machine import USER, Machine, each_way, only_root, wait_until

LAB = """
name: lab
bridges: {lan: {subnet: [10.7.0.0/24, 'fd07::/64']}}
namespaces:
  a: {networks: [lan], run: exec sleep 1000}
  b: {networks: [lan], run: exec sleep 1001}
links: [{endpoints: ["a:c0", "b:c0"]}]
"""
FOLDER = "/run/labctl/lab"
RECORD = f"{FOLDER}/lab.json"
HOLDERS = f"nsenter --user --mount --target $(cat /run/user/{USER}/labctl/.holder) --"
NEWER = "import json, sys; r = json.load(open(sys.argv[1])); r['version'] = 99; r['state'] = {'new': 'shape'}"
LOSSES = {
    "record": f"rm {RECORD}",
    "record and files": f"rm -r {RECORD} {FOLDER}/etc {FOLDER}/log {FOLDER}/run",
    "damaged record": f"echo '{{' >{RECORD}",
    "empty record": f": >{RECORD}",
    "a list for a record": f"echo '[1, 2]' >{RECORD}",
    "another lab's record": f'sed -i \'s/"lab": "lab"/"lab": "other"/\' {RECORD}',
    "newer record": f"""python3 -c "{NEWER}; json.dump(r, open(sys.argv[1], 'w'))" {RECORD}""",
    "one namespace": f"umount {FOLDER}/netns/a",
    "namespaces": f"umount {FOLDER}/netns/a {FOLDER}/netns/b; rm {FOLDER}/netns/a {FOLDER}/netns/b",
    "all mounts": f"umount --recursive {FOLDER}/netns",
    "names": "rm /run/netns/*",
    "state folder": f"umount --recursive {FOLDER}/netns; rm -r {FOLDER}",
    "state folder, namespaces mounted": f"rm -r {FOLDER} 2>/dev/null || :",
    "all state": f"umount --recursive {FOLDER}/netns; rm -r /run/labctl/lab /run/netns",
}


@each_way
@pytest.mark.parametrize("loss", LOSSES)
def test_down_after_a_loss(machine: Machine, loss: str, option: str) -> None:
    machine.up(machine.topology("lab", LAB), option)
    wait_until(lambda: len(machine.pids("sleep 1001")) == 1)
    inside = HOLDERS if option == "rootless" else ""
    machine.write("loss", LOSSES[loss])
    machine.ok(f"{inside} sh -e /run/scratch/loss")
    done = machine.run("labctl down lab")
    assert (done.status, done.stdout) == (0, ""), done.stderr
    assert ": down in " in done.stderr
    machine.prove_clean()


@pytest.mark.parametrize("loss", ["record", "damaged record", "newer record", "state folder"])
def test_up_after_a_loss(machine: Machine, loss: str) -> None:
    """A lab without a record is built anew; a record that cannot be read is not guessed at."""
    file = machine.topology("lab", LAB)
    machine.up(file)
    machine.ok(LOSSES[loss])
    done = machine.run(f"labctl up {file}")
    if loss in ("damaged record", "newer record"):
        assert done.status == 1
        assert "'labctl down' removes the lab all the same" in done.stderr
        assert json.loads(machine.ok("labctl ps --json"))[0]["problem"]
        return
    assert done.status == 0, done.stderr
    assert machine.run(f"labctl plan {file} --exit-code").status == 0
    assert len(machine.pids("sleep 1000")) == 1


def test_ps_tells_of_a_lab_without_a_record(machine: Machine) -> None:
    machine.up(machine.topology("lab", LAB))
    machine.ok(LOSSES["record"])
    assert "its record is gone" in machine.ok("labctl ps")
    shown = machine.run("labctl show lab")
    assert (shown.status, shown.stdout) == (2, "")
    assert "labctl down lab" in shown.stderr


@each_way
def test_the_file_is_gone(machine: Machine, option: str) -> None:
    file = machine.topology("lab", LAB)
    machine.up(file, option)
    machine.ok(f"rm {file}")
    assert machine.run("labctl down").status == 0


@each_way
def test_another_mount_namespace_has_a_nodes_namespace(machine: Machine, option: str) -> None:
    """A copy of the mounts that no unmounting reaches, as some services and container engines have one."""
    machine.up(machine.topology("lab", LAB), option)
    inside = HOLDERS if option == "rootless" else ""
    holding = machine.start(f"exec {inside} unshare --mount --propagation private sh -c 'echo; exec sleep 77'")
    assert holding.stdout
    holding.stdout.readline()
    assert machine.run("labctl down lab").status == 0
    assert machine.run("labctl ps").stdout == ""
    machine.ok("pkill -KILL -xf 'sleep 77'")
    wait_until(lambda: machine.pids("sleep 77") == [])


@only_root
def test_run_is_full(machine: Machine) -> None:
    """No room for one more byte: `down` needs none, and `up` says so in a sentence."""
    machine.ok("mount -o remount,size=2m /run")
    machine.settle()
    machine.up(machine.topology("lab", LAB))
    changed = machine.topology("changed", LAB.replace("links:", "# links:"))
    machine.run("dd if=/dev/zero of=/run/scratch/full bs=4k")
    with machine.untouched():
        for file in (changed, "two-containers"):
            done = machine.run(f"labctl up {file}")
            assert done.status == 1
            assert done.stderr.startswith("labctl: /run/labctl/")
            assert done.stderr.endswith(": No space left on device\n")
    assert machine.run("labctl down lab").status == 0
    machine.ok("rm /run/scratch/full")


@pytest.mark.parametrize("number", ["KILL", "TERM", "INT"])
def test_a_command_that_is_stopped_at_any_time(
    machine: Machine, record_property: Callable[[str, object], None], number: str
) -> None:
    """The real command, at moments that nobody chose: 'down' leads back, every time."""
    file = machine.topology("lab", LAB)
    times = [seconds / 1000 for seconds in range(40, 160, 10)]
    for seconds in times:
        machine.run(f"timeout --signal {number} {seconds} labctl up {file}")
        machine.ok("labctl down --all")
    record_property("commands stopped", len(times))
    for seconds in times:
        machine.up(file)
        machine.run(f"timeout --signal {number} {seconds} labctl down lab")
        machine.ok("labctl down --all")
    record_property("commands stopped", 2 * len(times))
