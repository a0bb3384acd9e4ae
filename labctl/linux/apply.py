"""Carries out a plan: one loop in one thread. Nothing else changes the kernel's state of a lab.

Netlink messages wait in an outbox. Whatever must see them done (a sysctl of an interface, the end) flushes it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping

from labctl.errors import KernelError
from labctl.linux import conntrack, nft, ports, services
from labctl.linux.effort import QUEUED, effort
from labctl.linux.messages import BRIDGES_UP, PORTS_UP, Indexes, messages
from labctl.linux.names import name, unname
from labctl.linux.netlink import GONE
from labctl.linux.outbox import Outbox
from labctl.linux.place import Namespaces
from labctl.linux.processes import end_node
from labctl.linux.thread import heed
from labctl.plan import Add, Change, Op, Plan, Remove
from labctl.progress import Progress
from labctl.shell import link_local_address, link_local_settings, shell
from labctl.state import HOST, Address, File, Link, Names, Namespace, Proxy, Ruleset, Sysctl
from labctl.translation import stale

TYPE_CHECKING = False
if TYPE_CHECKING:
    from subprocess import Popen

CAUSES = {
    errno.EPERM: "labctl needs CAP_NET_ADMIN and CAP_SYS_ADMIN here: run it as root.",
    errno.EEXIST: "Something else took this name, number or address in the meantime; 'labctl up' again will say what.",
    errno.EOPNOTSUPP: "This kernel lacks what the operation needs; 'modprobe' may bring it.",
    errno.ENETUNREACH: "The next hop is on none of the node's networks.",
    errno.EXFULL: "A bridge has at most 1023 ports.",
    errno.ENOSPC: "A limit of this kernel is reached; see /proc/sys/user/max_net_namespaces.",
    errno.EMFILE: "Too few file descriptors; raise 'ulimit -n'.",
}

MANY = 200  # links of a plan for which it pays to bring the host's interfaces up when all else is done
WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC

LEAVING = 64  # links to the host that wait while their namespaces go: the kernel removes those of many at once

Found = Mapping[str, str]  # sysctls of the host as they were: what removing one restores
Report = Callable[[Op], None]


class Worker:
    """The state of one walk through a plan."""

    def __init__(
        self, namespaces: Namespaces, names: Names, indexes: Indexes, found: Found, progress: Progress
    ) -> None:
        self._namespaces = namespaces
        self._progress = progress
        self._names = names
        self._indexes = indexes
        self._found = found
        self._outbox = Outbox(namespaces, progress, self._error)
        self._loading: tuple[Op, nft.Load] | None = None
        self._holding: tuple[Op, Popen[bytes]] | None = None
        self._table = ""  # of the rules that were loaded
        self.listing: Callable[[], str] | None = None  # waits for the lab's table as nft lists it, if it was loaded

    def perform(self, plan: Plan, report: Report) -> None:
        """Raises KernelError at the first refusal (what came before it is done, and maybe some of what comes after it),
        and Interrupted when told to stop."""
        if sum(isinstance(op.item, Link) for op in plan) >= MANY:
            self._outbox.last = (BRIDGES_UP,) if any(map(brings_ipv6, plan)) else (BRIDGES_UP, PORTS_UP)
        try:
            self._walk(plan, report)
        finally:
            self._outbox.close()
            try:
                self._loaded()
            finally:
                self._held()
        if self._table:
            self._namespaces.enter(HOST)
            self.listing = nft.Listing(self._table).finish

    def _walk(self, plan: Plan, report: Report) -> None:
        removing = True
        for op in plan:
            heed()
            if removing and not isinstance(op, Remove):
                self._outbox.flush()
                removing = False
            self._one(op)
            self._count(op)
            report(op)
        self._namespaces.sysctls.close()  # takes a grace period, and what was posted is under way
        self._outbox.finish()

    def _one(self, op: Op) -> None:
        if isinstance(op.item, QUEUED):
            self._message(op)
            return
        match op:
            case Add(Namespace()) | Change(_, Namespace()) | Remove(Namespace()):
                self._try(op, lambda: self._namespace(op))
            case Add(Sysctl() as sysctl) | Change(_, Sysctl() as sysctl):
                self._try(op, lambda: self._sysctl(sysctl))
            case Remove(Sysctl() as sysctl):
                self._try(op, lambda: self._reset(sysctl))
            case Add(Ruleset() as ruleset):
                self._ruleset(op, ruleset.text)
            case Change(_, Ruleset() as ruleset):
                self._ruleset(op, ruleset.replacement)
            case Remove(Ruleset() as ruleset):
                self._ruleset(op, f"table inet {ruleset.table}\ndelete table inet {ruleset.table}\n")
            case Add(Proxy() as proxy):
                self._namespaces.enter(HOST)
                self._holding = (op, ports.start(proxy))
            case Remove(Proxy()):
                self._namespaces.enter(HOST)
                if left := ports.end(self._namespaces.place.lab):
                    raise self._error(op, 0, f"still running: {' '.join(map(str, left))}")
            case Add(File() as file) | Change(_, File() as file):
                self._try(op, lambda: self._file(file, changed=isinstance(op, Change)))
            case Remove(File() as file):
                self._try(op, lambda: os.unlink(self._path(file)))

    def _message(self, op: Op) -> None:
        for node, message in messages(op, self._namespaces.fd, self._indexes):
            self._outbox.put(op, node, message)
        if isinstance(op, Change):
            self._try(op, lambda: self._link_local(op))

    def _count(self, op: Op) -> None:
        whole = effort(op)
        queued = whole / 2 if isinstance(op.item, QUEUED) else 0.0
        self._outbox.unsent += queued
        self._progress.done += whole - queued

    def _try(self, op: Op, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError as error:
            if not (isinstance(op, Remove) and error.errno in GONE):
                raise self._error(op, error.errno or 0, error.strerror or "") from error

    def _error(self, op: Op, code: int, reason: str) -> KernelError:
        return KernelError(shell(op, self._names), code, reason, CAUSES.get(code, ""))

    def _namespace(self, op: Op) -> None:
        place = self._namespaces.place
        match op:
            case Add(Namespace() as namespace) | Change(_, Namespace() as namespace) if namespace.same_as:
                self._namespaces.share(namespace.node, namespace.same_as)
                name(place, namespace)
            case Add(Namespace() as namespace):
                self._namespaces.create(namespace.node)
                name(place, namespace)
            case Change(_, Namespace() as namespace):
                self._namespaces.keep(namespace.node)
                name(place, namespace)
            case Remove(Namespace() as namespace):
                if self._outbox.waits_for(host=LEAVING):
                    self._outbox.flush()  # links of its own may be waiting to be removed; those to the host go with it
                end_node(place, namespace.node)
                unname(place, namespace)
                self._namespaces.remove(namespace.node)

    def _sysctl(self, sysctl: Sysctl) -> None:
        if sysctl.interface:
            self._outbox.flush()
        self._namespaces.enter(sysctl.node)
        self._namespaces.sysctls.write(sysctl.name, sysctl.value)

    def _reset(self, sysctl: Sysctl) -> None:
        """Back to what it was before the lab; in a node that is what a new namespace, or interface, has."""
        if sysctl.node == HOST and not self._namespaces.place.isolated and not sysctl.interface:
            value = self._found.get(sysctl.name)
        else:
            value = self._namespaces.pristine(sysctl.original)
        if value is not None:
            self._sysctl(Sysctl(sysctl.node, sysctl.name, value))

    def _link_local(self, op: Change) -> None:
        """An interface that is up takes notice of how its IPv6 address is made only from a sysctl."""
        for before, after in zip(getattr(op.before, "ends", ()), getattr(op.item, "ends", ()), strict=True):
            if settings := link_local_settings(before, after):
                self._outbox.flush()
                self._namespaces.enter(after.node)
                for name, value in settings:
                    self._namespaces.sysctls.write(name, value)
                if before.mac != after.mac:
                    old = Address(after.node, after.name, link_local_address(before.mac))
                    for node, message in messages(Remove(old), self._namespaces.fd, self._indexes):
                        self._namespaces.socket(node).send([message])  # refused where it is already gone

    def _ruleset(self, op: Op, text: str) -> None:
        self._loaded()
        self._namespaces.enter(HOST)
        self._loading = (op, nft.Load(text))

    def _loaded(self) -> None:
        """The rules are in force. Before any service runs, that is; nothing forwards for anybody until then."""
        if self._loading:
            op, load = self._loading
            self._loading = None
            if complaint := load.finish():
                raise self._error(op, errno.EINVAL, complaint)
            self._table = op.item.table if isinstance(op.item, Ruleset) else ""
            self._namespaces.enter(HOST)
            self._try(op, lambda: conntrack.forget(*stale(*_texts(op))))

    def _held(self) -> None:
        """The published ports are held. The proxy starts while the rest is built (25 ms)."""
        if self._holding:
            op, process = self._holding
            self._holding = None
            if complaint := ports.ready(process):
                raise self._error(op, errno.EADDRINUSE, complaint)

    def _path(self, file: File) -> str:
        return f"{self._namespaces.place.etcs}/{file.node}/{file.name}"

    def _file(self, file: File, changed: bool) -> None:
        """Written in place: a running process has the file mounted and sees the change."""
        path = self._path(file)
        try:
            fd = os.open(path, WRITE, 0o644)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            fd = os.open(path, WRITE, 0o644)
        try:
            os.fchmod(fd, 0o644)  # whatever the umask: services of other users read it too
            rest = memoryview(file.text.encode())
            while rest:
                rest = rest[os.write(fd, rest) :]
        finally:
            os.close(fd)
        if changed and file.name == "hostname":
            services.rename(self._namespaces.place, file.node, file.text.strip())


def brings_ipv6(op: Op) -> bool:
    """Whether a node gets IPv6: an interface with its link-local address wants the other end's carrier at once."""
    match op.item:
        case Address(node, _, interface):
            return node != HOST and interface.version == 6
        case Sysctl(_, name, value):
            return value == "0" and name.endswith(".disable_ipv6")
        case _:
            return False


def _texts(op: Op) -> tuple[str, str]:
    """The rules before and after an operation."""
    now = op.before if isinstance(op, Change) else op.item
    text = now.text if isinstance(now, Ruleset) else ""
    match op:
        case Change(_, Ruleset() as after):
            return text, after.text
        case Remove():
            return text, ""
        case _:
            return "", text
