"""What the machine really has of a state: for each expected item its true version, and nothing for what is missing.

Everything else in a namespace is none of our business here: what labctl did not make, it neither reports nor removes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

from labctl.linux import netlink, nft, ports
from labctl.linux.messages import ADDR_GEN_NONE, BRIDGE_PORT, IFF_UP, RTPROT_BOOT
from labctl.linux.names import named
from labctl.linux.place import Namespaces, Place, exists, mounted
from labctl.linux.services import running
from labctl.linux.sysctls import read
from labctl.state import HOST, Address, File, Item, Link, Namespace, Port, Proxy, Route, Ruleset, Service, State, Sysctl

AF_INET, AF_INET6 = 2, 10
RTPROT_STATIC = 4


def observe(expected: State, place: Place, rules_as_listed: str = "") -> State:
    """Runs inside `in_thread`. `rules_as_listed` is how nft listed the lab's table when it was last loaded."""
    with Namespaces(place) as namespaces:
        nodes = sorted({item.node for item in expected.items} | {HOST})
        there = {node: Inside(node, namespaces) for node in nodes if exists(place, node)}
        services = running(place, expected)
        found: list[Item] = []
        for item in expected.items:
            found += _true_version(item, there, place, services, rules_as_listed)
        return State.of(found)


class Inside:
    """What one namespace holds, read when first asked for."""

    def __init__(self, node: str, namespaces: Namespaces) -> None:
        self.node = node
        self._namespaces = namespaces
        self._links: dict[str, Any] | None = None
        self._names: dict[int, str] = {}
        self._addresses: set[tuple[int, str]] | None = None
        self._routes: list[Route] | None = None

    def sysctl(self, name: str) -> str | None:
        self._namespaces.enter(self.node)
        return read(name)

    def table(self, name: str) -> str:
        self._namespaces.enter(self.node)
        return nft.listing(name)

    def proxy(self, place: Place, expected: Proxy) -> list[Proxy]:
        self._namespaces.enter(self.node)
        return list(ports.running(place, expected))

    def links(self) -> dict[str, Any]:
        if self._links is None:
            found = self._namespaces.socket(self.node).dump("ifinfmsg", netlink.RTM_GETLINK)
            self._links = {message.get_attr("IFLA_IFNAME"): message for message in found}
        return self._links

    def index(self, name: str | None) -> int:
        message = self.links().get(name or "")
        return int(message["index"]) if message else 0

    def marked(self, port: Port) -> str:
        """The name of the interface that has a port's mark and number."""
        message = next((m for m in self.links().values() if m["index"] == port.index), None)
        ours = message and port.alias and message.get_attr("IFLA_IFALIAS") == port.alias
        return str(message.get_attr("IFLA_IFNAME")) if ours and message else ""

    def name(self, index: int | None) -> str | None:
        if not self._names:
            self._names = {message["index"]: name for name, message in self.links().items()}
        return self._names.get(index or 0)

    def addresses(self) -> set[tuple[int, str]]:
        """(index, address with prefix length)"""
        if self._addresses is None:
            found = self._namespaces.socket(self.node).dump("ifaddrmsg", netlink.RTM_GETADDR)
            self._addresses = {
                (m["index"], f"{m.get_attr('IFA_LOCAL') or m.get_attr('IFA_ADDRESS')}/{m['prefixlen']}") for m in found
            }
        return self._addresses

    def routes(self) -> list[Route]:
        """Unicast routes that somebody added."""
        if self._routes is None:
            socket = self._namespaces.socket(self.node)
            found = [
                m for family in (AF_INET, AF_INET6) for m in socket.dump("rtmsg", netlink.RTM_GETROUTE, family=family)
            ]
            self._routes = [self._route(m) for m in found if m["proto"] in (RTPROT_BOOT, RTPROT_STATIC)]
        return self._routes

    def _route(self, message: Any) -> Route:
        default = "0.0.0.0" if message["family"] == AF_INET else "::"
        via = message.get_attr("RTA_GATEWAY")
        return Route(
            self.node,
            ip_network(f"{message.get_attr('RTA_DST') or default}/{message['dst_len']}"),
            ip_address(via) if via else None,
            self.name(message.get_attr("RTA_OIF")),
            message.get_attr("RTA_PRIORITY") or 0,
            message.get_attr("RTA_TABLE") or message["table"],
        )

    def port(self, name: str) -> Port | None:
        message = self.links().get(name)
        if message is None:
            return None
        slave = (message.get_attr("IFLA_LINKINFO") or {}).get("attrs", [])
        return Port(
            self.node,
            name,
            message["index"],
            message.get_attr("IFLA_ADDRESS"),
            message.get_attr("IFLA_MTU"),
            up=bool(message["flags"] & IFF_UP),
            master=self.name(message.get_attr("IFLA_MASTER")),
            isolated=bool(_nested(slave, "IFLA_INFO_SLAVE_DATA", BRIDGE_PORT["isolated"])),
            hairpin=bool(_nested(slave, "IFLA_INFO_SLAVE_DATA", BRIDGE_PORT["hairpin"])),
            alias=message.get_attr("IFLA_IFALIAS") or "",
            group=message.get_attr("IFLA_GROUP") or 0,
            link_local=_nested(_attributes(message, "IFLA_AF_SPEC"), "AF_INET6", "IFLA_INET6_ADDR_GEN_MODE")
            not in (None, ADDR_GEN_NONE),
        )


def _attributes(message: Any, name: str) -> list[tuple[str, Any]]:
    found = message.get_attr(name)
    return list(found["attrs"]) if found else []


def _nested(attributes: list[tuple[str, Any]], *names: str) -> Any:
    """The value down a path of nested attributes, or None."""
    for name in names:
        found: Any = dict(attributes).get(name)
        attributes = found["attrs"] if hasattr(found, "get") and found.get("attrs") else []
    return found


There = dict[str, Inside]


def _true_version(
    item: Item, there: There, place: Place, services: set[Service], rules_as_listed: str
) -> Iterator[Item]:
    if isinstance(item, File):
        path = place.etc(item.node) / item.name
        if path.exists():
            yield File(item.node, item.name, path.read_text(errors="replace"))
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
            if (inside.index(item.dev), str(item.interface)) in inside.addresses():
                yield item
        case Route():
            yield from (route for route in inside.routes() if route.key == item.key)
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
    message = there[near.node].links()[near.name]
    kind = "loopback" if near.name == "lo" else _nested(_attributes(message, "IFLA_LINKINFO"), "IFLA_INFO_KIND")
    data = (message.get_attr("IFLA_LINKINFO") or {}).get("attrs", [])
    stp = bool(_nested(data, "IFLA_INFO_DATA", "IFLA_BR_STP_STATE")) if kind == "bridge" else False
    far = _other_end(message, there.get(expected.ends[1].node)) if len(expected.ends) == 2 else None
    yield Link(str(kind), (near, far) if far else (near,), stp)


def _orphan(expected: Link, there: There) -> Iterator[Link]:
    """The far end of a pair whose near end is not where it was: it has to go before the pair can be made again."""
    far = expected.ends[1]
    port = there[far.node].port(far.name) if far.node in there else None
    if port and port.index == far.index:
        yield Link(expected.kind, (port,))


def _other_end(near: Any, inside: Inside | None) -> Port | None:
    """The port of a namespace that the near end points at, whatever its name, if it points back."""
    name = inside.name(near.get_attr("IFLA_LINK")) if inside else None
    if inside is None or name is None or inside.links()[name].get_attr("IFLA_LINK") != near["index"]:
        return None
    return inside.port(name)
