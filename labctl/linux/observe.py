"""What the machine really has of a state: for each expected item its true version, and nothing for what is missing.

Everything else in a namespace is none of our business here: what labctl did not make, it neither reports nor removes.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from ipaddress import ip_address, ip_network

from labctl.fields import replace
from labctl.linux import nft, ports
from labctl.linux import rtnetlink as rt
from labctl.linux.messages import BRIDGE_PORT
from labctl.linux.names import named
from labctl.linux.netlink import attributes
from labctl.linux.place import Namespaces, Place, exists, mounted
from labctl.linux.services import running
from labctl.linux.thread import heed
from labctl.state import HOST, Address, File, Item, Link, Namespace, Port, Proxy, Route, Ruleset, Service, State, Sysctl


def observe(expected: State, place: Place, rules_as_listed: str = "") -> State:
    """Runs inside `in_thread`. `rules_as_listed` is how nft listed the lab's table when it was last loaded."""
    with Namespaces(place) as namespaces:
        nodes = sorted({item.node for item in expected.items} | {HOST})
        there = {node: Inside(node, namespaces) for node in nodes if exists(place, node)}
        services = running(place, expected)
        found: list[Item] = []
        for item in sorted(expected.items, key=lambda item: item.node):  # each namespace is entered once or twice
            heed()
            found += _true_version(item, there, place, services, rules_as_listed)
        return State.of(found)


class Inside:
    """What one namespace holds, read when first asked for."""

    def __init__(self, node: str, namespaces: Namespaces) -> None:
        self.node = node
        self._namespaces = namespaces
        self._routes: dict[int, list[Route]] = {}

    def sysctl(self, name: str) -> str | None:
        self._namespaces.enter(self.node)
        return self._namespaces.sysctls.read(name)

    def table(self, name: str) -> str:
        self._namespaces.enter(self.node)
        return nft.listing(name)

    def proxy(self, place: Place, expected: Proxy) -> list[Proxy]:
        self._namespaces.enter(self.node)
        return list(ports.running(place, expected))

    def _dump(self, type_: int, family: int = 0) -> list[bytes]:
        return self._namespaces.socket(self.node).dump(rt.dump(type_, family))

    @cached_property
    def links(self) -> dict[str, rt.Link]:
        return {link.name: link for link in map(rt.Link, self._dump(rt.RTM_GETLINK))}

    @cached_property
    def _names(self) -> dict[int, str]:
        return {link.index: name for name, link in self.links.items()}

    @cached_property
    def _addresses(self) -> set[tuple[int, int, bytes]]:
        found = map(rt.Address, self._dump(rt.RTM_GETADDR))
        return {(address.index, address.prefix, address.packed) for address in found}

    def has(self, address: Address) -> bool:
        link = self.links.get(address.dev)
        interface = address.interface
        there = link and (link.index, interface.network.prefixlen, interface.packed)
        return there in self._addresses

    def marked(self, port: Port) -> str:
        """The name of the interface that has a port's mark and number."""
        link = self.links.get(self.name(port.index) or "")
        return link.name if link and port.alias and link.text(rt.IFLA_IFALIAS) == port.alias else ""

    def name(self, index: int) -> str | None:
        return self._names.get(index)

    def routes(self, version: int) -> list[Route]:
        """Unicast routes that somebody added."""
        if version not in self._routes:
            found = map(rt.Route, self._dump(rt.RTM_GETROUTE, AF_INET if version == 4 else AF_INET6))
            self._routes[version] = [
                self._route(route) for route in found if route.protocol in (rt.RTPROT_BOOT, rt.RTPROT_STATIC)
            ]
        return self._routes[version]

    def _route(self, found: rt.Route) -> Route:
        to = found.to or bytes(4 if found.family == AF_INET else 16)
        return Route(
            self.node,
            ip_network((to, found.prefix)),
            ip_address(found.via) if found.via else None,
            self.name(found.index),
            found.metric,
            found.table,
        )

    def port(self, name: str) -> Port | None:
        link = self.links.get(name)
        if link is None:
            return None
        slave = attributes(link.inside(rt.IFLA_LINKINFO, rt.IFLA_INFO_SLAVE_DATA))
        made = link.inside(rt.IFLA_AF_SPEC, AF_INET6, rt.IFLA_INET6_ADDR_GEN_MODE)
        return Port(
            self.node,
            name,
            link.index,
            link.mac,
            link.number(rt.IFLA_MTU),
            up=bool(link.flags & rt.IFF_UP),
            master=self.name(link.number(rt.IFLA_MASTER)),
            isolated=any(slave.get(BRIDGE_PORT["isolated"], b"")),
            hairpin=any(slave.get(BRIDGE_PORT["hairpin"], b"")),
            alias=link.text(rt.IFLA_IFALIAS),
            group=link.number(rt.IFLA_GROUP),
            link_local=made not in (b"", bytes([rt.ADDR_GEN_NONE])),
        )


There = dict[str, Inside]


def _true_version(
    item: Item, there: There, place: Place, services: set[Service], rules_as_listed: str
) -> Iterator[Item]:
    if isinstance(item, File):
        with suppress(FileNotFoundError), open(f"{place.etc(item.node)}/{item.name}", errors="replace") as file:
            yield File(item.node, item.name, file.read())
    elif isinstance(item, Service):
        yield from (service for service in services if service.key == item.key)
    elif item.node in there:
        yield from _in_namespace(item, there, place, rules_as_listed)


def _in_namespace(item: Item, there: There, place: Place, rules_as_listed: str) -> Iterator[Item]:
    inside = there[item.node]
    match item:
        case Namespace():
            owner = place.owner(item.node)
            found = replace(item, same_as=owner if owner != item.node else "", mounted=mounted(place, item.node))
            yield found if named(place, found) else replace(found, netns="")
        case Sysctl():
            value = inside.sysctl(item.name)
            if value is not None:
                yield Sysctl(item.node, item.name, value)
        case Link():
            yield from _link(item, there)
        case Address():
            if inside.has(item):
                yield item
        case Route():
            yield from (route for route in inside.routes(item.to.version) if route.key == item.key)
        case Proxy():
            yield from inside.proxy(place, item)
        case Ruleset():
            listed = inside.table(item.table)
            if listed:
                yield item if listed == rules_as_listed else Ruleset(item.table, listed)


def _link(expected: Link, there: There) -> Iterator[Link]:
    """What became of a link, under whatever name: a bridge is known by its mark, a pair by its other end."""
    inside = there[expected.node]
    near = inside.port(expected.ends[0].name) or inside.port(inside.marked(expected.ends[0]))
    if near is None and len(expected.ends) == 2:
        yield from _orphan(expected, there)
    if near is None or (expected.kind == "loopback" and not near.up):
        return
    link = there[near.node].links[near.name]
    kind = "loopback" if near.name == "lo" else link.kind
    stp = kind == "bridge" and any(link.inside(rt.IFLA_LINKINFO, rt.IFLA_INFO_DATA, rt.IFLA_BR_STP_STATE))
    far = _other_end(link, there.get(expected.ends[1].node)) if len(expected.ends) == 2 else None
    yield Link(kind, (near, far) if far else (near,), stp)


def _orphan(expected: Link, there: There) -> Iterator[Link]:
    """The far end of a pair whose near end is not where it was: it has to go before the pair can be made again."""
    far = expected.ends[1]
    port = there[far.node].port(far.name) if far.node in there else None
    if port and port.index == far.index:
        yield Link(expected.kind, (port,))


def _other_end(near: rt.Link, inside: Inside | None) -> Port | None:
    """The port of a namespace that the near end points at, whatever its name, if it points back."""
    name = inside.name(near.number(rt.IFLA_LINK)) if inside else None
    if inside is None or name is None or inside.links[name].number(rt.IFLA_LINK) != near.index:
        return None
    return inside.port(name)
