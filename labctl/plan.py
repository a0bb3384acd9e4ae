"""The difference between what is meant and what is there, as an ordered tuple of operations.

Pure: knows the nouns and in which order the kernel wants them, not how they are carried out. How an operation
reads in shell is shell.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from labctl.fields import dataclass, replace
from labctl.state import (
    HOST,
    UNREADY,
    UNWATCHED,
    Address,
    File,
    Item,
    Key,
    Link,
    Namespace,
    Port,
    Proxy,
    Route,
    Ruleset,
    Service,
    State,
    Sysctl,
    natural,
)


@dataclass(frozen=True)
class Add:
    item: Item
    reason: str = ""


@dataclass(frozen=True)
class Remove:
    item: Item
    reason: str = ""


@dataclass(frozen=True)
class Change:
    """The same thing with other properties, changed in place."""

    before: Item
    item: Item
    reason: str = ""


Op = Add | Remove | Change
Plan = tuple[Op, ...]


def plan(desired: State, observed: State) -> Plan:
    """What turns `observed` into `desired`: removals from the outside in, then changes and additions as built."""
    wanted, found = desired.by_key, observed.by_key
    replaced = _replaced(wanted, found)
    near = (item.ends[0] for item in desired.items if isinstance(item, Link))
    names = {(end.node, end.alias): end.name for end in near if end.alias}
    gone = [
        Remove(item, replaced.get(key) or _became(item, names))
        for key, item in found.items()
        if key not in wanted or key in replaced
    ]
    gone += _moving(found, gone)
    found = _survivors(found, gone)
    added = [Add(item, "") for key, item in wanted.items() if key not in found]
    changed = [
        Change(found[key], item, _difference(found[key], item))
        for key, item in wanted.items()
        if key in found and found[key] != item
    ]
    ranks, turns = _ranks(desired, observed), _turns(desired)
    removals = sorted(_explicit(gone), key=lambda op: _order(op, ranks, turns), reverse=True)
    building: list[Op] = [*_asked_for(added, wanted), *changed]
    building += _uncertain(wanted, found, gone, [*added, *changed])
    return (*removals, *sorted(building, key=lambda op: _order(op, ranks, turns)))


def _replaced(wanted: Mapping[Key, Item], found: Mapping[Key, Item]) -> dict[Key, str]:
    """Why an item of both states cannot be changed in place."""
    return {
        key: _difference(found[key], item)
        for key, item in wanted.items()
        if key in found and found[key] != item and not _in_place(found[key], item)
    }


def _in_place(before: Item, after: Item) -> bool:
    match before, after:
        case Link(), Link():
            return before.kind == after.kind and [_identity(end) for end in before.ends] == [
                _identity(end) for end in after.ends
            ]
        case ((Service() | Proxy()), _):
            return False
        case Namespace(), Namespace():
            return before.same_as == after.same_as
        case _:
            return True


def _became(item: Item, names: Mapping[tuple[str, str], str]) -> str:
    """What somebody made of a link that is not whole, or not found under its name; `names` are those that are meant, by
    node and mark."""
    if not isinstance(item, Link):
        return ""
    near = item.ends[0]
    if item.kind == "veth" and len(item.ends) == 1:
        return f"{near.name}: its other end is not where it was"
    meant = names.get((near.node, near.alias), near.name)
    return f"named {near.name} instead of {meant}" if meant != near.name else ""


def _identity(port: Port) -> tuple[str, str, int]:
    return (port.node, port.name, port.index)


def _difference(before: Item, after: Item) -> str:
    """For example `mtu 1400 instead of 1500`: what is there, then what was meant."""
    if isinstance(before, Service) and isinstance(after, Service):
        return _of_service(before, after)
    if isinstance(before, Proxy):
        return "the published ports changed"
    if isinstance(before, Namespace) and not before.mounted:
        return "unmounted, but its processes are still in it"
    texts = list(_fields(before, after))
    if isinstance(before, Link) and isinstance(after, Link) and len(before.ends) < len(after.ends):
        texts.append(f"{after.ends[1].name}: gone from {after.ends[1].node}")
    if isinstance(before, Link) and isinstance(after, Link):
        for there, meant in zip(before.ends, after.ends, strict=False):
            texts += [f"{meant.name}: {text}" for text in _fields(there, meant)]
    return ", ".join(texts) or "its content differs"


def _of_service(before: Service, after: Service) -> str:
    if before == replace(after, ready=UNREADY):
        return "it was not ready in time"
    return "nobody watches it any more" if before == replace(after, restart=UNWATCHED) else "its settings changed"


def _fields(before: object, after: object) -> Iterator[str]:
    for name, meant in vars(after).items():
        there = vars(before).get(name)
        if there == meant or name in ("ends", "text"):
            continue
        if name == "up":
            yield "down" if meant else "up"
        else:
            yield f"{name} {'none' if there in (None, '') else there} instead of {meant}"


def _moving(found: Mapping[Key, Item], gone: list[Remove]) -> list[Remove]:
    """The services that have to start anew because their node gets another namespace."""
    removed = {op.item.key for op in gone}
    nodes = {op.item.node for op in gone if isinstance(op.item, Namespace)}
    services = (item for item in found.values() if isinstance(item, Service) and item.node in nodes)
    return [Remove(item, "its node gets another namespace") for item in services if item.key not in removed]


def _survivors(found: Mapping[Key, Item], gone: Iterable[Remove]) -> dict[Key, Item]:
    """What is left once the kernel has taken away all that hangs on the removed items too."""
    removed = {op.item.key for op in gone}
    namespaces = {op.item.node for op in gone if isinstance(op.item, Namespace)}
    ports = {(end.node, end.name) for op in gone if isinstance(op.item, Link) for end in op.item.ends}

    def lost(item: Item) -> bool:
        if isinstance(item, Link):
            return any(end.node in namespaces for end in item.ends)
        dev = item.interface if isinstance(item, Sysctl) else getattr(item, "dev", None)
        return item.node in namespaces or (item.node, dev) in ports

    return {key: item for key, item in found.items() if key not in removed and not lost(item)}


def _asked_for(added: list[Add], wanted: Mapping[Key, Item]) -> Iterator[Add]:
    """Without what comes by itself: lo's address, and settings that a new interface takes over from `default`."""
    ports = {(end.node, end.name) for op in added if isinstance(op.item, Link) for end in op.item.ends}
    for op in added:
        match op.item:
            case Address(dev="lo") as address:
                implied = (address.node, "lo") in ports
            case Sysctl() as sysctl if (sysctl.node, sysctl.interface) in ports:
                default = wanted.get(("sysctl", sysctl.node, sysctl.of("default")))
                implied = isinstance(default, Sysctl) and default.value == sysctl.value
            case _:
                implied = False
        if not implied:
            yield op


def _uncertain(
    wanted: Mapping[Key, Item], found: Mapping[Key, Item], gone: list[Remove], building: list[Op]
) -> Iterator[Change]:
    """What is there now, and right, but may go when something else changes: a route with an address of its interface,
    an interface's setting when that of `all` is written (net/ipv6/addrconf.c, net/ipv4/devinet.c)."""
    addresses = {(a.node, a.dev, a.interface.version) for op in gone if isinstance(a := op.item, Address)}
    written = [op.item for op in (*gone, *building) if isinstance(op.item, Sysctl)]
    settings = {(setting.node, setting.of("all")) for setting in written if setting.for_all}
    for key, item in found.items() if addresses or settings else ():
        if wanted.get(key) == item:
            match item:
                case Route(node, to, _, dev) if (node, dev, to.version) in addresses:
                    yield Change(item, item, "an address of its interface changes")
                case Sysctl() if (item.node, item.of("all")) in settings and not item.for_all:
                    yield Change(item, item, "the setting of all interfaces changes")


def _explicit(gone: list[Remove]) -> list[Remove]:
    """The removals that must be asked for: a namespace takes its inside along, an interface its addresses."""
    namespaces = {op.item.node for op in gone if isinstance(op.item, Namespace)}
    ports = {(end.node, end.name) for op in gone if isinstance(op.item, Link) for end in op.item.ends}

    def implied(item: Item) -> bool:
        match item:
            case Namespace() | Service() | File() | Ruleset() | Proxy():
                return False
            case Link():
                # a namespace's own end goes some time after it; the other end must be gone before a name is used again
                return item.kind == "loopback" or all(end.node in namespaces for end in item.ends)
            case Sysctl():
                return item.node in namespaces or (item.node, item.interface) in ports
            case _:
                return item.node in namespaces or (item.node, item.dev) in ports

    return [op for op in gone if not implied(op.item)]


# The order of building: the published ports before anything else, for another may have them; the host's rules before
# anything can forward, bridges before what is plugged into them, every namespace and pair before the first address (a
# gateway or a cable's other end may be in a node that comes later), services last.
def _order(op: Op, ranks: Mapping[str, int], turns: Mapping[Key, int]) -> tuple[object, ...]:
    item = op.item
    if item.node == HOST and (place := _order_at_host(item)):
        return place
    rank = ranks[item.node]
    match item:
        case File():
            return (5, rank, 3, item.key)
        case Link(kind="bridge"):
            return (2, natural(item.ends[0].name), 0)
        case Link() if item.node in (HOST, item.ends[-1].node):
            return (3, ranks[item.ends[-1].node], 2, natural(item.ends[-1].name))
        case Link():
            return (4, rank, natural(item.ends[0].name))
        case Address():
            return (5, rank, 1, natural(item.dev), str(item.interface))
        case Route():
            return (5, rank, 2, -item.to.prefixlen if item.via else -999, item.key)
        case Namespace():
            return (4.5 if item.same_as else 3, rank, 0)  # first what is to be shared
        case Sysctl() if item.interface is None:
            return (3, rank, 1, not item.for_all, item.key)
        case Sysctl():
            return (5, rank, 0, item.key)
        case _:
            return (6, turns.get(item.key, 0), rank, item.key)


def _order_at_host(item: Item) -> tuple[object, ...]:
    """Of what has another place there than in a node."""
    match item:
        case Namespace():
            return (-2, item.key)
        case Proxy():
            return (-1, item.key)
        case Ruleset():
            return (0, item.key)
        case Sysctl() if item.interface:
            return (2, natural(item.interface), 0.5, item.key)
        case Sysctl() | Link(kind="loopback"):
            return (1, item.key)
        case Address():
            return (2, natural(item.dev), 1, str(item.interface))
        case _:
            return ()


def _ranks(*states: State) -> dict[str, int]:
    """The nodes' places among each other."""
    nodes = {end.node for state in states for item in state.items for end in getattr(item, "ends", (item,))}
    return {node: rank for rank, node in enumerate(sorted(nodes, key=lambda node: (natural(node), node)))}


def _turns(desired: State) -> dict[Key, int]:
    """How many services have to be ready, one after the other, before each; only for those that wait."""
    after = {s.key: [("service", *other) for other in s.after] for s in desired.items if isinstance(s, Service)}
    found: dict[Key, int] = {}
    if any(after.values()):
        from graphlib import TopologicalSorter  # 1 ms, and few services wait

        sorter: TopologicalSorter[Key] = TopologicalSorter(after)
        sorter.prepare()
        while sorter.is_active():
            for key in sorter.get_ready():
                found[key] = max((found[other] + 1 for other in after.get(key, [])), default=0)
                sorter.done(key)
    return found
