"""The only fake kernel: a set of items that obeys, brings what comes with an interface, and takes away what hangs on
what is removed."""

from __future__ import annotations

from collections.abc import Iterator

from labctl.desired import LOOPBACK
from labctl.plan import Add, Change, Plan, Remove
from labctl.state import Address, Item, Link, Namespace, Route, State, Sysctl


def carried_out(state: State, steps: Plan) -> State:
    """What a plan makes of a state; a step that the kernel would refuse fails."""
    items = set(state.items)
    for step in steps:
        match step:
            case Add(item=item):
                there = {other.key: other for other in items}
                assert item.key not in there or came_with_its_interface(item), step
                items = {other for other in items if other.key != item.key} | {item, *comes_with(item, items)}
            case Remove(item=item):
                items = {other for other in items - {item} if not hangs_on(other, item)}
            case Change(before=before, item=item):
                items.discard(before)  # gone with an address, and put back
                items.add(item)
    return State.of(items)


def comes_with(new: Item, items: set[Item]) -> Iterator[Item]:
    """What the kernel makes beside an interface: the loopback's address, the settings that `default` has."""
    for end in new.ends if isinstance(new, Link) else ():
        if end.name == "lo":
            yield Address(end.node, "lo", LOOPBACK)
            continue
        for item in items:
            if isinstance(item, Sysctl) and item.node == end.node and ".default." in item.name:
                if end.ipv6 or ".ipv6." not in item.name:
                    yield Sysctl(end.node, item.of(end.name), item.value)


def came_with_its_interface(item: Item) -> bool:
    return isinstance(item, Sysctl) and item.interface is not None


def hangs_on(other: Item, gone: Item) -> bool:
    """Whether the kernel takes one away with the other. Only IPv4 routes go with an interface's address."""
    match gone:
        case Namespace():
            ends = other.ends if isinstance(other, Link) else ()
            files = type(other).__name__ in ("File", "Service")
            return not files and (other.node == gone.node or any(end.node == gone.node for end in ends))
        case Link():
            ports = {(end.node, end.name) for end in gone.ends}
            dev = other.interface if isinstance(other, Sysctl) else getattr(other, "dev", None)
            return (other.node, dev) in ports
        case Address():
            if not isinstance(other, Route) or other.to.version != gone.interface.version or other.to.version == 6:
                return False
            return (other.node, other.dev) == (gone.node, gone.dev)
        case _:
            return False
