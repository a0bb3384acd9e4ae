"""What a changed lab keeps from before because the kernel does: the random laws step around it."""

from __future__ import annotations

from collections.abc import Iterator

from labctl.desired import Context, desired
from labctl.leases import Taken, lease
from labctl.record import Leases
from labctl.state import Item, Link, State
from labctl.topology import load


def gaps(before: str, after: str) -> set[str]:
    """The known gaps that a pair of files meets."""
    old, held = _meant(before, Leases())
    new, _ = _meant(after, held)
    wanted = new.by_key
    return {gap for key, item in old.by_key.items() if key in wanted for gap in _changed(item, wanted[key], new)}


def _meant(text: str, held: Leases) -> tuple[State, Leases]:
    topology = load(text.encode(), "lab.yaml")
    leases = lease(topology, held, Taken())
    return desired(topology, Context(leases)), leases


def _changed(old: Item, new: Item, after: State) -> Iterator[str]:
    if isinstance(old, Link) and isinstance(new, Link) and old.kind == new.kind == "bridge":
        if old.stp != new.stp:
            yield "its ports wait for the spanning tree that it had"
        if not any(isinstance(item, Link) and item.ends[0].master == new.ends[0].name for item in after.items):
            yield "a bridge without ports any more has the addresses that its carrier brought"
