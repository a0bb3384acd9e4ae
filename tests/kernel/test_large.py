"""Labs of many nodes: progress on a terminal and nothing of it elsewhere, Ctrl-C, limits, and what fits a screen."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kernel.machine import SCRATCH, Machine, needs, wait_until

MANY = """
bridges: {br0: {subnet: 10.9.0.0/16}}
namespaces:
  web: {networks: [br0], count: 40}
"""
NEVER_READY = (
    MANY + "  slow: {networks: [br0], run: {main: {command: sleep 1000, ready: tcp 80, ready_timeout: 600}}}\n"
)
HASTY = Path(__file__).with_name("hasty.py")
REFUSED = Path(__file__).with_name("refused.py")
ERASED = "\r\x1b[K"


@pytest.fixture
def hasty(machine: Machine) -> Machine:
    machine.write("hasty", f'#!/bin/sh\nexec {sys.executable} -P {HASTY} "$@"\n').chmod(0o755)
    machine.settle()
    return machine


def on_terminal(command: str, columns: int = 80, settings: str = "TERM=xterm") -> str:
    """A command with a terminal of its own, of which everything that comes is in SCRATCH/screen, as it comes."""
    return f"script -qefc 'stty cols {columns} rows 24; {settings} {command}' {SCRATCH}/screen"


def screen(machine: Machine) -> str:
    path = machine.path(f"{SCRATCH}/screen")
    return path.read_bytes().decode() if path.exists() else ""


def drawn(text: str) -> list[str]:
    """What was drawn in a line that was erased for it."""
    return [piece.partition("\r")[0] for piece in text.split(ERASED)[1:]]


@needs("script")
@pytest.mark.parametrize("columns", [80, 40, 20])
def test_progress_on_a_terminal(hasty: Machine, columns: int) -> None:
    file = hasty.topology("lab", MANY)
    for verb, last in (("up", f"hasty up {file} --isolated"), ("down", "hasty down")):
        hasty.ok(on_terminal(last, columns))
        lines = drawn(screen(hasty))
        shown = [line for line in lines if line.endswith((" nodes", " left"))]
        assert len(shown) > 1
        assert all(len(line) < columns for line in shown)
        counts = [int(line.partition(" of ")[0].rpartition(" ")[2]) for line in shown]
        assert counts == sorted(counts)
        assert counts[-1] <= 40
        assert lines[-1].startswith(f"lab: {verb} in ")  # the story follows in the line that progress had


@needs("script")
@pytest.mark.parametrize("settings", ["TERM=dumb", "env -u TERM"])
def test_no_progress_on_a_terminal_that_cannot_erase(hasty: Machine, settings: str) -> None:
    file = hasty.topology("lab", MANY)
    hasty.ok(on_terminal(f"hasty up {file} --isolated", settings=settings))
    assert "\x1b" not in screen(hasty)
    hasty.ok(on_terminal("hasty up -v two-containers.yaml --isolated"))
    assert "\x1b" not in screen(hasty)


def test_no_progress_in_a_pipe(hasty: Machine) -> None:
    file = hasty.topology("lab", MANY)
    for command in (f"hasty up {file}", f"hasty up {file}", "hasty down"):
        done = hasty.run(f"TERM=xterm {command}")
        assert done.status == 0
        assert not {"\x1b", "\r"} & set(done.stdout + done.stderr)
        assert " nodes" not in done.stderr


def interrupt(running: subprocess.Popen[str]) -> None:
    """Ctrl-C on its terminal, once it waits for its services; it ends by that."""
    assert running.stdin
    running.stdin.write("\x03")
    running.stdin.flush()
    assert running.wait(30) == 130


@needs("script")
def test_ctrl_c_ends_a_large_up_and_nothing_is_left(hasty: Machine) -> None:
    file = hasty.topology("lab", NEVER_READY)
    running = hasty.start(on_terminal(f"hasty up {file}"))
    wait_until(lambda: hasty.pids("sleep 1000"), 30)
    interrupt(running)
    told = screen(hasty).rpartition(ERASED)[2].splitlines()
    assert told[:2] == ["labctl: interrupted", "The lab lab was removed again; nothing is left of it."]


@needs("script")
def test_ctrl_c_in_a_change_says_how_to_go_on(hasty: Machine) -> None:
    hasty.ok(f"labctl up {hasty.topology('lab', MANY)}")
    file = hasty.topology("lab", NEVER_READY)
    running = hasty.start(on_terminal(f"hasty up {file}"))
    wait_until(lambda: hasty.pids("sleep 1000"), 30)
    interrupt(running)
    assert f"The lab lab stays as it is now; 'labctl up {file}' goes on." in screen(hasty)
    assert len(json.loads(hasty.ok("labctl ps --json"))[0]["nodes"]) == 41


@pytest.mark.parametrize("option", ["", "--isolated"], ids=["shared", "isolated"])
@pytest.mark.parametrize("count", [24, 120])  # in the last of what is sent beside the walk, and long before
def test_a_refusal_while_nodes_are_still_made(machine: Machine, option: str, count: int) -> None:
    """It ends `up` as any other does, however far that has come meanwhile."""
    file = machine.topology("lab", MANY.replace("count: 40", f"count: {count}"))
    with machine.untouched():
        done = machine.run(f"{sys.executable} -P {REFUSED} up {file} {option}")
    assert done.status == 1
    refused, reason, *_, last = done.stderr.splitlines()
    assert refused.startswith("labctl: ip ")
    assert " link add veth" in refused
    assert reason == "  File exists (EEXIST)"
    assert last == "The lab lab was removed again; nothing is left of it."


def test_too_few_open_files_are_told_before_anything_is_touched(machine: Machine) -> None:
    file = machine.topology("lab", MANY)
    with machine.untouched():
        done = machine.run(f"ulimit -n 150; labctl up {file}")
    assert done.status == 1
    assert done.stderr.startswith("labctl: a lab of 40 nodes takes 180 open files, and labctl may have 150")
    assert "ulimit -n 256" in done.stderr
    assert machine.run(f"ulimit -n 180; labctl up {file}").status == 0


def test_too_little_room_for_files_is_told_before_anything_is_touched(machine: Machine) -> None:
    file = machine.topology("lab", MANY.replace("count: 40", "count: 250"))
    machine.ok("mkdir -m 700 /run/labctl && mount -t tmpfs -o mode=700,size=1m tmpfs /run/labctl")
    done = machine.run(f"labctl up {file}")
    assert done.status == 1
    assert "the hosts files of 250 nodes take 2 MiB, and /run has 1 MiB left" in done.stderr
    assert "mount -o remount,size=" in done.stderr
    machine.ok("ls -A /run/labctl | diff - /dev/null && umount /run/labctl && rmdir /run/labctl")


@needs("script")
def test_ps_folds_on_a_terminal_and_tells_every_node_to_a_pipe(machine: Machine) -> None:
    machine.ok(f"labctl up {machine.topology('lab', MANY)} --isolated")
    every = machine.ok("labctl ps")
    assert every.count("web-") == 40
    assert len(json.loads(machine.ok("labctl ps lab --json"))[0]["nodes"]) == 40
    machine.ok(on_terminal("labctl ps", settings="TERM=xterm NO_COLOR=1"))
    folded = screen(machine).splitlines()
    assert len(folded) < 15
    assert [line.split()[1:4] for line in folded if line.startswith("lab ")][1:] == [
        ["web-1", "10.9.0.2/16", "0"],
        ["…", "38", "more"],
        ["web-40", "10.9.0.41/16", "0"],
    ]
    machine.ok(on_terminal("labctl ps lab --all", settings="TERM=xterm NO_COLOR=1"))
    assert screen(machine).count("web-") == 40
