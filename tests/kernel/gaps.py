"""What a changed lab is known to keep from before: the random laws step around it, and changes/ has a case of each."""

from __future__ import annotations

from collections.abc import Iterator

from labctl.desired import Context, desired
from labctl.leases import Taken, lease
from labctl.record import Leases
from labctl.state import HOST, File, Item, Link, State, Sysctl
from labctl.topology import load


def gaps(before: str, after: str, isolated: bool) -> set[str]:
    """The known gaps that a pair of files meets."""
    old, held = _meant(before, Leases())
    new, _ = _meant(after, held)
    common = set(old.nodes()) & set(new.nodes()) | ({HOST} if isolated else set())
    wanted = new.by_key()
    found = {gap for key, item in old.by_key().items() if key in wanted for gap in _changed(item, wanted[key], new)}
    settings = [item for item in old.items if isinstance(item, Sysctl) and item.node in common]
    if any(item.key not in wanted for item in settings):
        found.add("a setting that is in the file no more keeps its value")
    if load(before.encode(), "lab.yaml").prefix != load(after.encode(), "lab.yaml").prefix:
        found.add("names with the old prefix stay in /run/netns")
    return found


def _meant(text: str, held: Leases) -> tuple[State, Leases]:
    topology = load(text.encode(), "lab.yaml")
    leases = lease(topology, held, Taken())
    return desired(topology, Context(leases)), leases


def _changed(old: Item, new: Item, after: State) -> Iterator[str]:
    if isinstance(old, File) and old.name == "hostname" and old != new:
        yield "a running service keeps its host name"
    if isinstance(old, Link) and isinstance(new, Link) and old.kind == new.kind:
        if old.stp != new.stp:
            yield "the ports of a bridge wait for the spanning tree that it had"
        if [end.link_local for end in old.ends] != [end.link_local for end in new.ends]:
            yield "a bridge that gains or loses IPv6 keeps its link-local addresses"
        if [end.mac for end in old.ends] != [end.mac for end in new.ends]:
            yield "a new MAC leaves the link-local address of the old one"
        if [end.ipv6 for end in old.ends] != [end.ipv6 for end in new.ends]:
            yield "a higher MTU brings IPv6 with the kernel's settings"
        if old.kind == "bridge" and not _ports(new, after):
            yield "a bridge without ports any more has the kernel's MTU, and the addresses that its carrier brought"


def _ports(bridge: Link, state: State) -> list[Item]:
    name = bridge.ends[0].name
    return [item for item in state.items if isinstance(item, Link) and item.ends[0].master == name]


def but_leftovers(files: list[str], wanted: list[str]) -> list[str]:
    """The lab's files, without those of nodes and services that it has no more."""
    folders = tuple(f"/run/labctl/lab/{name}" for name in ("etc", "log", "run"))
    return [line for line in files if line in wanted or not line.startswith(folders)]
