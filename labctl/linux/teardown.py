"""Takes a lab away, going on through errors, from its record and from what the kernel says is the lab's.

Processes first (they keep namespaces alive), then all host-side links of the lab in one request by their group: one
RCU grace period instead of one each (drivers/net/veth.c; 100 nodes: 0.1 s instead of 2 s), then the namespaces.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from labctl.errors import KernelError, LabError
from labctl.fields import replace
from labctl.linux import conntrack, names, nft, store
from labctl.linux import rtnetlink as rt
from labctl.linux.effort import HOST_LINK, NODE, PROCESS
from labctl.linux.netlink import GONE, Socket, number
from labctl.linux.place import Namespaces, Place, mounted
from labctl.linux.processes import end_all, kept
from labctl.linux.sysctls import write
from labctl.linux.thread import in_thread
from labctl.ownership import found_before, ours
from labctl.progress import Progress
from labctl.record import Record
from labctl.state import HOST, Service
from labctl.translation import translations

Step = Callable[[], None]


def teardown(record: Record, place: Place, restorable: Callable[[], dict[str, str]], progress: Progress) -> list[str]:
    """Removes the lab; `restorable` tells the host's sysctls that no other lab needs. Answers what failed, in words.

    The record goes last, and only when all else is gone: until then `down` can be run again.
    """
    failures: list[str] = []
    place = replace(place, kept=kept(place.lab, _lost(record, place)))
    processes, links, rest = _efforts(record)
    progress.expect("down", len(record.state.nodes), processes + links + rest)
    ended = lambda: progress.reach(min(progress.done + PROCESS, processes))  # noqa: E731

    def beside() -> None:
        """What nobody needs any more, while the kernel takes the links away."""
        with _noting("names in /run/netns and /etc/netns", failures):
            _unname(place)
        if not failures:  # or somebody may still read them
            with suppress(OSError):  # whatever it is, it goes, or is told of, with the rest of the folder
                store.erase_etc(place)

    steps: tuple[tuple[str, float, Step], ...] = (
        ("ending processes", processes, lambda: _end(record, place, ended)),
        ("the host's links and rules", links, lambda: in_thread(lambda: _host(record, place), progress.look, beside)),
        ("its record", rest, lambda: _settle(record, place, restorable, failures)),
    )
    before = 0.0
    for what, effort, step in steps:
        with _noting(what, failures):
            step()
        before += effort
        progress.reach(before)
    return failures


def _efforts(record: Record) -> tuple[float, float, float]:
    """Of ending processes, of removing the host's links, and of all else."""
    nodes = NODE * len(record.state.nodes)
    services = sum(isinstance(item, Service) for item in record.state.items)
    return nodes + PROCESS * services, 0.0 if record.isolated else HOST_LINK * len(record.host_links), nodes


def _nodes(record: Record, place: Place) -> set[str]:
    there = os.listdir(place.mounts) if os.path.isdir(place.mounts) else []
    return {*record.state.nodes, *there, *([HOST] if record.isolated else [])}


def _lost(record: Record, place: Place) -> list[str]:
    return [node for node in _nodes(record, place) - record.state.shared().keys() if not mounted(place, node)]


def _settle(record: Record, place: Place, restorable: Callable[[], dict[str, str]], failures: list[str]) -> None:
    """The host's settings as before, and no namespaces; then there is no such lab any more. Together, so that the last
    of several labs that go at once is the one that restores. Settings first: while the kernel takes namespaces apart,
    a writer of some spins (net/core/rtnetlink.c, restart_syscall)."""
    with store.machine_lock():
        with _noting("the host's settings", failures):
            for name, value in restorable().items():
                with suppress(FileNotFoundError):  # there is no such setting any more
                    write(name, value)
        with _noting("/run/netns and /etc/netns", failures):
            names.forget_folders(record)
        with _noting(place.mounts, failures):
            store.unmount(place)
        if failures:
            return
        store.forget(place)
    store.erase(place)


@contextmanager
def _noting(what: str, failures: list[str]) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        pass  # already gone
    except (OSError, LabError) as error:
        failures.append(f"{what}: {error}")


def _end(record: Record, place: Place, ended: Step) -> None:
    left = end_all(place, _nodes(record, place) if record.isolated else _nodes(record, place) - {HOST}, ended)
    if left:
        raise KernelError(f"kill -KILL {' '.join(map(str, left))}", 0, "still running")


def _host(record: Record, place: Place) -> None:
    if record.isolated:
        return  # all of it goes with the lab's own host namespace
    table = f"labctl-{record.lab}"
    with Namespaces(place) as namespaces:
        namespaces.enter(HOST)
        comment = nft.comment(table)
        has_mark = comment is not None and found_before(comment, record.lab) is not None
        loaded = comment is not None and bool(record.rules_as_listed)  # and somebody wrote another table over it
        published = translations(nft.listing(table)) if has_mark and record.state.published else set()
        rules = nft.delete(table) if has_mark or loaded else None
        try:
            _delete_links(record, namespaces)
        finally:
            complaint = rules.finish() if rules else ""
            conntrack.forget(published, set())
    if complaint:
        raise KernelError(f"nft delete table inet {table}", 0, complaint)


def _delete_links(record: Record, namespaces: Namespaces) -> None:
    """By group where every member of the group is the lab's; one by one otherwise, and those without the group too."""
    socket = namespaces.socket(HOST)
    links = namespaces.host_links()
    group = record.leases.group
    members = [link for link in links if link.group == group]
    if members and all(ours(link, record) for link in members):
        message = rt.link(rt.RTM_DELLINK, 0, 0, number(rt.IFLA_GROUP, group))
        _send(socket, [message], f"ip link del group {group}")
        links = [link for link in links if link.group != group]
    for link in links:
        if ours(link, record):
            message = rt.link(rt.RTM_DELLINK, 0, link.index)
            _send(socket, [message], f"ip link del {link.name}")


def _send(socket: Socket, messages: list[bytes], command: str) -> None:
    for refusal in socket.send(messages):
        if refusal.errno not in GONE:
            raise KernelError(command, refusal.errno, refusal.reason)


def _unname(place: Place) -> None:
    for link in names.links(place):
        os.unlink(link)
