"""Run inside a private machine: labctl with one thing going wrong at one step, at every step in turn.

    saboteur.py SCENARIO WAY [isolated] [STEP… | FIRST:EVERY]
                                            prints {"steps": …, "injections": …, "failures": […]} as JSON

A step is whatever changes the machine: a netlink message, a system call on namespaces and mounts, a file written,
made, renamed or removed, a process started or signalled. Each injection is a process of its own, forked from this one:
it counts its steps and, at the chosen one, is killed (`kill`), gets SIGINT or SIGTERM (`signal`), or the step is
refused with an errno (`error`). What follows has to lead to a machine like the one before, or to the lab as meant.

SCENARIO   up (a new lab), change (a running lab to another file), down
WAY        kill-down, kill-up, signal, error: what happens, and for `kill` which verb comes next
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path
from typing import Any

from labctl import cli, lab, removal
from labctl.errors import LabError
from labctl.linux import libc, netlink, nft, outbox, processes, rootless, store
from labctl.topology import load
from labctl.written import Topology

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a program, it is in no package
from kernel.harmed import AFTER, BEFORE, CHANGING, VIEW

ERRNOS = (errno.EPERM, errno.EEXIST, errno.ENOMEM, errno.ENOSPC, errno.EBUSY)
SIGNALS = (signal.SIGINT, signal.SIGTERM)
DONE, FAILED, INTERRUPTED, CRASHED, NOT_REACHED = 0, 1, 2, 3, 4  # exit statuses of a process with an injection
PATIENCE = 60  # seconds until a process that hangs is a failure
SETTLED = 3.0  # seconds until all that was done is to be seen


class Step:
    """Counts the steps of this process and, at the chosen one, does harm."""

    def __init__(self) -> None:
        self.armed, self.count, self.chosen = False, 0, 0
        self.harm: Callable[[], None] = lambda: None
        self.names: list[str] = []

    def arm(self, chosen: int, harm: Callable[[], None]) -> None:
        self.armed, self.count, self.chosen, self.harm = True, 0, chosen, harm

    def disarm(self) -> None:
        self.armed = False

    def __call__(self, name: str) -> None:
        if self.armed:
            self.count += 1
            self.names.append(name)
            if self.count == self.chosen:
                self.harm()


step = Step()
STARTS = {"os.posix_spawn", "subprocess.Popen"}
FILES = {"os.mkdir", "os.rmdir", "os.rename", "os.remove", "os.symlink", "os.fork", *STARTS}


def audited(event: str, arguments: tuple[Any, ...]) -> None:
    if event in FILES:
        step(f"{event} {arguments[:2] if event in STARTS else arguments[:1]}")
    elif event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        step(f"write {arguments[0]}")


def watched(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **more: Any) -> Any:
        step(f"{name} {arguments}")
        return function(*arguments, **more)

    return call


def send_one_by_one(self: netlink.Socket, messages: list[bytes]) -> list[netlink.Refusal]:
    """Each message is a step of its own, and its error the kernel's answer."""
    refusals = []
    for position, message in enumerate(messages):
        try:
            step(f"netlink message of type {int.from_bytes(message[4:6], sys.byteorder)}")
            answers = send(self, [message])
        except OSError as error:
            answers = [netlink.Refusal(0, error.errno or 0, "injected")]
        refusals += [netlink.Refusal(position, answer.errno, answer.reason) for answer in answers]
    return refusals


def finish(self: nft.Load) -> str:
    complaint = load_finish(self)
    try:
        step("nft has ended")
    except OSError as error:
        return f"Error: {error.strerror}"
    return complaint


def refuse(code: int) -> None:
    raise OSError(code, os.strerror(code))


def watch() -> None:
    sys.addaudithook(audited)
    outbox.WAVE = 3  # small labs, too, send what is the host's from a thread of its own
    for name in ("unshare", "setns", "mount", "umount", "sethostname"):
        setattr(libc, name, watched(name, getattr(libc, name)))
    processes._signal = watched("signal", processes._signal)
    netlink.Socket.send = send_one_by_one  # type: ignore[method-assign, assignment]
    nft.Load.finish = finish  # type: ignore[method-assign]
    os.register_at_fork(after_in_child=step.disarm)


send, load_finish = netlink.Socket.send, nft.Load.finish


def topology(text: str) -> Topology:
    return load(text.encode(), "/run/scratch/lab.yaml")


@dataclass(frozen=True)
class Ended:
    status: int  # one of those above, or minus the signal
    steps: int
    what: str  # the last steps, and what was raised


def forked(work: Callable[[], object], chosen: int = 0, harm: Callable[[], None] = lambda: None) -> Ended:
    """Does some work in a process of its own, with harm at the chosen step of it."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reading)
        os.setpgid(0, 0)
        report = _guarded(work, chosen, harm, writing)
        os.write(writing, json.dumps(report).encode()[-60000:])
        os._exit(0)
    os.close(writing)
    timer = threading.Timer(PATIENCE, os.killpg, (pid, signal.SIGKILL))
    timer.start()
    with os.fdopen(reading, "rb") as pipe:
        lines = pipe.read().split(b"\n")
    _, status = os.waitpid(pid, 0)
    timer.cancel()
    if os.WIFSIGNALED(status):
        return Ended(-os.WTERMSIG(status), 0, lines[0].decode())
    return Ended(*json.loads(lines[-1]))


def _guarded(work: Callable[[], object], chosen: int, harm: Callable[[], None], pipe: int) -> tuple[int, int, str]:
    def told() -> None:
        os.write(pipe, f"{step.names[-1]}\n".encode().replace(b"\n", b" ") + b"\n")
        harm()

    signal.signal(signal.SIGINT, signal.default_int_handler)
    cli._heed_signals()
    step.arm(chosen, told)
    try:
        work()
        status, what = DONE if step.count >= chosen else NOT_REACHED, ""
    except KeyboardInterrupt as interrupt:
        status, what = INTERRUPTED, repr(interrupt)
    except (LabError, OSError) as error:
        status, what = FAILED, str(error)
    except BaseException:
        status, what = CRASHED, traceback.format_exc()
    step.disarm()
    return status, step.count, f"at {step.names[chosen - 1 : chosen]}: {what}"


def view() -> list[str]:
    """All that a lab is, or may leave behind."""
    done = subprocess.run(["sh", "-c", VIEW], capture_output=True, text=True, check=False)
    return sorted([*CHANGING.sub("", done.stdout).splitlines(), *_processes()])


def _processes() -> Iterator[str]:
    """The command lines of all but this one; of supervisors, as many as killed verbs make them, one."""
    commands = []
    for name in sorted(filter(str.isdigit, os.listdir("/proc")), key=int):
        with suppress(OSError), open(f"/proc/{name}/cmdline", "rb") as file:
            command = file.read().replace(b"\0", b" ").decode()
            if int(name) not in (os.getpid(), os.getppid()) and command:
                commands.append(f"process {command}")
    supervisors = {command for command in commands if "supervise.py" in command}
    yield from [*(command for command in commands if command not in supervisors), *supervisors]


def difference(before: list[str], after: list[str]) -> list[str]:
    return [line for line in unified_diff(before, after, lineterm="", n=0) if not line.startswith(("---", "+++", "@@"))]


def must(ended: Ended, what: str) -> None:
    if ended.status != DONE:
        raise AssertionError(f"{what}: {ended.status} {ended.what}")


def same(before: list[str], what: str) -> None:
    """The kernel tells a bridge of its ports' carriers once a second at most (net/core/link_watch.c)."""
    deadline = time.monotonic() + SETTLED
    while found := difference(before, view()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: " + "\n".join(found[:12]))
        time.sleep(0.1)


class Trial:
    """One scenario on this machine, with the view of a machine without the lab and those of the lab done right."""

    def __init__(self, scenario: str, way: str, isolated: bool) -> None:
        self.scenario, self.way, self.isolated = scenario, way, isolated
        before, after = topology(BEFORE), topology(AFTER)
        self.up = lambda: lab.up(before, isolated)
        self.change = lambda: lab.up(after, isolated)
        self.work: Callable[[], object] = {"up": self.up, "change": self.change, "down": self.down}[scenario]
        self.again = self.change if scenario == "change" else self.up
        self.empty = view()
        must(forked(self.up), "up")
        if scenario == "change":
            must(forked(self.change), "change")
        self.whole = view()
        must(forked(self.down), "down")
        same(self.empty, "an undisturbed down")

    def down(self) -> None:
        """As `labctl down lab`: also what a killed labctl left that is no lab yet."""
        store.sweep()
        removal.down("lab")

    def begin(self) -> None:
        if self.scenario != "up":
            must(forked(self.up), "up")

    def steps(self) -> int:
        self.begin()
        ended = forked(self.work)
        must(ended, self.scenario)
        must(forked(self.down), "down")
        return ended.steps

    def one(self, chosen: int) -> None:
        """One injection and what has to follow. Raises AssertionError."""
        self.begin()
        if self.way.startswith("kill"):
            ended = forked(self.work, chosen, lambda: os.kill(os.getpid(), signal.SIGKILL))
            assert ended.status == -signal.SIGKILL, f"not killed: {ended}"
        elif self.way == "signal":
            number = SIGNALS[chosen % 2]
            ended = forked(self.work, chosen, lambda: os.kill(os.getpid(), number))
        else:
            ended = forked(self.work, chosen, lambda: refuse(self.errno(chosen)))
        assert ended.status != CRASHED, ended.what
        assert ended.status != NOT_REACHED, "step not reached"
        self.follow(ended)

    def errno(self, chosen: int) -> int:
        name = self.way.partition("-")[2]
        return getattr(errno, name) if name else ERRNOS[chosen % len(ERRNOS)]

    def follow(self, ended: Ended) -> None:
        if self.way == "kill-up" or (self.scenario == "change" and not self.way.startswith("kill")):
            must(forked(self.again), f"up again after {ended.what}")
            same(self.whole, f"up again after {ended.what}")
        elif self.scenario == "up" and ended.status in (FAILED, INTERRUPTED) and difference(self.whole, view()):
            same(self.empty, f"removed again after {ended.what}")
            return  # else it was stopped when all was done
        must(forked(self.down), f"down after {ended.what}")
        same(self.empty, f"down after {ended.what}")


def main(scenario: str, way: str, *options: str) -> None:
    rootless.admit_to_change(starting=True)
    watch()
    trial = Trial(scenario, way, "isolated" in options)
    steps = trial.steps()
    chosen = [int(word) for word in options if word.isdigit()] or range(1, steps + 1)
    for first, _, every in (word.partition(":") for word in options if ":" in word):
        chosen = range(int(first), steps + 1, int(every))
    failures: list[str] = []
    for number in chosen:
        try:
            trial.one(number)
        except AssertionError as error:
            failures.append(f"step {number}: {error}")
            forked(trial.down)
            if difference(trial.empty, view()) or len(failures) == 5:
                break  # the machine is spoilt
    print(json.dumps({"steps": steps, "injections": len(chosen), "failures": failures}))
    rootless.leave()


if __name__ == "__main__":
    main(*sys.argv[1:])
