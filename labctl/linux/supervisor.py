"""The supervisor of what one `up` starts: starts programs in turn, and again; notices their ends; keeps logs small.

There is no daemon: it is started by the `up` that has something to start, and ends when there is nothing left to watch.
`up` feeds it services, hears what becomes of them, and goes. What else happens is in their status files (statuses.py).
"""

from __future__ import annotations

import marshal
import os
import select
import signal
import sys
import time

from labctl.linux import libc
from labctl.linux.program import Start, begun, in_mounts, kill, listens

TYPE_CHECKING = False  # typing alone would take a quarter of its start
if TYPE_CHECKING:
    from collections.abc import Iterator

    from labctl.linux.program import Settings

FIRST_PAUSE, LAST_PAUSE = 0.1, 60.0  # seconds before a restart: doubled each time, as dockerd does
PROVEN = 10.0  # seconds of running after which the pauses begin anew
ROUND = 1.0  # seconds between looks at logs, and at what a service left behind
SOONEST, LATEST = 0.02, 0.5  # seconds between two looks whether a service is ready
LOG_KEPT = 10 << 20  # bytes of a log that are kept at least; twice as many at most
LONGEST = 65536  # bytes of a status file, about


class Watched:
    """A service, and where it is in its life."""

    def __init__(self, number: int, settings: Settings) -> None:
        self.number = number
        self.settings = settings
        self.state = "waiting"
        self.ready = "no" if settings["ready"] else ""
        self.held = True  # its status file is ours to write
        self.failed = ""  # why nobody need wait for it any more
        self.pid, self.probe = 0, 0
        self.begun, self.code, self.mnt = "", "", ""
        self.mounts = -1  # its mount namespace, held so that its number is not given to another
        self.restarts, self.pause, self.punched = 0, 0.0, 0
        self.since, self.due, self.deadline = 0.0, 0.0, 0.0
        os.set_inheritable(settings["fd"], False)

    @property
    def is_settled(self) -> bool:
        """Whether `up` need not wait for it any more."""
        return bool(self.failed) or not self.held or (self.state != "waiting" and self.ready != "no")

    def has_claim(self) -> bool:
        """Whether nobody has ended it, or is about to."""
        fd = self.settings["fd"]
        if self.held and os.fstat(fd).st_nlink:
            last = os.pread(fd, LONGEST * 2, 0).rpartition(b"\n")[0].rpartition(b"\n")[2]
            return not last.startswith(b"state=ending")
        return False

    def note(self) -> None:
        """Writes down how it is."""
        values = {name: getattr(self, name) for name in ("state", "pid", "begun", "mnt", "ready", "code", "restarts")}
        words = [f"{name}={value}" for name, value in values.items() if value]
        line = " ".join([*words, f"digest={self.settings['digest']}"]).encode() + b"\n"
        try:
            os.write(self.settings["fd"], line)
            if os.fstat(self.settings["fd"]).st_size > LONGEST:
                os.ftruncate(self.settings["fd"], 0)
                os.write(self.settings["fd"], line)
        except OSError:  # the file system is full: a service is no worse for that
            return

    def run(self, start: Start) -> None:
        """Writes down the new process before it may run its program: it is known whatever happens now."""
        self.let_go_of_mounts()
        self.pid, self.begun, self.state, self.code = start.pid, begun(start.pid), "running", ""
        if start.entered():
            path = f"/proc/{start.pid}/ns/mnt"
            self.mnt, self.mounts = os.readlink(path), os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.note()
        self.failed = start.go()
        self.since = time.monotonic()
        self.deadline = self.deadline or self.since + self.settings["ready_timeout"]
        self.due = self.since

    def postpone(self, now: float) -> None:
        """It could not even be tried."""
        self.state, self.due = "restarting", now + ROUND
        self.deadline = self.deadline or now + self.settings["ready_timeout"]

    def ended(self, code: str) -> None:
        """Its first process is no more: it is to be started again, or that is all."""
        self.pid, self.begun, self.code = 0, "", code
        if not self.has_claim():
            return self.let_go()
        now = time.monotonic()
        if self._again():
            known = now - self.since < PROVEN and self.pause
            self.pause = min(2 * self.pause, LAST_PAUSE) if known else FIRST_PAUSE
            self.state, self.due, self.restarts = "restarting", now + self.pause, self.restarts + 1
        else:
            self.state, self.due = "exited", now
            if self.ready == "no" and (code != "0" or not in_mounts(self.mnt)):
                self.fail(f"ended before it was ready: {describe(code)}")
        return self.note()

    def _again(self) -> bool:
        policy, _, times = self.settings["restart"].partition(":")
        if policy == "on-failure":
            return self.code != "0" and (not times or self.restarts < int(times))
        return policy in ("always", "unless-stopped")

    def fail(self, why: str) -> None:
        self.failed = why
        if self.ready == "no":
            self.ready = "late"

    def let_go(self) -> None:
        """Nothing is left to watch: the lock goes with the file."""
        if self.held:
            self.held = False
            os.close(self.settings["fd"])
            self.let_go_of_mounts()

    def let_go_of_mounts(self) -> None:
        if self.mounts >= 0:
            os.close(self.mounts)
            self.mounts = -1

    def clear(self) -> None:
        """Kills what an earlier start left behind: a restart is a new beginning, as a container's is."""
        if self.mounts >= 0:
            for _ in range(5):
                if not (left := in_mounts(self.mnt)):
                    break
                kill(left, self.mnt)

    def processes(self) -> list[int]:
        return [self.pid] if self.pid else in_mounts(self.mnt)

    def trim(self) -> None:
        """Frees what is old in its log. The file's size stays, so neither a writer nor a reader loses its place."""
        try:
            size = os.stat(self.settings["log"]).st_size
        except OSError:
            return
        self.punched = min(self.punched, size)
        if size - self.punched > 2 * LOG_KEPT:
            self.punched = (size - LOG_KEPT) & ~0xFFFF
            fd = os.open(self.settings["log"], os.O_RDWR | os.O_CLOEXEC)
            try:
                libc.punch_hole(fd, self.punched)
            except OSError:  # a file system that cannot: the log begins anew
                os.ftruncate(fd, 0)
            finally:
                os.close(fd)


class Supervisor:
    """Watches some services. `answers` is where `up` listens."""

    def __init__(self, services: list[Watched], answers: int) -> None:
        self._services = services
        self._answers = answers
        self._told: set[tuple[str, int]] = set()
        self._round = 0.0
        self._needed = {other for service in services for other in service.settings["after"]}

    def watch(self) -> None:
        """Until there is nothing left to watch."""
        while any(service.held for service in self._services):
            self._start()
            now = time.monotonic()
            for service in self._services:
                self._look_after(service, now)
            if now >= self._round:
                self._go_round(now)
            self._answer()
            signal.sigtimedwait([signal.SIGCHLD], max(0.0, self._next() - time.monotonic()))
            self._reap()
        self._answer()

    def _start(self) -> None:
        """What is due, all at once: each enters its node while others do."""
        now = time.monotonic()
        due = [service for service in self._services if self._is_due(service, now)]
        for service in due:
            if not service.has_claim():
                service.let_go()
            service.clear()
        starts = []
        for service in (service for service in due if service.held):
            try:
                starts.append((service, Start(service.settings, service.settings["command"], service.settings["log"])))
            except OSError:  # no process, or no descriptor, is to be had now
                service.postpone(now)
        for service, start in starts:
            service.run(start)
            if service.failed and (service.ready or service.number in self._needed):
                service.fail(f"could not be started: {service.failed}")
                service.note()
            else:
                service.failed = ""

    def _is_due(self, service: Watched, now: float) -> bool:
        if not service.held or service.state not in ("waiting", "restarting"):
            return False
        if service.state == "restarting":
            return now >= service.due
        others = [self._services[number] for number in service.settings["after"]]
        if failed := next((other for other in others if other.failed), None):
            service.fail(f"was not started: {failed.settings['environment']['LABCTL_SERVICE']} {failed.failed}")
            service.let_go()
        return service.held and all(other.is_settled for other in others)

    def _look_after(self, service: Watched, now: float) -> None:
        if not service.held or service.ready != "no" or service.state == "waiting" or service.failed:
            return
        if now >= service.deadline or self._is_alone():
            if service.probe:
                os.killpg(service.probe, signal.SIGKILL)
            what = service.settings["ready"]
            wanted = f"nothing listens on {what}" if isinstance(what, str) else "its command fails"
            service.fail(f"was not ready within {service.settings['ready_timeout']} s: {wanted}")
            service.note()
        elif service.state != "restarting" and now >= service.due and not service.probe:
            self._try(service, now)

    def _try(self, service: Watched, now: float) -> None:
        ready = service.settings["ready"]
        service.due = now + min(max((now - service.since) / 10, SOONEST), LATEST)
        if isinstance(ready, str):
            if any(listens(pid, ready) for pid in service.processes()[:1]):
                self._is_ready(service)
        else:
            start = Start(service.settings, ready, "/dev/null")
            start.entered()
            start.go()
            service.probe = start.pid

    def _is_ready(self, service: Watched) -> None:
        service.ready = "yes"
        service.note()

    def _is_alone(self) -> bool:
        """Whether the `up` that waited for us is gone."""
        poll = select.poll()
        poll.register(self._answers, 0)
        return bool(poll.poll(0))

    def _go_round(self, now: float) -> None:
        self._round = now + ROUND
        alone = self._is_alone()
        for service in self._services:
            if service.held:
                service.trim()
                if alone and service.state == "waiting":
                    service.let_go()
                elif service.state == "exited" and not in_mounts(service.mnt):
                    if service.ready == "no":
                        service.fail("ended before it was ready")
                        service.note()
                    service.let_go()

    def _answer(self) -> None:
        """Tells `up` what it waits for, once each, and at the end that there is no more."""
        for service in self._services:
            if service.state != "waiting":
                self._tell("started", service)
            if service.failed:
                self._tell("failed", service, service.failed)
        if all(service.is_settled for service in self._services) and ("done", -1) not in self._told:
            self._told.add(("done", -1))
            self._write("done")
            nowhere = os.open("/dev/null", os.O_RDWR)
            os.dup2(nowhere, self._answers)
            os.close(nowhere)

    def _tell(self, what: str, service: Watched, more: str = "") -> None:
        if (what, service.number) not in self._told:
            self._told.add((what, service.number))
            self._write(f"{what} {service.number} {more}")

    def _write(self, line: str) -> None:
        if not self._is_alone():
            os.write(self._answers, line.replace("\n", " ").encode() + b"\n")

    def _next(self) -> float:
        """When there is something to do, if nothing happens before."""
        return min([self._round, *self._times()])

    def _times(self) -> Iterator[float]:
        for service in self._services:
            if service.held and service.state == "restarting":
                yield service.due
            elif service.held and service.state == "waiting":
                yield from [0.0] * all(self._services[other].is_settled for other in service.settings["after"])
            elif service.held and service.ready == "no":
                yield service.deadline if service.probe else min(service.due, service.deadline)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            for service in self._services:
                if service.pid == pid:
                    service.ended(code_of(status))
                elif service.probe == pid:
                    service.probe = 0
                    if code_of(status) == "0" and service.ready == "no":
                        self._is_ready(service)


def code_of(status: int) -> str:
    """An exit status, or a signal's name."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return next((known.name for known in signal.Signals if known == number), f"SIG{number}")
    return str(os.WEXITSTATUS(status))


def describe(code: str) -> str:
    return f"killed by {code}" if code.startswith("SIG") else f"exit status {code}"


def main() -> None:
    """Reads services from standard input; standard output is heard by `up`. Nothing was to be started: it just ends."""
    try:
        settings: list[Settings] = marshal.load(sys.stdin.buffer)
    except EOFError:
        return
    libc.outlive_parent()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where it is ignored, nobody hears how a child ended
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    os.dup2(2, 0)
    Supervisor([Watched(number, each) for number, each in enumerate(settings)], 1).watch()
