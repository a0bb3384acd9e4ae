"""The side of `up`: starts a supervisor, tells it what to start, and hears what becomes of it."""

from __future__ import annotations

import marshal
import os
import select
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from types import TracebackType

from labctl.errors import ServiceError
from labctl.fields import replace
from labctl.linux import libc, logs, statuses
from labctl.linux.limits import SOFT_LIMIT
from labctl.linux.place import Place
from labctl.linux.processes import DIGEST, MACHINE, MARK, NETNS, SUPERVISOR, machine
from labctl.state import Service

TYPE_CHECKING = False
if TYPE_CHECKING:
    from labctl.linux.program import Settings

Unready = Callable[[Sequence[Service]], None]  # the services that are waited for, when it takes long

PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "supervise.py")
LONG = 2.0  # seconds of waiting of which somebody who waits should know
LAST_LINES = 10  # of a service's log that are told when it fails
LAST_FD = 65536  # higher ones are nobody's


class Supervision:
    """Some services to be, from `with` on: a supervisor gets ready while the network is made.

    Killed at any instant before `start`, `up` takes the supervisor along; from then on that is known by its marks.
    """

    def __init__(self, place: Place, services: Sequence[Service]) -> None:
        self._place = place
        self._services = services
        self._numbers = {(service.node, service.name): number for number, service in enumerate(services)}
        self._claims: list[int] = []
        self._feed = self._answers = -1
        self._pid = 0
        self._fed = False

    def __enter__(self) -> Supervision:
        try:
            self._begin()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._end()

    def _begin(self) -> None:
        for service in self._services:
            _make_folders(self._place, service)
            self._claims.append(statuses.claim(self._place, service.node, service.name, service.digest))
        marks = {MARK: f"{self._place.lab}/{SUPERVISOR}", MACHINE: machine()}
        data, self._feed = os.pipe2(os.O_CLOEXEC)
        self._answers, told = os.pipe2(os.O_CLOEXEC)
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        self._pid = os.fork()
        if not self._pid:
            _become(self._place.lab, parent, data, told, self._claims, marks)
        os.close(data)
        os.close(told)

    def _end(self) -> None:
        """Where nothing was started, the supervisor ends, and there is nothing to know of these services."""
        for fd in (*self._claims, self._feed, self._answers):
            with suppress(OSError):  # there is none, or no more
                os.close(fd)
        if not self._fed:
            with suppress(ChildProcessError):
                os.waitpid(self._pid, 0) if self._pid else None
            for service in self._services[: len(self._claims)]:
                statuses.forget(self._place, service.node, service.name)

    def start(self, report: Callable[[Service], None], unready: Unready) -> None:
        """Has the services started, and waits until all that have to be ready are; tells `unready` of those that take
        long. Raises ServiceError."""
        fed = marshal.dumps(
            [self._settings(service, fd) for service, fd in zip(self._services, self._claims, strict=True)]
        )
        self._fed = True
        pipe, self._feed = os.fdopen(self._feed, "wb"), -1
        with suppress(BrokenPipeError), pipe:  # then there will be no answer either
            pipe.write(fed)
        waiting = {service: None for service in self._services if service.ready}
        for what, number, more in _lines(self._answers, lambda: unready(list(waiting))):
            if what == "done":
                return
            service = self._services[int(number)]
            if what == "started":
                report(service)
            elif what == "ready":
                waiting.pop(service, None)
            else:
                raise self._failure(service, more)
        raise ServiceError(f"the process that starts the services of {self._place.lab} has ended", "Try again.")

    def _failure(self, service: Service, why: str) -> ServiceError:
        last = logs.last_lines(self._place.log(service.node, service.name), LAST_LINES)
        hint = "\n".join(["The end of its log:", *(f"  {line}" for line in last)]) if last else "It has logged nothing."
        return ServiceError(f"{service.node}/{service.name} {why}", hint)

    def _settings(self, service: Service, fd: int) -> Settings:
        place = replace(self._place, kept={})
        netns = place.netns(service.node)
        own = {DIGEST: service.digest, MACHINE: machine(), NETNS: f"net:[{os.stat(netns).st_ino}]"}
        return {
            "fd": fd,
            "digest": service.digest,
            "command": service.command,
            "environment": dict(service.environment) | own,
            "netns": "" if place.on_machine(service.node) else netns,
            "etc": place.etc(service.node),
            "log": place.log(service.node, service.name),
            "descriptors": SOFT_LIMIT,
            "folder": place.scratch(service.node),
            "working_dir": service.working_dir,
            "user": service.user,
            "restart": service.restart,
            "ready": service.ready,
            "ready_timeout": service.ready_timeout,
            "after": [self._numbers[other] for other in service.after if other in self._numbers],
        }


def _make_folders(place: Place, service: Service) -> None:
    """Those of its log and where it starts; in the latter other users may write, as in /tmp."""
    os.makedirs(place.logs, exist_ok=True)
    scratch = place.scratch(service.node)
    if not os.path.isdir(scratch):
        os.makedirs(scratch, exist_ok=True)
        os.chmod(scratch, 0o1777)


def _become(lab: str, parent: int, data: int, told: int, claims: Sequence[int], marks: Mapping[str, str]) -> None:
    """Turns this process into a supervisor with the status files open, and nothing else of `up`'s."""
    try:
        libc.die_with_parent(parent)
        os.setsid()
        os.dup2(data, 0)
        os.dup2(told, 1)
        os.dup2(os.open("/dev/null", os.O_RDWR), 2)
        first = 3
        for fd in [*sorted(claims), LAST_FD]:
            os.closerange(first, fd)
            first = fd + 1
            with suppress(OSError):
                os.set_inheritable(fd, True)
        os.chdir("/")
        options = ["-I", "-S", *(["-B"] if sys.dont_write_bytecode else [])]
        os.execve(sys.executable, [sys.executable, *options, PROGRAM, lab], os.environ | marks)
    finally:
        os._exit(1)


def _lines(fd: int, silence: Callable[[], None]) -> Iterator[tuple[str, str, str]]:
    """What, which service, and what more, until there is no more; says when there is nothing for long, once."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    told, rest = False, b""
    while data := os.read(fd, 4096):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            what, _, more = line.decode(errors="replace").partition(" ")
            number, _, more = more.partition(" ")
            yield what, number, more.strip()
        if not told and not poll.poll(1000 * LONG):
            silence()
            told = True
