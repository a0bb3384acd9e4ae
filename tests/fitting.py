"""What of a carelessly drawn topology fits together: the rest is taken out. Used by strategies.py and edits.py."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import yaml
from sharers import settled

from labctl.errors import TopologyError
from labctl.state import Sysctl
from labctl.topology import load

Data = dict[str, Any]
Reach = dict[str, list[str]]  # subnets by interface
NEIGHBOUR = 13  # of a subnet: an address that nobody is given


def host(subnet: str, number: int) -> str:
    return str(ip_network(subnet)[number])


def subnets_of(bridge: Data) -> list[str]:
    return [bridge["subnet"]] if isinstance(bridge["subnet"], str) else list(bridge["subnet"])


def ends_of(data: Data) -> Iterator[Data]:
    for cable in data.get("links", []):
        for end in cable["endpoints"]:
            node, _, interface = end.partition(":") if isinstance(end, str) else ("", "", "")
            yield {"node": node, "interface": interface} if node else end


def reach(data: Data, name: str) -> Reach:
    """What a namespace is connected to."""
    node = data["namespaces"][name]
    cabled = {
        end["interface"]: [end[key] for key in ("ip", "ip6") if key in end]
        for end in ends_of(data)
        if end["node"] == name
    }
    networks = node.get("networks", {})
    asked = cabled.keys() | {plug["interface"] for plug in networks.values() if "interface" in plug}
    free = (f"eth{n}" for n in range(20) if f"eth{n}" not in asked)
    plugged = {plug.get("interface") or next(free): subnets_of(data["bridges"][b]) for b, plug in networks.items()}
    return cabled | plugged


def mended(data: Data) -> Data:
    """Without what refers to nothing (networks, cables, routes, settings of interfaces), nor what excludes another."""
    nodes = settled(data["namespaces"])
    data["bridges"] = {name: bridge for name, bridge in data["bridges"].items() if "subnet" in bridge}
    for node in nodes.values():
        networks = {bridge: plug for bridge, plug in node.get("networks", {}).items() if bridge in data["bridges"]}
        node["networks"] = networks
        if node.get("count", 1) > 1:
            node.pop("hostname", None)
            for plug in networks.values():
                for key in ("ip", "ip6", "mac"):
                    plug.pop(key, None)
    taken = {(name, p.get("interface")) for name, node in nodes.items() for p in node["networks"].values()}
    data["links"] = [cable for cable in data["links"] if _pluggable(cable, nodes, taken)]
    published: set[str] = set()
    for node in nodes.values():
        node["ports"] = [port for port in node.get("ports", []) if _publishable(port, node, data["bridges"], published)]
    for name, node in nodes.items():
        _without_circles(node, name, nodes)
        reached = reach(data, name)
        node["routes"] = [route for route in node.get("routes", []) if _possible(route, reached)]
        node["sysctls"] = {k: v for k, v in node.get("sysctls", {}).items() if _interface(k) in (None, *reached)}
        for key in ("networks", "ports", "routes", "sysctls"):
            if not node[key]:
                del node[key]
        if all(data["bridges"][name].get("internal") for name in node.get("networks", {})):
            node["extra_hosts"] = {k: v for k, v in node.get("extra_hosts", {}).items() if v != "host-gateway"}
        if not reached:
            node["network_mode"] = "none"
    return data


def _without_circles(node: Data, name: str, nodes: Data) -> None:
    """Processes wait for those of namespaces that come earlier in the alphabet, if those run what they wait for."""
    processes = list(node["run"].values()) if isinstance(node.get("run"), dict) else []
    for waiting in (node, *(process for process in processes if isinstance(process, dict))):
        others = waiting.pop("depends_on", [])
        kept = [other for other in ([others] if isinstance(others, str) else others) if _runs(other, name, nodes)]
        if kept and "run" in node:
            waiting["depends_on"] = kept


def _runs(reference: str, name: str, nodes: Data) -> bool:
    node, _, process = reference.partition("/")
    run = nodes.get(node, {}).get("run")
    return bool(run) and node < name and (not process or process in (run if isinstance(run, dict) else ("main",)))


def _pluggable(cable: Data, nodes: Data, taken: set[tuple[str, Any]]) -> bool:
    """Whether both ends of a cable have a place, which is taken from now on."""
    ends = {(end["node"], end["interface"]) for end in ends_of({"links": [cable]})}
    if len(ends) < 2 or ends & taken or any(name not in nodes or "count" in nodes[name] for name, _ in ends):
        return False
    taken |= ends
    return True


def _publishable(port: str, node: Data, bridges: Data, published: set[str]) -> bool:
    """Whether somebody outside can reach it, and no other has it: it has that one from now on."""
    out = [bridge for name in node["networks"] if not (bridge := bridges[name]).get("internal")]
    six_only = not any("." in subnet for bridge in out for subnet in subnets_of(bridge))
    if not out or (six_only and "." in port) or (node.get("count", 1) > 1 and port != "82"):
        return False
    if port in published and port not in ("82", "9000-9002:83"):
        return False
    published.add(port)
    return True


def _possible(route: Data, reached: Reach) -> bool:
    networks = reached.get(route["dev"], []) if "dev" in route else [n for each in reached.values() for n in each]
    via = route.get("via")
    there = not via or any(via == host(str(ip_network(n, strict=False)), NEIGHBOUR) for n in networks)
    return there and route.get("dev", next(iter(reached), None)) in reached


def _interface(key: str) -> str | None:
    return Sysctl("", key, "").interface


def good(data: Data) -> bool:
    """Whether labctl takes it, and every setting of an interface has its interface."""
    try:
        load(text(data).encode(), "lab.yaml")
    except TopologyError:
        return False
    return True


def text(data: Data) -> str:
    """The topology's file. Networks without settings are written as a list."""
    written = {key: value for key, value in data.items() if value}
    written["namespaces"] = {name: _as_written(node) for name, node in data["namespaces"].items()}
    return yaml.safe_dump(written, sort_keys=False, width=120, default_flow_style=None)


def _as_written(node: Data) -> Data:
    plain = "networks" in node and not any(node["networks"].values())
    return node | {"networks": list(node["networks"])} if plain else node
