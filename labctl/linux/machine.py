"""The machine as lab.py sees it: a few verbs, each safe to call from the main thread."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from errno import EADDRNOTAVAIL

from labctl.conflicts import Refused, Site
from labctl.errors import KernelError
from labctl.fields import replace
from labctl.linux import processes, services
from labctl.linux.apply import Worker
from labctl.linux.effort import effort, nodes
from labctl.linux.messages import Indexes
from labctl.linux.names import folders as names_folders
from labctl.linux.observe import observe as _observe
from labctl.linux.place import Namespaces, Place, exists, mounted
from labctl.linux.supervision import Supervision, Unready
from labctl.linux.survey import bare, resolver, survey
from labctl.linux.survey import refused as _refused
from labctl.linux.sysctls import path, read
from labctl.linux.thread import in_thread
from labctl.plan import Add, Op, Plan, Remove
from labctl.progress import Progress
from labctl.record import Record
from labctl.state import HOST, Address, Link, Service, State, Sysctl

__all__ = [
    "apply",
    "bridge_nf",
    "has_ipv6",
    "names_folders",
    "observe",
    "place",
    "read",
    "refused",
    "resolver",
    "settle",
    "site",
]


def has_ipv6() -> bool:
    """Whether the kernel runs with IPv6 at all (it does not with ipv6.disable=1)."""
    return os.path.isdir(path("net.ipv6"))


def place(record: Record) -> Place:
    """Where a lab is, with the processes that keep namespaces alive whose mounts are gone."""
    place = Place(record.lab, record.isolated)
    own = set(record.state.nodes) - record.state.shared().keys() if os.path.isdir(place.mounts) else set()
    lost = [node for node in own if not mounted(place, node)]
    return replace(place, kept=processes.kept(record.lab, lost))


def site(place: Place, with_ports: bool) -> Site:
    """The host as found; that of an isolated lab may not exist yet, and nothing is in an ordinary user's way then."""
    if os.geteuid() != 0:
        return Site()
    if not exists(place, HOST):
        return bare(place)
    return in_thread(lambda: survey(place, f"labctl-{place.lab}", with_ports))


def refused(place: Place, wanted: State) -> list[Refused]:
    """The published ports of a lab that cannot be had."""
    ports = wanted.published
    own = {item.interface.ip for item in wanted.items if isinstance(item, Address) and item.node == HOST}
    if not ports:
        return []
    if os.geteuid() != 0 or not exists(place, HOST):
        foreign = (p for p in ports if not (p.host_ip.is_unspecified or p.host_ip.is_loopback or p.host_ip in own))
        return [Refused(port, EADDRNOTAVAIL, "") for port in foreign]
    return in_thread(lambda: _refused(place, ports, own))


def bridge_nf(place: Place) -> tuple[str, ...]:
    """Which of iptables and ip6tables see the frames of the host's bridges; for a host of the lab's own, could see."""
    found = {tool: read(f"net.bridge.bridge-nf-call-{tool}") for tool in ("iptables", "ip6tables")}
    return tuple(tool for tool, value in found.items() if value == "1" or (place.isolated and value is not None))


def observe(expected: State, place: Place, rules_as_listed: str) -> State:
    if not place.isolated and expected == (settings := expected.host_settings()):  # a new lab: no namespace to enter
        found = {item: read(item.name) for item in settings.items if isinstance(item, Sysctl)}
        return State.of(Sysctl(HOST, item.name, value) for item, value in found.items() if value is not None)
    return in_thread(lambda: _observe(expected, place, rules_as_listed))


def settle(place: Place, state: State) -> None:
    services.settle(place, state)


def apply(
    plan: Plan,
    place: Place,
    record: Record,
    restore: dict[str, str],
    report: Callable[[Op], None],
    unready: Unready,
    progress: Progress,
) -> str | None:
    """Carries out a plan: services end, then the kernel's part in the namespaces' thread, then services start.

    Whoever starts them is forked first, while this process has one thread, and gets ready beside it. Answers how nft
    lists the lab's table, if the plan loaded it.
    """
    rest = tuple(op for op in plan if not isinstance(op.item, Service))
    if progress.watched:
        progress.expect("up", nodes(plan), sum(map(effort, plan)))

    def done(op: Op) -> None:
        report(op)
        progress.reach(progress.done + effort(op))

    _end(ending := [op for op in plan if isinstance(op, Remove) and isinstance(op.item, Service)], place)
    for op in ending:
        done(op)
    starting = {op.item: op for op in plan if isinstance(op, Add) and isinstance(op.item, Service)}

    if not starting:
        listing = _walk(rest, place, record, restore, report, progress)
        return listing() if listing else None
    with Supervision(place, list(starting)) as supervision:
        listing = _walk(rest, place, record, restore, report, progress)
        try:
            supervision.start(lambda service: done(starting[service]), unready)
        finally:
            listed = listing() if listing else None
    return listed


def _walk(
    plan: Plan,
    place: Place,
    record: Record,
    restore: dict[str, str],
    report: Callable[[Op], None],
    progress: Progress,
) -> Callable[[], str] | None:
    """The kernel's part of a plan. Answers what waits for the lab's table as nft lists it, if it was loaded."""

    def work() -> Callable[[], str] | None:
        with Namespaces(place) as namespaces:
            worker = Worker(namespaces, record.names, _indexes(plan, record), restore, progress)
            worker.perform(plan, report)
            return worker.listing

    return in_thread(work, progress.look) if plan else None


def _indexes(plan: Plan, record: Record) -> Indexes:
    """Of all interfaces that the lab has, had or is to have."""
    links = [item for item in record.state.items if isinstance(item, Link)]
    for op in plan:
        if isinstance(op.item, Link):
            links += [getattr(op, "before", op.item), op.item]
    return {(end.node, end.name): end.index for link in links for end in link.ends}


def _end(ops: Sequence[Remove], place: Place) -> None:
    services = [op.item for op in ops if isinstance(op.item, Service)]
    if services and (left := processes.end_services(place, services)):
        raise KernelError(f"kill -KILL {' '.join(map(str, left))}", 0, "still running")
