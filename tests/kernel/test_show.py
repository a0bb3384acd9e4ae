"""`labctl show` beside the tools it stands for, on a live lab: both must tell the same."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kernel.machine import Machine, needs

SCENERY = """
ip netns add router
ip link add card0 type veth peer name far0 netns router
ip link set card0 addrgenmode none && ip -n router link set far0 addrgenmode none
ip addr add 192.168.178.27/24 dev card0 && ip link set card0 up && ip -n router link set far0 up
ip route add default via 192.168.178.1 proto static metric 100
ip route add 10.8.0.0/16 nexthop via 192.168.178.2 weight 2 nexthop via 192.168.178.3
"""
TOOLS = "ip -j link; echo; ip -j addr; echo; ip -j route; echo; ip -j -4 neigh"


def of(rows: list[dict[str, Any]], node: str, *keys: str) -> list[tuple[Any, ...]]:
    return [tuple(row[key] for key in keys) for row in rows if row["node"] == node]


@needs("brctl")
@pytest.mark.parametrize("option", ["", "--isolated"], ids=["shared", "isolated"])
def test_show_tells_what_the_tools_tell(machine: Machine, option: str) -> None:
    machine.ok(SCENERY)
    machine.settle()
    machine.up("two-containers.yaml", option)
    machine.inside("container1", "ping -qc 1 -W 5 172.17.0.3")

    shown = json.loads(machine.ok("labctl show --json"))
    for node in ("host", "container1", "container2"):
        printed = machine.inside(node, f"sh -c '{TOOLS}'").splitlines()
        links, interfaces, ways, neighbours = (json.loads(line) for line in printed if line)
        assert sorted(of(shown["links"], node, "index", "name", "mac", "mtu", "state", "master")) == sorted(
            (i["ifindex"], i["ifname"], i["address"], i["mtu"], i["operstate"], i.get("master")) for i in links
        )
        assert of(shown["links"], node, "flags") == [(i["flags"],) for i in links]
        assert of(shown["addresses"], node, "dev", "address") == [
            (i["ifname"], f"{a['local']}/{a['prefixlen']}") for i in interfaces for a in i["addr_info"]
        ]
        routes = [row for row in shown["routes"] if row["node"] == node and ":" not in row["to"]]
        assert [way(route) for route in routes] == [way_of_ip(route) for route in ways]
        assert {(n["address"], n["dev"], n["mac"]) for n in shown["neighbours"] if n["node"] == node} >= {
            (n["dst"], n["dev"], n["lladdr"]) for n in neighbours if "lladdr" in n
        }
    check_bridge(shown, machine.inside("host", "brctl show"))
    rules = "".join(machine.ok("labctl show rules").splitlines(keepends=True)[3:])
    assert machine.run("labctl exec host -- nft -c -f -", rules).status == 0
    assert all(len(line) <= 80 for line in machine.ok("labctl show").splitlines())
    assert [service["state"] for service in shown["services"]] == ["running", "running"]
    (lab,) = json.loads(machine.ok("labctl ps --json"))
    assert [node["addresses"] for node in lab["nodes"]] == [["172.17.0.2/16"], ["172.17.0.3/16"]]
    machine.ok("labctl down")
    assert json.loads(machine.ok("labctl ps --json")) == []


def way(route: dict[str, Any]) -> tuple[Any, ...]:
    to = {"0.0.0.0/0": "default"}.get(route["to"], route["to"])
    hops = [(hop["via"], hop["dev"], hop["weight"]) for hop in route["hops"]]
    return to, route["via"], route["dev"], route["protocol"], route["source"], route["metric"], hops


def way_of_ip(route: dict[str, Any]) -> tuple[Any, ...]:
    hops = [(hop["gateway"], hop["dev"], hop["weight"]) for hop in route.get("nexthops", [])]
    made = route.get("protocol", "boot")
    found = tuple(route.get(key) for key in ("dst", "gateway", "dev"))
    return *found, made, route.get("prefsrc"), route.get("metric", 0), hops


def check_bridge(shown: dict[str, Any], brctl: str) -> None:
    (bridge,) = shown["bridges"]
    name, id_, stp, *ports = brctl.splitlines()[1].split() + brctl.split()[-1:]
    assert (bridge["name"], bridge["id"], bridge["stp"]) == (name, id_, stp == "yes")
    assert sorted(bridge["interfaces"]) == sorted(ports)
    peers = {link["name"]: link["peer"]["node"] for link in shown["links"] if link["master"] == name}
    assert sorted(peers.values()) == ["container1", "container2"]
