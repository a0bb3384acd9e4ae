"""Where a lab lives on this machine: its folder, its namespaces' files and its namespaces' open ends."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cached_property

from labctl.fields import dataclass, field
from labctl.linux import libc
from labctl.linux.entrance import RUN, WHOEVERS
from labctl.linux.sysctls import OfMany
from labctl.state import HOST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    from labctl.linux.netlink import Socket
    from labctl.ownership import HostLink

    T = TypeVar("T")

NETNS = "/run/netns"  # where ip(8) looks for names
ETC_NETNS = "/etc/netns"  # where `ip netns exec` looks for what to mount in /etc
HOLDER = ".holder"  # in an ordinary user's /run/labctl: who holds their namespaces

PRISTINE = "/"  # no node's name: a namespace in which nobody changed anything


@dataclass(frozen=True)
class Place:
    """Paths of one lab, as texts: pathlib takes 3 ms of every start. The host's namespace is the one labctl was started
    in, or the lab's own.

    `kept` has, for nodes whose mount is gone, a process that still keeps the namespace alive.
    """

    lab: str
    isolated: bool = False
    kept: Mapping[str, int] = field(default_factory=dict, hash=False)

    @property
    def directory(self) -> str:
        return f"{RUN}/{self.lab}"

    @cached_property
    def mounts(self) -> str:
        """The folder of bind mounts that keep the namespaces alive; whatever is in it is the lab's."""
        return f"{self.directory}/netns"

    def mount(self, node: str) -> str:
        """Where a node's namespace is, or should be, mounted."""
        return f"{self.mounts}/{node}"

    def owner(self, node: str) -> str:
        """The node whose namespace it is in: itself, or the one that its link leads to; HOST for the host's."""
        try:
            target = os.readlink(self.mount(node))
        except OSError:
            return node
        return HOST if target == WHOEVERS else target

    def owners(self, nodes: Iterable[str]) -> dict[str, str]:
        """The owners of many nodes."""
        links = set[str]()
        with suppress(FileNotFoundError):
            links = {entry.name for entry in os.scandir(self.mounts) if entry.is_symlink()}
        return {node: self.owner(node) if node in links else node for node in nodes}

    def leads_to(self, owner: str) -> str:
        """What the link of a node says that shares the namespace of another."""
        return WHOEVERS if owner == HOST and not self.isolated else owner

    def on_machine(self, node: str) -> bool:
        """Whether its namespace is the machine's own."""
        return not self.isolated and self.owner(node) == HOST

    def netns(self, node: str) -> str:
        """Where a node's namespace can be entered."""
        return self.netns_of(self.owner(node))

    def netns_of(self, owner: str) -> str:
        """Where a namespace can be entered that is a node's own."""
        if owner == HOST and not self.isolated:
            return f"/proc/{os.getpid()}/ns/net"  # the main thread's, whichever thread asks
        return f"/proc/{self.kept[owner]}/ns/net" if owner in self.kept else self.mount(owner)

    @cached_property
    def etcs(self) -> str:
        """The folder of the nodes' folders of files."""
        return f"{self.directory}/etc"

    def etc(self, node: str) -> str:
        return f"{self.etcs}/{self.owner(node)}"

    @cached_property
    def has_etc(self) -> bool:
        return has_etc()

    @property
    def scratches(self) -> str:
        return f"{self.directory}/run"

    def scratch(self, node: str) -> str:
        """Where a node's services start."""
        return f"{self.scratches}/{node}"

    @property
    def statuses(self) -> str:
        return f"{self.directory}/status"

    def status(self, node: str, service: str) -> str:
        """What the service's supervisor writes down of it, and keeps locked."""
        return f"{self.statuses}/{node}/{service}"

    @property
    def logs(self) -> str:
        return f"{self.directory}/log"

    def log(self, node: str, service: str) -> str:
        return f"{self.logs}/{node}.{service}.log"


def has_etc() -> bool:
    """Whether there can be names in /etc/netns: an ordinary user, or a machine that is read-only, has none."""
    return not rootless() and os.access(os.path.dirname(ETC_NETNS), os.W_OK)


def rootless() -> bool:
    """Whether the labs are an ordinary user's, who is no root, or root only inside of rootless.py's namespaces."""
    return os.geteuid() != 0 or os.path.exists(f"{RUN}/{HOLDER}")


class Namespaces:
    """The namespaces of one lab, seen from one thread. Only ever used inside `in_thread`: it wanders about."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._inside: str | None = None if place.isolated else HOST  # a thread starts where the process is
        self.sysctls = OfMany()  # of the namespace that was entered last
        self._fds: dict[str, int] = {}
        self._sockets: dict[str, Socket] = {}

    def __enter__(self) -> Namespaces:
        return self

    def __exit__(self, *_: object) -> None:
        for socket in self._sockets.values():
            socket.close()
        for fd in self._fds.values():
            os.close(fd)
        self.sysctls.close()

    def create(self, node: str) -> None:
        """A new network namespace, kept by a bind mount; the thread stays in it. Raises OSError."""
        from labctl.linux import nursery  # 3 ms, and `exec` makes none

        made = nursery.take()
        if made is None:
            libc.unshare(libc.CLONE_NEWNET)
        else:
            self._fds[node] = made
            libc.setns(made)
        self._inside = None
        self._mount("/proc/thread-self/ns/net", node)
        self._inside = node
        self.socket(node)

    def keep(self, node: str) -> None:
        """Mounts a namespace again that only its processes keep alive. Raises OSError."""
        if not mounted(self.place, node):
            self._mount(self.place.netns(node), node)

    def share(self, node: str, owner: str) -> None:
        """Gives a node the namespace of another: a link beside that one's mount. Raises OSError."""
        self.remove(node)
        os.symlink(self.place.leads_to(owner), self.place.mount(node))

    def _mount(self, source: str, node: str) -> None:
        target = self.place.mount(node)
        if os.path.islink(target):  # of a node that shared a namespace
            os.unlink(target)
        os.close(os.open(target, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o444))
        libc.mount(source, target, flags=libc.MS_BIND)

    def pristine(self, sysctl: str) -> str | None:
        """What a new network namespace has for a sysctl; None where it has no such thing. Raises OSError."""
        if PRISTINE not in self._fds:
            libc.unshare(libc.CLONE_NEWNET)
            self._fds[PRISTINE] = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            self._inside = PRISTINE
        self.enter(PRISTINE)
        return self.sysctls.read(sysctl)

    def remove(self, node: str) -> None:
        """Lets go of a namespace; the kernel takes it away with the last process in it. Raises OSError."""
        if node in self._sockets:
            self._sockets.pop(node).close()
        if node in self._fds:
            os.close(self._fds.pop(node))
        target = self.place.mount(node)
        if libc.is_mount(target):
            libc.umount(target)
        with suppress(FileNotFoundError):
            os.unlink(target)

    def fd(self, node: str) -> int:
        if node not in self._fds:
            self._fds[node] = os.open(self.place.netns(node), os.O_RDONLY | os.O_CLOEXEC)
        return self._fds[node]

    def host_links(self) -> list[HostLink]:
        from labctl.linux import rtnetlink as rt
        from labctl.ownership import HostLink

        found = map(rt.Link, self.socket(HOST).dump(rt.dump(rt.RTM_GETLINK)))
        return [HostLink(f.name, f.index, f.number(rt.IFLA_GROUP), f.text(rt.IFLA_IFALIAS)) for f in found]

    def enter(self, node: str) -> None:
        if self._inside != node:
            libc.setns(self.fd(node))
            self._inside = node

    def socket(self, node: str) -> Socket:
        from labctl.linux.netlink import Socket  # and `exec` needs none

        if node not in self._sockets:
            self.enter(node)
            self._sockets[node] = Socket()
        return self._sockets[node]


def exists(place: Place, node: str) -> bool:
    """Whether there is a namespace to enter."""
    return mounted(place, node) or place.owner(node) in place.kept


def mounted(place: Place, node: str) -> bool:
    """Whether a node's file, or the one that its link leads to, is a namespace; the machine's own needs none."""
    if libc.is_namespace(place.mount(node)):
        return True
    owner = place.owner(node)
    return (owner == HOST and not place.isolated) or libc.is_namespace(place.mount(owner))
