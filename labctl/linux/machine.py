"""The machine as lab.py sees it: a few verbs, each safe to call from the main thread."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from errno import EADDRNOTAVAIL
from itertools import groupby

from labctl.conflicts import Refused, Site
from labctl.errors import KernelError
from labctl.linux import processes, services
from labctl.linux.apply import Worker
from labctl.linux.messages import Indexes
from labctl.linux.observe import observe as _observe
from labctl.linux.place import NETNS, Namespaces, Place, exists, in_thread, mounted
from labctl.linux.survey import foreign_names, nameservers, survey
from labctl.linux.survey import refused as _refused
from labctl.linux.sysctls import path, read
from labctl.plan import Add, Op, Plan, Remove
from labctl.record import Record
from labctl.shell import shell
from labctl.state import HOST, Address, Link, Names, Service, State

__all__ = [
    "apply",
    "bridge_nf",
    "has_ipv6",
    "has_netns_folder",
    "nameservers",
    "observe",
    "place",
    "read",
    "refused",
    "site",
]


def has_netns_folder() -> bool:
    return NETNS.is_dir()


def has_ipv6() -> bool:
    """Whether the kernel runs with IPv6 at all (it does not with ipv6.disable=1)."""
    return path("net.ipv6").is_dir()


def place(record: Record) -> Place:
    """Where a lab is, with the processes that keep namespaces alive whose mounts are gone."""
    place = Place(record.lab, record.isolated)
    lost = [node for node in record.state.nodes() if not mounted(place, node)] if os.path.isdir(place.mounts) else []
    return replace(place, kept=processes.kept(record.lab, lost))


def site(place: Place, with_ports: bool) -> Site:
    """The host as found; that of an isolated lab may not exist yet, and nothing is in an ordinary user's way then."""
    if os.geteuid() != 0:
        return Site()
    if not exists(place, HOST):
        return Site(netns=foreign_names(place))
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
    return in_thread(lambda: _observe(expected, place, rules_as_listed))


def apply(
    plan: Plan, place: Place, record: Record, restore: dict[str, str], report: Callable[[Op], None]
) -> str | None:
    """Carries out a plan in its order: kernel operations in the namespaces' thread, services from this one.

    A service is forked, and a process should fork only while it has one thread. Answers how nft lists the lab's
    table, if the plan loaded it.
    """
    states = (item for op in plan for item in (op.item, getattr(op, "before", op.item)))
    links = [item for item in (*record.state.items, *states) if isinstance(item, Link)]
    indexes = {(end.node, end.name): end.index for link in links for end in link.ends}

    listed = None
    for is_service, group in groupby(plan, lambda op: isinstance(op.item, Service)):
        ops = tuple(group)
        if not is_service:
            listed = in_thread(lambda ops=ops: _kernel(ops, place, record, indexes, restore, report)) or listed  # type: ignore[misc]
            continue
        _services(ops, place, record.names, report)
    return listed


def _kernel(
    ops: Plan, place: Place, record: Record, indexes: Indexes, restore: dict[str, str], report: Callable[[Op], None]
) -> str | None:
    with Namespaces(place) as namespaces:
        worker = Worker(namespaces, record.names, indexes, restore)
        worker.perform(ops, report)
        return worker.rules_as_listed


def _services(ops: Plan, place: Place, names: Names, report: Callable[[Op], None]) -> None:
    """Done when each service that was started is its own program: from then on it is found by its marks."""
    started: list[int] = []
    try:
        for op in ops:
            started += _service(op, place, names)
            report(op)
        for running in started:
            os.read(running, 1)
    finally:
        for running in started:
            os.close(running)


def _service(op: Op, place: Place, names: Names) -> list[int]:
    assert isinstance(op.item, Service)
    try:
        if isinstance(op, Remove) and (left := processes.end_service(place.lab, op.item)):
            raise KernelError(f"kill -KILL {' '.join(map(str, left))}", 0, "still running")
        return [services.start(place, op.item)] if isinstance(op, Add) else []
    except OSError as error:
        raise KernelError(shell(op, names), error.errno or 0, error.strerror or "") from error
