"""Pictures as JSON-able data. The keys are documented in docs/json.md and stay: new ones may come, none goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from labctl.picture import End, Hop, Inside, Interface, Picture, RouteEntry, Status, mates
from labctl.view.ps import Lab, Unreadable, addresses_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Data = dict[str, Any]


def show_data(picture: Picture, sections: Sequence[str] = ()) -> Data:
    """Flat lists, each row with its node; without sections all of them."""
    chosen = {name: READ[name](picture) for name in sections or READ}
    return {
        "lab": picture.lab,
        "file": picture.file,
        "isolated": picture.isolated,
        "nodes": [inside.node for inside in picture.nodes],
        "gone": picture.gone,
        **chosen,
    }


def ps_data(labs: Sequence[Lab]) -> list[Data]:
    return [_lab(lab) for lab in labs]


def _lab(lab: Lab) -> Data:
    match lab:
        case Unreadable():
            return {"lab": lab.lab, "file": None, "isolated": None, "problem": lab.problem, "nodes": []}
        case Picture():
            problem = f"gone: {', '.join(lab.gone)}" if lab.gone else None
            nodes = [_node(inside) for inside in lab.nodes]
            return {"lab": lab.lab, "file": lab.file, "isolated": lab.isolated, "problem": problem, "nodes": nodes}


def _node(inside: Inside) -> Data:
    return {
        "node": inside.node,
        "gone": not inside.there,
        "same_as": inside.same_as or None,
        "addresses": addresses_of(inside),
        "services": [_status(status) for status in inside.services],
        "processes": list(inside.pids),
    }


def _status(status: Status) -> Data:
    return {
        "name": status.service.name,
        "state": status.state,
        "pids": list(status.pids),
        "exit_status": status.exit_status,
        "signal": status.signal or None,
        "restarts": int(status.report.restarts) if status.report else 0,
        "ready": status.ready,
    }


def _links(picture: Picture) -> list[Data]:
    others = mates(picture)
    return [
        {
            "node": node,
            "index": interface.index,
            "name": interface.name,
            "kind": interface.kind,
            "flags": list(interface.flags),
            "mtu": interface.mtu,
            "mac": interface.mac,
            "state": interface.state,
            "master": interface.master,
            "other_end": interface.other_end,
            "peer": _peer(others.get((node, interface.name))),
            "ours": interface.ours,
            "alias": interface.alias,
            "group": interface.group,
        }
        for node, interface in _interfaces(picture)
    ]


def _peer(end: End | None) -> Data | None:
    return {"node": end.node, "name": end.interface.name, "index": end.interface.index} if end else None


def _bridges(picture: Picture) -> list[Data]:
    return [
        {
            "node": inside.node,
            "name": interface.name,
            "id": interface.bridge.id,
            "stp": interface.bridge.stp,
            "interfaces": [port.name for port in inside.interfaces if port.master == interface.name],
            "ours": interface.ours,
        }
        for inside in picture.everywhere
        for interface in inside.interfaces
        if interface.bridge
    ]


def _addresses(picture: Picture) -> list[Data]:
    return [
        {"node": node, "dev": interface.name, "address": str(address), "mac": interface.mac}
        for node, interface in _interfaces(picture)
        for address in interface.addresses
    ]


def _routes(picture: Picture) -> list[Data]:
    return [
        {
            "node": inside.node,
            "to": str(route.to),
            **_way(route),
            "kind": route.kind,
            "protocol": route.protocol,
            "scope": route.scope,
            "source": str(route.source) if route.source else None,
            "metric": route.metric,
            "flags": list(route.flags),
            "hops": [_way(hop) | {"weight": hop.weight} for hop in route.hops],
        }
        for inside in picture.everywhere
        for route in inside.routes
    ]


def _way(route: RouteEntry | Hop) -> Data:
    return {"via": str(route.via) if route.via else None, "dev": route.dev}


def _neighbours(picture: Picture) -> list[Data]:
    return [
        {"node": inside.node, "dev": found.dev, "address": str(found.address), "mac": found.mac, "state": found.state}
        for inside in picture.everywhere
        for found in inside.neighbours
    ]


def _counters(picture: Picture) -> list[Data]:
    return [
        {"node": node, "name": interface.name, "rx": vars(interface.rx), "tx": vars(interface.tx)}
        for node, interface in _interfaces(picture)
    ]


def _ports(picture: Picture) -> list[Data]:
    return [
        {
            "node": port.node,
            "protocol": port.protocol,
            "host_ip": str(port.host_ip),
            "host_port": port.host_port,
            "ip": str(port.ip),
            "port": port.port,
            "by": "nat" if port.translated else "proxy",
            "held": picture.held,
        }
        for port in picture.ports
    ]


def _services(picture: Picture) -> list[Data]:
    return [
        {"node": status.service.node, **_status(status), "command": list(status.service.command)}
        for inside in picture.everywhere
        for status in inside.services
    ]


def _interfaces(picture: Picture) -> Iterator[tuple[str, Interface]]:
    return ((inside.node, interface) for inside in picture.everywhere for interface in inside.interfaces)


READ: dict[str, Callable[[Picture], Any]] = {
    "links": _links,
    "bridges": _bridges,
    "addresses": _addresses,
    "routes": _routes,
    "ports": _ports,
    "neighbours": _neighbours,
    "counters": _counters,
    "services": _services,
    "rules": lambda picture: picture.rules,
}
