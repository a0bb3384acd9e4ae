"""The screens of `labctl show`, one function each: a picture in, lines out.

They look like the tools they stand for (ip, brctl, arp, ifconfig), over all namespaces of a lab at once. A page that
is not whole, the overview, leaves out what is the same everywhere: loopbacks, link-local addresses, foreign bridges.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable

from labctl.picture import End, Hop, Inside, Interface, Neighbour, Pair, Picture, RouteEntry, Status, Traffic, pairs
from labctl.state import HOST, Published
from labctl.view.page import CYAN, DIM, WIDTH, Page, Row, always, by_state, size, stem, wrapped

Section = Callable[[Picture, Page], list[str]]
NODE = {0: always(CYAN)}
SHORT, LONG = 40, 160  # characters of a command, in the overview and on a page of its own; JSON has all


def links(picture: Picture, page: Page) -> list[str]:
    """Veth pairs; on a whole page also `ip link` of every namespace."""
    found = pairs(picture)
    width = max((len(str(end.interface.index)) for pair in found for end in _ends(pair)), default=1)
    rows = [(pair.near.node, _numbered(pair.near, width), "<->", _far(pair, width)) for pair in found]
    lines = [page.heading("Veth pairs", "index: interface@if<index of the other end>")]
    lines += page.beginning(rows, _more(picture, "links"), NODE)
    if page.whole:
        for inside in (inside for inside in picture.everywhere if not inside.same_as):
            lines += ["", page.heading(f"Interfaces of {inside.node}", "ip link")]
            lines += [line for interface in _ours_first(inside) for line in _ip_link(interface, page)] or ["  none"]
    return lines


def _ends(pair: Pair) -> list[End]:
    return [end for end in (pair.near, pair.far) if end]


def _numbered(end: End, width: int) -> str:
    return f"{end.interface.index:>{width}}: {end.interface.title}"


def _far(pair: Pair, width: int) -> str:
    if pair.far is None:
        return "no namespace of the lab has the other end"
    master = f" ({pair.far.interface.master})" if pair.far.interface.master else ""
    return f"{_numbered(pair.far, width)}  {pair.far.node}{master}"


def _ip_link(interface: Interface, page: Page) -> list[str]:
    """Without what does not fit the article's story: qdisc, mode, group, queue length."""
    title = f"{interface.index}: {interface.title}:"
    first, *rest = wrapped(f"{title} <{','.join(interface.flags)}> mtu {interface.mtu}", WIDTH, "    ")
    kind = "loopback" if interface.kind == "loopback" else "ether"
    master = f" master {interface.master}" if interface.master else ""
    alias = [f"    alias {interface.alias}"] if interface.alias and interface.ours else []
    return [
        page.paint(title, CYAN) + first.removeprefix(title),
        *rest,
        f"    link/{kind} {interface.mac}{master} state {page.paint(interface.state, by_state(interface.state))}",
        *(page.paint(line, DIM) for line in alias),
    ]


def bridges(picture: Picture, page: Page) -> list[str]:
    rows: list[Row] = [("bridge name", "bridge id", "STP enabled", "interfaces")]
    for inside in picture.everywhere:
        for bridge in (i for i in _ours_first(inside) if i.bridge and (i.ours or page.whole)):
            rows += _brctl(inside, bridge, page)
    table = page.table(rows, NODE, head=True) if len(rows) > 1 else ["  none"]
    return [page.heading("Bridges", "brctl show"), *table]


def _brctl(inside: Inside, bridge: Interface, page: Page) -> list[Row]:
    assert bridge.bridge
    first_ports, more, last = page.cut([i.name for i in inside.interfaces if i.master == bridge.name])
    ports = [*first_ports, *([f"… {more} more"] if more else []), *last]
    name = bridge.name if inside.node == HOST else f"{bridge.name} ({inside.node})"
    first, *rest = ports or [""]
    stp = "yes" if bridge.bridge.stp else "no"
    return [(name, bridge.bridge.id, stp, first), *(("", "", "", port) for port in rest)]


def addresses(picture: Picture, page: Page) -> list[str]:
    rows = [
        (inside.node, interface.name, str(address), interface.mac)
        for inside in picture.everywhere
        for interface in _ours_first(inside)
        for address in interface.addresses
        if page.whole or not (address.is_loopback or address.is_link_local)
    ]
    return [
        page.heading("Addresses", "ip address"),
        *page.beginning(rows, _more(picture, "addresses"), NODE | {3: always(DIM)}),
    ]


def routes(picture: Picture, page: Page) -> list[str]:
    rows = [
        (inside.node, route_line(route))
        for inside in picture.everywhere
        for route in inside.routes
        if page.whole or not route.to.is_link_local
    ]
    return [page.heading("Routes", "ip route"), *page.beginning(rows, _more(picture, "routes"), NODE, by_node=True)]


def route_line(route: RouteEntry) -> str:
    """As `ip route` prints it."""
    to = "default" if not route.to.prefixlen else str(route.to)
    to = str(route.to.network_address) if route.to.prefixlen == route.to.max_prefixlen else to
    words = [
        *([route.kind] if route.kind != "unicast" else []),
        to,
        *_way(route),
        *(["proto", route.protocol] if route.protocol != "boot" else []),
        *(["scope", route.scope] if route.scope != "global" else []),
        *(["src", str(route.source)] if route.source else []),
        *(["metric", str(route.metric)] if route.metric else []),
        *route.flags,
        *(word for hop in route.hops for word in ("nexthop", *_way(hop), "weight", str(hop.weight))),
    ]
    return " ".join(words)


def _way(route: RouteEntry | Hop) -> list[str]:
    return [*(["via", str(route.via)] if route.via else []), *(["dev", route.dev] if route.dev else [])]


def neighbours(picture: Picture, page: Page) -> list[str]:
    """`arp -n`, with the neighbour's state as `ip neigh` tells it."""
    rows = [_arp(inside, found) for inside in picture.everywhere for found in inside.neighbours]
    head = [("node", "Iface", "Address", f"{'HWaddress':17}  state")] if rows else []
    return [page.heading("Neighbours", "arp -n"), *page.table([*head, *rows], NODE | {3: by_state}, head=True)]


def _arp(inside: Inside, found: Neighbour) -> Row:
    return inside.node, found.dev, str(found.address), f"{found.mac or '(incomplete)':17}  {found.state}"


def counters(picture: Picture, page: Page) -> list[str]:
    """RX and TX as ifconfig has them."""
    lines: list[str] = []
    for inside in picture.everywhere:
        rows = [row for interface in _ours_first(inside) for row in _rx_tx(interface)]
        lines += ["", page.heading(f"Counters of {inside.node}", "ifconfig"), *page.table(rows, NODE)]
    return lines[1:]


def _rx_tx(interface: Interface) -> list[Row]:
    return [(interface.name, f"RX {_traffic(interface.rx)}"), ("", f"TX {_traffic(interface.tx)}")]


def _traffic(traffic: Traffic) -> str:
    faults = f"errors:{traffic.errors} dropped:{traffic.dropped}"
    return f"packets:{traffic.packets} {faults} bytes:{traffic.bytes} ({size(traffic.bytes)})"


def services(picture: Picture, page: Page) -> list[str]:
    found = [status for inside in picture.everywhere for status in inside.services]
    rows = [_service(status, page) for status in page.folded(found, _alike)]
    return [page.heading("Services"), *page.beginning(rows, _more(picture, "services"), NODE | {2: by_state})]


def _alike(status: Status) -> Hashable:
    return stem(status.service.node), status.service.name, status.text, status.service.command


def _service(status: Status | int, page: Page) -> Row:
    """A number stands for so many that are like those above and below."""
    if isinstance(status, int):
        return "…", "", "", "", f"{status} more like these"
    service = status.service
    text = service.command[2] if service.command[:2] == ("/bin/sh", "-c") else " ".join(service.command)
    command = " ".join(text.split())
    most = LONG if page.whole else SHORT
    shown = command if len(command) <= most else f"{command[: most - 1].rstrip()}…"
    return service.node, service.name, status.text, ",".join(map(str, status.pids)) or "-", shown


def ports(picture: Picture, page: Page) -> list[str]:
    """As `docker port` prints them, and how each is served."""
    rows = [
        (port.node, f"{port.port}/{port.protocol} -> {_outside(port)}", _served(port, picture))
        for port in picture.ports
    ]
    lines = page.beginning(rows, _more(picture, "ports"), NODE | {2: by_state}, by_node=True)
    return [page.heading("Published ports", "docker port"), *lines]


def _outside(port: Published) -> str:
    host_ip = f"[{port.host_ip}]" if port.host_ip.version == 6 else port.host_ip
    return f"{host_ip}:{port.host_port}"


def _served(port: Published, picture: Picture) -> str:
    if not picture.held:
        return "not held: the proxy is gone"
    return "NAT" if port.translated else "proxy"


def rules(picture: Picture, page: Page) -> list[str]:
    """The lab's nftables table; a line that is too long is continued as nft itself reads it."""
    text = picture.rules.expandtabs(2).rstrip()
    lines = [piece for line in text.splitlines() for piece in _continued(line)]
    return [page.heading("Rules", f"nft list table inet labctl-{picture.lab}"), *(lines or ["  none"])]


def _continued(line: str) -> list[str]:
    """Never inside quotes, where nft would not take it."""
    start = line[: len(line) - len(line.lstrip())]
    lines = [start]
    for word in re.findall(r'(?:"[^"]*"|[^\s"])+', line):
        if lines[-1].strip() and len(lines[-1]) + len(word) > WIDTH - 2:
            lines[-1] += "\\"
            lines.append(start + "    ")
        lines[-1] += f"{word} "
    return [piece.rstrip() for piece in lines]


def _ours_first(inside: Inside) -> list[Interface]:
    return sorted(inside.interfaces, key=lambda interface: not interface.ours)


def _more(picture: Picture, section: str) -> str:
    return f"labctl show {picture.lab} {section}"


SECTIONS: dict[str, Section] = {
    "links": links,
    "bridges": bridges,
    "addresses": addresses,
    "routes": routes,
    "ports": ports,
    "neighbours": neighbours,
    "counters": counters,
    "services": services,
    "rules": rules,
}
OVERVIEW = ("links", "bridges", "addresses", "routes", "ports", "services")
