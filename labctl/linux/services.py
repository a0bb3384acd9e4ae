"""Entering a node as `docker exec` does, and the services of `run:`. How they are found again is processes.py."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from labctl.linux import libc
from labctl.linux.place import Place, exists
from labctl.linux.processes import DIGEST, MACHINE, MARK, NETNS, environ, machine, mark, marked, namespace, processes
from labctl.state import Service, State

LAST_FD = 3  # of a service to be, closed by exec
ETC = ("hosts", "hostname", "resolv.conf")


def enter(place: Place, node: str) -> None:
    """Moves this process into a node: its network, its /sys, /etc/hosts, /etc/resolv.conf and hostname.

    Only in a process with one thread that ends or execs afterwards. Raises OSError.
    """
    if place.on_machine(node):
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
    """Starts a service in the background. Call it from a process with one thread.

    Answers a file descriptor whose end of file says that the service's own program runs (or could not be started:
    why is in its log). Should this process be killed before the service is in its node, the service ends as well.
    """
    log = place.log(service.node, service.name)
    folder = place.scratch(service.node)
    for needed in (log.parent, folder):
        needed.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    running, not_yet = os.pipe2(os.O_CLOEXEC)
    if os.fork():
        os.close(not_yet)
        return running
    try:
        libc.die_with_parent(parent)
        os.dup2(not_yet, LAST_FD, inheritable=False)
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
    os.closerange(LAST_FD + 1, min(os.sysconf("SC_OPEN_MAX"), 65536))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    own = {DIGEST: service.digest, MACHINE: machine()}  # the latter while /run is still in sight
    enter(place, service.node)
    os.chdir(folder)
    own[NETNS] = namespace(os.getpid(), "net")
    libc.outlive_parent()
    environment = os.environ | dict(service.environment) | own
    os.execvpe(service.command[0], service.command, environment)


def running(place: Place, expected: State) -> set[Service]:
    """The expected services that have a living process; one that was started otherwise comes without its command."""
    services = [item for item in expected.items if isinstance(item, Service)]
    if not services:
        return set()
    marks = {mark(service): service for service in services}
    found: dict[Service, bool] = {}  # whether all its processes are what is expected
    nodes = {service.node for service in services}
    pids = {pid for pids in processes(place, nodes).values() for pid in pids}
    if not all(exists(place, node) for node in nodes):
        pids |= set(marked(place.lab))
    for words in map(environ, pids):
        for service in (marks[word] for word in words if word in marks):
            digests = [word for word in words if word.startswith(f"{DIGEST}=".encode())]
            same = digests in ([], [f"{DIGEST}={service.digest}".encode()])
            found[service] = found.get(service, True) and same and exists(place, service.node)
    return {service if same else replace(service, command=()) for service, same in found.items()}


def rename(place: Place, node: str, hostname: str) -> None:
    """Gives what labctl started in a node another hostname. Call it from a thread that ends afterwards.

    Whoever came by other ways, as with `ip netns exec`, has a hostname of somebody else's.
    """
    mine = namespace(os.getpid(), "uts")
    nodes = [name for name in os.listdir(place.mounts) if place.owner(name) == node]
    by_run = tuple(f"{MARK}={place.lab}/{name}/".encode() for name in nodes)
    by_exec = {f"LABCTL_NODE={name}".encode() for name in nodes}
    for pid in processes(place, [node]).get(node, []):
        started = any(word in by_exec or word.startswith(by_run) for word in environ(pid))
        if started and namespace(pid, "uts") not in ("", mine):
            with suppress(FileNotFoundError), open(f"/proc/{pid}/ns/uts") as uts:
                libc.setns(uts.fileno(), libc.CLONE_NEWUTS)
                libc.sethostname(hostname)
