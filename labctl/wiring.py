"""Whether everything is plugged into something that is there: networks, cables, interfaces and routes.

Knows names and who refers to whom. Whether the addresses on a bridge fit it is for addressing.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from functools import cached_property
from itertools import chain, islice

from labctl.addressing import MIN_MTU_IPV6, Space
from labctl.document import Steps
from labctl.draft import Draft, Entry
from labctl.errors import Problem
from labctl.fields import dataclass, field
from labctl.names import interface_name
from labctl.shape import did_you_mean
from labctl.state import MAIN_TABLE
from labctl.syntax import plain, quoted
from labctl.written import HOST_GATEWAY, CableEnd, IPAddress, Network, StaticRoute

IPV6_METRIC = 1024  # the kernel's, of a route for which the file has none, or 0
Socket = tuple[Steps, CableEnd]  # an end of a cable, and the way to it


def wiring(draft: Draft) -> Iterator[Problem]:
    """Every problem with what is plugged into what."""
    sockets = _sockets(draft)
    yield from _cables(draft)
    for entry in draft.entries.values():
        own = [socket for name in _single(entry) for socket in sockets.get(name, [])]
        yield from _networks(draft, entry, own)
        yield from _copies(draft, entry)
        yield from _interfaces(draft, entry, own)
        yield from _own_addresses(draft, entry, own)
        yield from _host_gateway(draft, entry)
        yield from _routes(draft, entry, own)


def _sockets(draft: Draft) -> dict[str, list[Socket]]:
    """The ends of all cables, by the namespace they are in."""
    found: dict[str, list[Socket]] = {}
    for number, cable in draft.cables.items():
        for i, end in enumerate(cable.ends):
            found.setdefault(end.node, []).append((("links", str(number), "endpoints", str(i)), end))
    return found


def _single(entry: Entry) -> tuple[str, ...]:
    """The node that a cable can be plugged into, if the entry makes exactly one."""
    return entry.nodes if entry.copies == 1 else ()


# --- cables --------------------------------------------------------------------------------------------------------


def _cables(draft: Draft) -> Iterator[Problem]:
    single = dict.fromkeys(name for entry in draft.entries.values() for name in _single(entry))
    for number, cable in draft.cables.items():
        path: Steps = ("links", str(number))
        for i, end in enumerate(cable.ends):
            where = (*path, "endpoints", str(i))
            if end.node not in single and ("namespaces", end.node) not in draft.aside:
                yield draft.document.problem(part(draft, where, "node"), _no_such_node(draft, end.node, single))
        one, other = cable.ends
        where = (*path, "endpoints", "1")
        for key, same in (("mac", one.mac), ("ip", one.ip and one.ip.ip), ("ip6", one.ip6 and one.ip6.ip)):
            if same and same in (other.mac, other.ip and other.ip.ip, other.ip6 and other.ip6.ip):
                yield draft.document.problem((*where, key), f"both ends of the cable have {same}; change one of them")
        if cable.mtu and cable.mtu < MIN_MTU_IPV6 and (one.ip6 or other.ip6):
            message = f"IPv6 needs an MTU of {MIN_MTU_IPV6} or more, not {cable.mtu}; raise it or remove 'ip6'"
            yield draft.document.problem((*path, "mtu"), message)


def _no_such_node(draft: Draft, name: str, single: Collection[str]) -> str:
    if name == "host":
        return "a cable cannot end on the host; use a bridge, on which the host has an address"
    for base in (name, name.rpartition("-")[0]):
        if (entry := draft.entries.get(base)) and entry.copies > 1:
            message = f"{quoted(base)} stands for {entry.copies} namespaces; "
            return message + "write the one with a cable as an entry of its own"
    return f"unknown namespace {quoted(name)}" + did_you_mean(name, list(single), "add it under 'namespaces'")


def part(draft: Draft, where: Steps, key: str) -> Steps:
    """A part of an end of a cable, which the short form does not have."""
    return (*where, key) if key in draft.document.find(where).children else where


# --- one namespace -------------------------------------------------------------------------------------------------


def _networks(draft: Draft, entry: Entry, own: list[Socket]) -> Iterator[Problem]:
    path = ("namespaces", entry.node.name)
    given = draft.document.find(path).children
    for plug in entry.node.networks:
        if plug.bridge not in draft.bridges and ("bridges", plug.bridge) not in draft.aside:
            known = list(draft.bridges)
            otherwise = f"the bridges are {', '.join(map(plain, known[:9]))}" if known else "add it under 'bridges'"
            message = f"unknown bridge {quoted(plug.bridge)}" + did_you_mean(plug.bridge, known, otherwise)
            yield draft.document.problem_at_key(draft.plugs[entry.node.name, plug.bridge], message)
    if entry.mode == "none" and entry.node.networks:
        message = "'network_mode: none' and 'networks' contradict each other; remove one of them"
        yield draft.document.problem((*path, "network_mode"), message)
    if not ("network_mode" in given or entry.node.networks or own or draft.lacks_cables):
        message = f"namespace {quoted(entry.node.name)} has no networks; "
        message += "name a bridge under 'networks', give it a cable under 'links', or write 'network_mode: none'"
        yield draft.document.problem_at_key(path, message)


def _copies(draft: Draft, entry: Entry) -> Iterator[Problem]:
    """What two namespaces cannot share."""
    if entry.copies == 1:
        return
    message = f"all {entry.copies} copies would have this one; remove it, or write them out without 'count'"
    if entry.node.hostname is not None:
        yield draft.document.problem(("namespaces", entry.node.name, "hostname"), message)
    for plug in entry.node.networks:
        for key, fixed in (("ip", plug.ip), ("ip6", plug.ip6), ("mac", plug.mac)):
            if fixed:
                yield draft.document.problem((*draft.plugs[entry.node.name, plug.bridge], key), message)


def _interfaces(draft: Draft, entry: Entry, own: list[Socket]) -> Iterator[Problem]:
    named = [
        ((*draft.plugs[entry.node.name, plug.bridge], "interface"), plug.interface)
        for plug in entry.node.networks
        if plug.interface is not None
    ]
    named += [(part(draft, where, "interface"), end.interface) for where, end in own]
    seen: dict[str, Steps] = {}
    for path, name in named:
        if wrong := interface_name(name):
            yield draft.document.problem(path, wrong)
        elif name in seen:
            first = draft.document.find(seen[name])
            message = f"{quoted(entry.node.name)} has an interface '{name}' already, at {first.line}:{first.column}; "
            yield draft.document.problem(path, message + "choose another name")
        seen.setdefault(name, path)


def _host_gateway(draft: Draft, entry: Entry) -> Iterator[Problem]:
    """The host's address is that of a bridge that leads to it."""
    bridges = [draft.bridges.get(plug.bridge) for plug in entry.node.networks]
    path: Steps = ("namespaces", entry.node.name, "extra_hosts")
    if all(bridge and not bridge.ways_out for bridge in bridges):
        for item in draft.document.find(path).children if entry.node.extra_hosts else ():
            if draft.document.find((*path, item)).text.endswith(HOST_GATEWAY):
                message = f"'{HOST_GATEWAY}' is where the default route leads, and this namespace has none; "
                yield draft.document.problem((*path, item), message + "plug it into a bridge that is not internal")


def _own_addresses(draft: Draft, entry: Entry, own: list[Socket]) -> Iterator[Problem]:
    """One address on two interfaces of a namespace: packets would go to either."""
    found: list[tuple[Steps, IPAddress]] = []
    for plug in entry.node.networks:
        where = draft.plugs[entry.node.name, plug.bridge]
        found += [((*where, key), ip) for key, ip in (("ip", plug.ip), ("ip6", plug.ip6)) if ip]
    for where, end in own:
        found += [((*where, key), interface.ip) for key, interface in (("ip", end.ip), ("ip6", end.ip6)) if interface]
    seen: set[bytes] = set()
    for path, address in found:
        if address.packed in seen:
            message = f"{quoted(entry.node.name)} has the address {address} already; choose another"
            yield draft.document.problem(path, message)
        seen.add(address.packed)


# --- routes --------------------------------------------------------------------------------------------------------


@dataclass
class _Reach:
    """What a namespace is directly connected to, by interface."""

    networks: dict[str, list[Network]] = field(default_factory=dict)
    unknown: bool = False  # something it is plugged into has a problem of its own

    def through(self, dev: str | None) -> Iterable[Network]:
        """The networks on one interface, or on all."""
        return self.networks.get(dev, []) if dev else chain.from_iterable(self.networks.values())

    def has(self, address: IPAddress, dev: str | None) -> bool:
        """Whether an address is on one of them. Interfaces and routes may be thousands: never all by all."""
        if dev:
            return any(address in network for network in self.through(dev))
        point = (address.version, int(address))
        return self._space.meets(point, point)

    @cached_property
    def _space(self) -> Space:
        return Space(self.through(None))


def _reach(draft: Draft, entry: Entry, own: list[Socket]) -> _Reach:
    reach = _Reach()
    for _, end in own:
        reach.networks[end.interface] = [interface.network for interface in (end.ip, end.ip6) if interface]
    asked = reach.networks.keys() | {plug.interface for plug in entry.node.networks}
    free = (name for n in range(len(asked) + len(entry.node.networks)) if (name := f"eth{n}") not in asked)
    for plug in entry.node.networks:
        bridge = draft.bridges.get(plug.bridge)
        reach.networks[plug.interface or next(free)] = list(bridge.subnets) if bridge else []
        reach.unknown |= bridge is None
    reach.unknown |= draft.lacks_cables
    return reach


def _routes(draft: Draft, entry: Entry, own: list[Socket]) -> Iterator[Problem]:
    if not entry.routes:
        return
    reach = _reach(draft, entry, own)
    seen: set[tuple[bytes, int, int, int]] = set()
    for path, route in entry.routes:
        where, wrong = _unreachable(route, reach)
        if wrong:
            yield draft.document.problem((*path, where), wrong)
        metric = route.metric or IPV6_METRIC * (route.to.version == 6)
        key = (route.to.network_address.packed, route.to.prefixlen, metric, route.table or MAIN_TABLE)
        if key in seen:
            message = f"a second route to {route.to}; remove one, or give them different metrics"
            yield draft.document.problem(path, message)
        seen.add(key)


def _unreachable(route: StaticRoute, reach: _Reach) -> tuple[str, str]:
    """The key that makes a route impossible, and why."""
    if route.dev and route.dev not in reach.networks and route.dev != "lo":
        if reach.unknown:
            return "", ""
        known = list(reach.networks)
        hint = did_you_mean(route.dev, known, f"it has {', '.join(map(plain, known[:9])) or 'none'}")
        return "dev", f"this namespace has no interface {quoted(route.dev)}{hint}"
    link_local = bool(route.dev and route.via and route.via.is_link_local)
    if route.via and not reach.unknown and not link_local and not reach.has(route.via, route.dev):
        some = list(dict.fromkeys(map(str, islice(reach.through(route.dev), 9))))
        networks = ", ".join(some[:4]) or "no network with addresses"
        return "via", f"{route.via} is not on a network of this namespace ({networks}); name a neighbour there"
    return "", ""
