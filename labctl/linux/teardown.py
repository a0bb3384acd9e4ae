"""Takes a lab away, going on through errors, from its record and from what the kernel says is the lab's.

Processes first (they keep namespaces alive), then all host-side links of the lab in one request by their group: one
RCU grace period instead of one each (drivers/net/veth.c; 100 nodes: 0.1 s instead of 2 s), then the namespaces.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from labctl.errors import KernelError, LabError
from labctl.linux import netlink, nft, services, store
from labctl.linux.netlink import GONE
from labctl.linux.place import NETNS, Namespaces, Place, exists, in_thread
from labctl.linux.sysctls import write
from labctl.ownership import ours
from labctl.record import Record
from labctl.state import HOST

Step = Callable[[], None]


def teardown(record: Record, place: Place, restore: dict[str, str]) -> list[str]:
    """Removes the lab; `restore` are the host's sysctls that no other lab needs. Answers what failed, in words."""
    failures: list[str] = []
    nodes = [*record.state.nodes(), *([HOST] if record.isolated else [])]
    nodes = [node for node in nodes if exists(place, node)]
    steps: tuple[tuple[str, Step], ...] = (
        ("ending processes", lambda: _end(place, nodes)),
        ("the host's links, rules and settings", lambda: in_thread(lambda: _host(record, place, restore))),
        ("names in /run/netns", lambda: _unname(place)),
        (str(place.directory), lambda: store.remove(place)),
        ("/run/netns", lambda: store.forget_netns_folder(record)),
    )
    for what, step in steps:
        with _noting(what, failures):
            step()
    return failures


@contextmanager
def _noting(what: str, failures: list[str]) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        pass  # already gone
    except (OSError, LabError) as error:
        failures.append(f"{what}: {error}")


def _end(place: Place, nodes: list[str]) -> None:
    left = services.end(place, nodes)
    if left:
        raise KernelError(f"kill -KILL {' '.join(map(str, left))}", 0, "still running")


def _host(record: Record, place: Place, restore: dict[str, str]) -> None:
    if record.isolated:
        return  # all of it goes with the lab's own host namespace
    with Namespaces(place) as namespaces:
        namespaces.enter(HOST)
        has_rules = record.has_rules() and nft.exists(f"labctl-{record.lab}")
        rules = nft.delete(f"labctl-{record.lab}") if has_rules else None
        try:
            _delete_links(record, namespaces)
            for name, value in restore.items():
                write(name, value)
        finally:
            complaint = rules.finish() if rules else ""
    if complaint:
        raise KernelError(f"nft delete table inet labctl-{record.lab}", 0, complaint)


def _delete_links(record: Record, namespaces: Namespaces) -> None:
    """By group where every member of the group is the lab's; one by one otherwise, and those without the group too."""
    socket = namespaces.socket(HOST)
    links = namespaces.host_links()
    group = record.leases.group
    members = [link for link in links if link.group == group]
    if members and all(ours(link, record) for link in members):
        message = netlink.encode("ifinfmsg", netlink.RTM_DELLINK, 0, {}, [("IFLA_GROUP", group)])
        _send(socket, [message], f"ip link del group {group}")
        links = [link for link in links if link.group != group]
    for link in links:
        if ours(link, record):
            message = netlink.encode("ifinfmsg", netlink.RTM_DELLINK, 0, {"index": link.index}, ())
            _send(socket, [message], f"ip link del {link.name}")


def _send(socket: netlink.Socket, messages: list[bytes], command: str) -> None:
    for refusal in socket.send(messages):
        if refusal.errno not in GONE:
            raise KernelError(command, refusal.errno, refusal.reason)


def _unname(place: Place) -> None:
    """Every link in /run/netns that leads into the lab's folder, whatever it is called."""
    if not NETNS.is_dir():
        return
    for entry in os.scandir(NETNS):
        if entry.is_symlink() and os.path.dirname(os.readlink(entry.path)) == str(place.mounts):
            os.unlink(entry.path)
