"""The processes of a lab: finding them, and ending them.

A node's processes are those whose network namespace is the node's. In one that is shared, or the machine's own, marks
tell whose they are. A service, and what it starts, has them in its environment: LABCTL_SERVICE=<lab>/<node>/<name>;
LABCTL_DIGEST, which tells whether it still is what the file says; LABCTL_MACHINE and LABCTL_NETNS, which tell whose
lab it is and where it was started.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress

from labctl.errors import UsageError
from labctl.linux import statuses
from labctl.linux.entrance import RUN
from labctl.linux.limits import raise_fd_limit
from labctl.linux.place import Place, rootless
from labctl.linux.program import begun, in_mounts
from labctl.linux.readings import text
from labctl.record import Record
from labctl.state import HOST, SERVICE, Service
from labctl.status import Report

MARK, DIGEST, MACHINE, NETNS = SERVICE, "LABCTL_DIGEST", "LABCTL_MACHINE", "LABCTL_NETNS"
SUPERVISOR = "host/supervisor"  # in the place of node and name; no node is called host
PATIENCE = 2.0  # seconds between SIGTERM and SIGKILL
KILLS = 5  # times that what goes on to start processes is killed


def processes(place: Place, nodes: Iterable[str]) -> dict[str, list[int]]:
    """The processes in each node, by their network namespace.

    In a shared one they are the node's whose marks they have, else its owner's; in the machine's own only marks count.
    """
    found: dict[str, list[int]] = {}
    owners = place.owners(nodes)
    namespaces: dict[str, list[str]] = {}
    for node, owner in owners.items():
        with suppress(OSError):  # no such namespace any more, so nothing runs in it
            namespaces.setdefault(f"net:[{os.stat(place.netns_of(owner)).st_ino}]", []).append(node)
    sharing = {node: own_mounts(place, node) for node, owner in owners.items() if owner != node}
    for pid in pids():
        inside = namespaces.get(namespace(pid, "net"))
        if inside and (node := _node_of(pid, place, {node: owners[node] for node in inside}, sharing)):
            found.setdefault(node, []).append(pid)
    return found


def _node_of(pid: int, place: Place, owners: Mapping[str, str], mounts: Mapping[str, set[str]]) -> str:
    """Of the nodes in a process's namespace the one that it is of; empty: of none. `mounts` are those of services of
    the nodes that share."""
    machines = not place.isolated and HOST in owners.values()
    sharing = [node for node, owner in owners.items() if owner != node]
    words = environ(pid) if sharing else []
    for node in sharing:
        if namespace(pid, "mnt") in mounts[node]:
            return node
        service = any(word.startswith(f"{MARK}={place.lab}/{node}/".encode()) for word in words)
        if machines:
            if service and f"{MACHINE}={machine()}".encode() in words:
                return node
        elif service or f"LABCTL_NODE={node}".encode() in words:
            return node
    return "" if machines else next((node for node in owners if node not in sharing), "")


def here() -> str:
    """The network namespace that labctl was started in."""
    return namespace(os.getpid(), "net")


def must_be_host_of(record: Record) -> None:
    """Raises UsageError where labctl runs in another network namespace than the one that a lab is on, if that lives."""
    if record.host not in ("", here()) and any(namespace(pid, "net") == record.host for pid in pids()):
        raise UsageError(
            f"the lab {record.lab} is on another network namespace than the one that labctl runs in now",
            "Run labctl where the lab was started, not in one of its nodes.",
        )


def kept(lab: str, nodes: Iterable[str]) -> dict[str, int]:
    """For each of some nodes a process that was started in its namespace, by itself or one that shares it, and still is
    there.

    Status files are believed. Anybody can write marks into an environment: only a process of whoever runs labctl is
    believed, and never one in the machine's own network, which is no node's. A service may have moved into a network
    that is somebody else's.
    """
    owners = _with_sharers(Place(lab), nodes)
    own = [(node, report) for each, node in owners.items() for report in statuses.every(Place(lab), each)]
    started = [(node, report.net, pid) for node, report in own for pid in _known(report)]
    found = {node: pid for node, net, pid in started if namespace(pid, "net") == net and net not in ("", here())}
    wanted = {f"{MARK}={lab}/{each}/".encode(): node for each, node in owners.items() if node not in found}
    for pid in marked(lab) if wanted else ():
        words = environ(pid)
        inside = f"{NETNS}={namespace(pid, 'net')}".encode() in words
        for word in words:
            node = wanted.get(word[: word.rfind(b"/") + 1], "")
            if node and inside and _is_own(pid):
                found[node] = pid
    return found


def _with_sharers(place: Place, nodes: Iterable[str]) -> dict[str, str]:
    """Some nodes, and those in their namespaces, to whose these are."""
    owners = {node: node for node in nodes}
    there = os.listdir(place.mounts) if owners and os.path.isdir(place.mounts) else []
    return owners | {name: owner for name in there if (owner := place.owner(name)) in owners}


def _is_own(pid: int) -> bool:
    """Whether a process is of this user (a setuid program of another's is not) and this machine, not in its network."""
    me = os.getpid()
    same = all(namespace(pid, kind) == namespace(me, kind) for kind in ("user", "pid"))
    ids = text(f"/proc/{pid}/status").partition("\nUid:")[2].split()[:4]
    return same and set(ids) == {str(os.geteuid())} and namespace(pid, "net") != namespace(me, "net")


def marked(lab: str) -> list[int]:
    """The processes that this machine's lab of a name started, or that those started, wherever they are now."""
    start = f"{MARK}={lab}/".encode()
    return [pid for pid, words in _started(machine()) if any(word.startswith(start) for word in words)]


def _started(machine: str) -> Iterator[tuple[int, list[bytes]]]:
    here = f"{MACHINE}={machine}".encode()
    return ((pid, words) for pid in pids() if here in (words := environ(pid)))


def machine() -> str:
    """What tells this machine's labs from those of a container or an ordinary user on it: where they are kept."""
    return kept_in(RUN if rootless() else os.path.dirname(RUN))


def kept_in(folder: str) -> str:
    """The mark of the labs of a folder."""
    found = os.stat(folder)
    return f"{found.st_dev}:{found.st_ino}"


def end_all(place: Place, nodes: Iterable[str], ended: Callable[[], None] = lambda: None) -> list[int]:
    """Ends whatever runs in some nodes, and whatever the lab started; tells of each, answers what is still there.

    Supervisors first, so that nobody starts anything again.
    """
    nodes = list(nodes)
    supervisor = f"{MARK}={place.lab}/{SUPERVISOR}".encode()

    def find() -> list[int]:
        inside = (pid for each in processes(place, nodes).values() for pid in each)
        others = (pid for pid in pids() if namespace(pid, "mnt") in own) if own else ()
        return [*inside, *marked(place.lab), *others]

    # those of others are known by their network
    sharing = [node for node, owner in place.owners(nodes).items() if owner != node]
    with _holding({known for node in sharing for known in own_mounts(place, node)}) as own:
        end_found(lambda: [pid for pid in marked(place.lab) if supervisor in environ(pid)])
        return end_found(find, own, ended)


@contextmanager
def _holding(known: set[str]) -> Iterator[set[str]]:
    """Those of some mount namespaces that somebody is in, held: their numbers are nobody else's while supervisors end,
    which hold them otherwise. Who is in one may change all the time."""
    raise_fd_limit()
    left, fds = set(known), list[int]()
    try:
        for pid in (pid for _ in range(KILLS) if left for pid in pids()):
            if namespace(pid, "mnt") in left:
                with suppress(OSError):  # it has ended
                    fds.append(os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC))
                    left.discard(f"mnt:[{os.fstat(fds[-1]).st_ino}]")
        yield known - left
    finally:
        for fd in fds:
            os.close(fd)


def end_every_lab(machine: str) -> list[int]:
    """Ends whatever the labs of a machine started; answers what is still there."""
    return end_found(lambda: [pid for pid, _ in _started(machine)])


def end_node(place: Place, node: str) -> list[int]:
    """Ends whatever runs in a node; of what shares a namespace, what was started in it. Answers what is still there."""
    if place.owner(node) == node:
        return end_found(lambda: processes(place, [node]).get(node, []))
    mark = f"{MARK}={place.lab}/{node}/".encode()
    started = lambda pid: any(word.startswith(mark) for word in environ(pid))  # noqa: E731
    find = lambda: [*processes(place, [node]).get(node, []), *filter(started, marked(place.lab))]  # noqa: E731
    return end_found(find, own_mounts(place, node))


def end_services(place: Place, services: Collection[Service]) -> list[int]:
    """Ends what was started as, or by, some services, side by side; answers what is still there."""
    reports = [statuses.read(place, service.node, service.name) for service in services]
    for service in services:
        statuses.withdraw(place, service.node, service.name)
    known, wanted = set(map(mounts, reports)) - {""}, set(map(mark, services))

    def find() -> list[int]:
        others = (pid for pid in pids() if namespace(pid, "mnt") in known) if known else ()
        return [*others, *(pid for pid in marked(place.lab) if not wanted.isdisjoint(environ(pid)))]

    left = end_found(find, known)
    for service in () if left else services:
        statuses.forget(place, service.node, service.name)
    return left


def end_found(
    find: Callable[[], list[int]], own: Collection[str] = (), ended: Callable[[], None] = lambda: None
) -> list[int]:
    """SIGTERM, after PATIENCE seconds SIGKILL, also for what was started meanwhile; answers what is still there.

    `own` are the mount namespaces of services, which tell them where a mark does not.
    """
    _send(find, own, signal.SIGTERM, PATIENCE, ended)
    for _ in range(KILLS):
        left = _send(find, own, signal.SIGKILL, 5.0, ended)
        if not left:
            break
    return left


def _send(
    find: Callable[[], list[int]], own: Collection[str], number: int, seconds: float, ended: Callable[[], None]
) -> list[int]:
    """Signals what is found and waits for its end; answers what was there.

    Held by pidfd and looked for again once held, so that a number that was given to another process is never hit. What
    is in the network that labctl itself was started in has to have a mark: being there is no reason to end anything.
    """
    raise_fd_limit()
    mine = {os.getpid(), os.getppid()}
    wanted = (pid for pid in set(find()) - mine if not _is_bystander(pid, own))
    held = {pid: fd for pid in wanted if (fd := _hold(pid)) is not None}
    try:
        there = set(find()) & held.keys() if held else set()
        for pid in there:
            _signal(held[pid], number)
        _wait({pid: held[pid] for pid in there}, seconds, ended)
        return sorted(there)
    finally:
        for fd in held.values():
            os.close(fd)


def belongs_to(service: Service, report: Report | None) -> Callable[[int], bool]:
    """Whether a process of a node was started as, or by, a service: by its mark, or by its mount namespace."""
    wanted, known = mark(service), mounts(report)
    return lambda pid: wanted in environ(pid) or (known != "" and namespace(pid, "mnt") == known)


def _is_bystander(pid: int, own: Collection[str]) -> bool:
    if namespace(pid, "net") != here() or namespace(pid, "mnt") in own:
        return False
    return not any(word.startswith(MACHINE.encode()) for word in environ(pid))


def mounts(report: Report | None) -> str:
    """The mount namespace that is a service's own: some programs write their title over their environment, marks and
    all. Empty where nobody holds it any more, and its number may be another's."""
    own = report.mnt if report and is_held(report) else ""
    return own if own != namespace(os.getpid(), "mnt") else ""


def _known(report: Report) -> list[int]:
    """The processes of a service, by its mount namespace."""
    return in_mounts(known) if (known := mounts(report)) else []


def own_mounts(place: Place, node: str) -> set[str]:
    """The mount namespaces of a node's services."""
    return {known for report in statuses.every(place, node) if (known := mounts(report))}


def is_held(report: Report) -> bool:
    """Whether the number of a service's mount namespace is still that one's: its supervisor keeps it, or the process
    that is known is in it, which may have moved into another."""
    if report.watched or not report.pid:
        return report.watched
    return begun(int(report.pid)) == report.begun and namespace(int(report.pid), "mnt") == report.mnt


def mark(service: Service) -> bytes:
    return f"{MARK}={dict(service.environment)[MARK]}".encode()


def namespace(pid: int, kind: str) -> str:
    """For example `net:[4026531840]`; empty for a process that has ended."""
    try:
        return os.readlink(f"/proc/{pid}/ns/{kind}")
    except OSError:
        return ""


def _hold(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def _signal(pidfd: int, number: int) -> None:
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, number)


def _wait(pidfds: dict[int, int], seconds: float, ended: Callable[[], None]) -> set[int]:
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
            ended()
    return set(left.values())


def _reap(pid: int) -> None:
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # a child of ours stays a zombie until somebody asks


def pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def environ(pid: int) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read().split(b"\0")
    except OSError:
        return []
