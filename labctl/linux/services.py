"""Processes in nodes: entering a node as `docker exec` does, starting services, finding and ending them.

A node's processes are those whose network namespace is the node's. A service is known by a mark in its environment,
LABCTL_SERVICE=<lab>/<node>/<name>, beside LABCTL_DIGEST, which tells whether it still is what the file says.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from labctl.linux import libc
from labctl.linux.place import Place
from labctl.state import HOST, Service, State

MARK, DIGEST = "LABCTL_SERVICE", "LABCTL_DIGEST"
PATIENCE = 2.0  # seconds between SIGTERM and SIGKILL
ETC = ("hosts", "hostname", "resolv.conf")


def enter(place: Place, node: str) -> None:
    """Moves this process into a node: its network, its /sys, /etc/hosts, /etc/resolv.conf and hostname.

    Only in a process with one thread that ends or execs afterwards. Raises OSError.
    """
    if node == HOST and not place.isolated:
        return
    fd = os.open(place.netns(node), os.O_RDONLY | os.O_CLOEXEC)
    libc.setns(fd)
    os.close(fd)
    libc.unshare(libc.CLONE_NEWNS | libc.CLONE_NEWUTS)
    libc.mount("none", "/", flags=libc.MS_SLAVE | libc.MS_REC)  # unmounts still reach us, ours reach nobody
    libc.mount("sysfs", "/sys", "sysfs")  # shows the namespace of the one who mounts it
    etc = place.etc(node)
    for name in ETC:
        if (etc / name).exists() and os.path.exists(f"/etc/{name}"):
            libc.mount(str(etc / name), f"/etc/{name}", flags=libc.MS_BIND)
    if (etc / "hostname").exists():
        libc.sethostname((etc / "hostname").read_text().strip())


def start(place: Place, service: Service) -> int:
    """Starts a service in the background and answers its process id. Call it from a process with one thread."""
    log = place.log(service.node, service.name)
    folder = place.scratch(service.node)
    for needed in (log.parent, folder):
        needed.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    try:
        _become(place, service, log, folder)
    except OSError as error:
        os.write(2, f"labctl: {service.command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def _become(place: Place, service: Service, log: Path, folder: Path) -> None:
    os.setsid()
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.closerange(3, os.sysconf("SC_OPEN_MAX") if os.sysconf("SC_OPEN_MAX") < 65536 else 65536)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    enter(place, service.node)
    os.chdir(folder)
    environment = os.environ | dict(service.environment) | {DIGEST: service.digest}
    os.execvpe(service.command[0], service.command, environment)


def running(place: Place, expected: State) -> set[Service]:
    """The expected services that have a living process; one that was started otherwise comes without its command."""
    services = [item for item in expected.items if isinstance(item, Service)]
    if not services:
        return set()
    marks = {_mark(service): service for service in services}
    found: dict[Service, bool] = {}  # whether all its processes are what is expected
    for pids in processes(place, {service.node for service in services}).values():
        for words in map(_environ, pids):
            for service in (marks[word] for word in words if word in marks):
                digests = [word for word in words if word.startswith(f"{DIGEST}=".encode())]
                same = digests in ([], [f"{DIGEST}={service.digest}".encode()])
                found[service] = found.get(service, True) and same
    return {service if same else replace(service, command=()) for service, same in found.items()}


def processes(place: Place, nodes: Iterable[str]) -> dict[str, list[int]]:
    """The processes in each node, by their network namespace."""
    found: dict[str, list[int]] = {}
    namespaces: dict[str, str] = {}
    for node in nodes:
        try:
            namespaces[f"net:[{os.stat(place.netns(node)).st_ino}]"] = node
        except OSError:
            continue  # no such namespace any more, so nothing runs in it
    for pid in _pids():
        try:
            node = namespaces.get(os.readlink(f"/proc/{pid}/ns/net"), "")
        except OSError:
            continue  # ended meanwhile
        if node:
            found.setdefault(node, []).append(pid)
    return found


def end(place: Place, nodes: Iterable[str], only: Callable[[int], bool] = lambda pid: True) -> list[int]:
    """SIGTERM, after PATIENCE seconds SIGKILL, to the processes in some nodes; answers those that are still there.

    Held by pidfd and looked at again once held, so that a number that was given to another process is never hit.
    """
    mine = {os.getpid(), os.getppid()}
    found = [pid for pids in processes(place, nodes).values() for pid in pids if pid not in mine and only(pid)]
    held = {pid: fd for pid in found if (fd := _hold(pid)) is not None}
    try:
        still = {pid for pids in processes(place, nodes).values() for pid in pids} & held.keys() if held else set()
        for number, seconds in ((signal.SIGTERM, PATIENCE), (signal.SIGKILL, 5.0)):
            for pid in still:
                _signal(held[pid], number)
            still = _wait({pid: held[pid] for pid in still}, seconds)
        return sorted(still)
    finally:
        for fd in held.values():
            os.close(fd)


def marked(service: Service) -> Callable[[int], bool]:
    """Whether a process belongs to a service: it was started as, or by, one."""
    mark = _mark(service)
    return lambda pid: mark in _environ(pid)


def _mark(service: Service) -> bytes:
    return f"{MARK}={dict(service.environment)[MARK]}".encode()


def _hold(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def _signal(pidfd: int, number: int) -> None:
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, number)


def _wait(pidfds: dict[int, int], seconds: float) -> set[int]:
    """The processes that have not ended after some seconds. A pidfd becomes readable when its process ends."""
    poll = select.poll()
    left = {fd: pid for pid, fd in pidfds.items()}
    for fd in left:
        poll.register(fd, select.POLLIN)
    deadline = time.monotonic() + seconds
    while left and (rest := deadline - time.monotonic()) > 0:
        for fd, _ in poll.poll(rest * 1000):
            poll.unregister(fd)
            _reap(left.pop(fd))
    return set(left.values())


def _reap(pid: int) -> None:
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # a child of ours stays a zombie until somebody asks


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _environ(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
