"""A service in the eyes of its supervisor: where it is in its life, what is written down of it, and its log."""

from __future__ import annotations

import os
import time

from labctl.linux import libc
from labctl.linux.program import begun, in_mounts, kill

TYPE_CHECKING = False  # typing alone would take a quarter of a supervisor's start
if TYPE_CHECKING:
    from labctl.linux.program import Settings, Start

FIRST_PAUSE, LAST_PAUSE = 0.1, 60.0  # seconds before a restart: doubled each time, as dockerd does
PROVEN = 10.0  # seconds of running after which the pauses begin anew
ROUND = 1.0  # seconds between looks at logs, and at what a service left behind
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
        self.hindrance, self.tried = "", "still runs"  # why its last probe could not be run, or how the last one ended
        self.code, self.mnt, self.net = "", "", ""
        self.noted = 0  # the process that the status file names: the first one, or one that this one has left behind
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
            last = os.pread(fd, os.fstat(fd).st_size, 0).rpartition(b"\n")[0].rpartition(b"\n")[2]
            return not last.startswith(b"state=ending")
        return False

    def note(self) -> None:
        """Writes down how it is."""
        self.noted = next(iter(self.processes()), 0)
        values = {name: getattr(self, name) for name in ("state", "mnt", "net", "ready", "code", "restarts")}
        values |= {"pid": self.noted, "begun": begun(self.noted)} if self.noted else {}
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
        before, self.mounts = self.mounts, -1
        self.pid, self.state, self.code = start.pid, "running", ""
        self.mnt = self.net = ""
        if start.entered():
            path = f"/proc/{start.pid}/ns/mnt"
            try:
                self.mounts = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                self.mnt, self.net = os.readlink(path), os.readlink(f"/proc/{start.pid}/ns/net")
            except OSError:  # killed on its way
                pass
        self.note()
        if before >= 0:
            os.close(before)  # only now, for its number was in the status file until now
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
        self.pid, self.code = 0, code
        if not self.has_claim():
            return self.let_go()
        now = time.monotonic()
        if self._again():
            known = now - self.since < PROVEN and self.pause
            self.pause = min(2 * self.pause, LAST_PAUSE) if known else FIRST_PAUSE
            self.state, self.due, self.restarts = "restarting", now + self.pause, self.restarts + 1
        else:
            self.state, self.due = "exited", now
            if self.ready == "no" and (code != "0" or not self.processes()):
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
        if self.mnt and self.mounts >= 0:
            for _ in range(5):
                if not (left := in_mounts(self.mnt)):
                    break
                kill(left, self.mnt)

    def processes(self) -> list[int]:
        return [self.pid] if self.pid else in_mounts(self.mnt) if self.mnt else []

    def trim(self) -> None:
        """Frees what is old in its log. The file's size stays, so neither a writer nor a reader loses its place."""
        try:
            size = os.stat(self.settings["log"]).st_size
            self.punched = min(self.punched, size)
            if size - self.punched > 2 * LOG_KEPT:
                self.punched = (size - LOG_KEPT) & ~0xFFFF
                self._cut(self.punched)
        except OSError:  # it has gone
            return

    def _cut(self, length: int) -> None:
        fd = os.open(self.settings["log"], os.O_RDWR | os.O_CLOEXEC)
        try:
            libc.punch_hole(fd, length)
        except OSError:  # a file system that cannot: the log begins anew
            os.ftruncate(fd, 0)
        finally:
            os.close(fd)


def describe(code: str) -> str:
    return f"killed by {code}" if code.startswith("SIG") else f"exit status {code}"
