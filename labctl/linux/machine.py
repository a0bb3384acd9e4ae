"""The machine as lab.py sees it: a few verbs, each safe to call from the main thread."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

from labctl.conflicts import Site
from labctl.errors import KernelError
from labctl.linux import services, store
from labctl.linux.apply import Worker, name
from labctl.linux.messages import IFF_UP, Indexes
from labctl.linux.netlink import RTM_SETLINK, encode
from labctl.linux.observe import observe as _observe
from labctl.linux.place import NETNS, Namespaces, Place, exists, in_thread
from labctl.linux.survey import nameservers, netns_names, survey
from labctl.linux.sysctls import read
from labctl.plan import Add, Op, Plan, Remove
from labctl.record import Record
from labctl.shell import shell
from labctl.state import HOST, Link, Namespace, Service, State

__all__ = ["apply", "has_netns_folder", "nameservers", "observe", "prepare", "read"]


def has_netns_folder() -> bool:
    return NETNS.is_dir()


def site(place: Place) -> Site:
    """The host as found; that of an isolated lab may not exist yet and is empty then."""
    if not exists(place, HOST):
        return Site(netns=netns_names())
    return in_thread(lambda: survey(place, f"labctl-{place.lab}"))


def observe(expected: State, place: Place, rules_as_listed: str) -> State:
    return in_thread(lambda: _observe(expected, place, rules_as_listed))


def prepare(place: Place, prefix: str) -> None:
    """The lab's folder of namespaces and, for an isolated lab, its host's namespace. Does nothing the second time."""
    store.prepare(place)
    if place.isolated:
        if not exists(place, HOST):
            in_thread(lambda: _create_host(place))
        name(place, Namespace(HOST, prefix + HOST))


def _create_host(place: Place) -> None:
    with Namespaces(place) as namespaces:
        namespaces.create(HOST)
        up = {"index": 1, "flags": IFF_UP, "change": IFF_UP}
        namespaces.socket(HOST).send([encode("ifinfmsg", RTM_SETLINK, 0, up, ())])


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
        for op in ops:
            _service(op, place, record.prefix)
            report(op)
    return listed


def _kernel(
    ops: Plan, place: Place, record: Record, indexes: Indexes, restore: dict[str, str], report: Callable[[Op], None]
) -> str | None:
    with Namespaces(place) as namespaces:
        worker = Worker(namespaces, record.prefix, indexes, restore)
        worker.perform(ops, report)
        return worker.rules_as_listed


def _service(op: Op, place: Place, prefix: str) -> None:
    assert isinstance(op.item, Service)
    try:
        if isinstance(op, Remove):
            services.end(place, [op.item.node], services.marked(op.item))
        if isinstance(op, Add):
            services.start(place, op.item)
    except OSError as error:
        raise KernelError(shell(op, prefix), error.errno or 0, error.strerror or "") from error
