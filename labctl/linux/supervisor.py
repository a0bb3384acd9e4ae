"""The supervisor of what one `up` starts: starts programs in turn, and again, and notices their ends.

There is no daemon: it is started by the `up` that has something to start, and ends when there is nothing left to watch.
`up` feeds it services, hears what becomes of them, and goes. What else happens is in their status files (statuses.py).
"""

from __future__ import annotations

import marshal
import os
import select
import sys
import time

from labctl.linux import libc
from labctl.linux.program import Start, listens
from labctl.linux.watched import ROUND, Watched, describe

TYPE_CHECKING = False  # typing alone would take a quarter of its start
if TYPE_CHECKING:
    import signal
    from collections.abc import Iterator

    from labctl.linux.program import Settings
else:
    import _signal as signal  # what is behind the module signal, whose enumerations take 4 ms

AT_ONCE = 64  # programs that are started side by side
SOONEST, LATEST = 0.02, 0.5  # seconds between two looks whether a service is ready


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
        """What is due, many at once: each enters its node while others do."""
        now = time.monotonic()
        due = [service for service in self._services if self._is_due(service, now)][:AT_ONCE]
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
            wanted = f"nothing listens on {what}" if isinstance(what, str) else f"its command: {service.tried}"
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
            try:
                start = Start(service.settings, ready, "/dev/null")
            except OSError:  # no process, or no descriptor, is to be had now
                return
            start.entered()
            service.hindrance = start.go()
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
                elif service.state == "exited":
                    self._look_at_rest(service)

    def _look_at_rest(self, service: Watched) -> None:
        """What an ended process left behind: as long as there is any of it, the status file names one."""
        left = service.processes()
        if not left:
            if service.ready == "no":
                service.fail("ended before it was ready")
                service.note()
            service.let_go()
        elif service.noted not in left:
            service.note()

    def _answer(self) -> None:
        """Tells `up` what it waits for, once each, and at the end that there is no more."""
        for service in self._services:
            if service.state != "waiting":
                self._tell("started", service)
            if service.ready == "yes":
                self._tell("ready", service)
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
        try:
            os.write(self._answers, line.replace("\n", " ").encode() + b"\n")
        except BrokenPipeError:  # nobody waits any more
            return

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
                    service.tried = service.hindrance or describe(code_of(status))
                    if code_of(status) == "0" and service.ready == "no":
                        self._is_ready(service)


def code_of(status: int) -> str:
    """An exit status, or a signal's name."""
    if os.WIFSIGNALED(status):
        from signal import Signals

        number = os.WTERMSIG(status)
        return next((known.name for known in Signals if known == number), f"SIG{number}")
    return str(os.WEXITSTATUS(status))


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
