"""`labctl show` beside the tools it stands for, on a live lab: both must tell the same."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
mount -t tmpfs none /run && mkdir -p /run/netns && ip link set lo up
ip netns add router
ip link add card0 type veth peer name far0 netns router
ip addr add 192.168.178.27/24 dev card0 && ip link set card0 up && ip -n router link set far0 up
ip route add default via 192.168.178.1 proto static metric 100
ip route add 10.8.0.0/16 nexthop via 192.168.178.2 weight 2 nexthop via 192.168.178.3
labctl() { "$PYTHON" -m labctl "$@"; }
labctl up two-containers.yaml $OPTION 2>/dev/null
inside() { labctl exec "$@"; }
inside container1 ping -qc 1 172.17.0.3 >/dev/null
for node in host container1 container2; do
  for what in "link" "addr" "route" "-4 neigh"; do
    echo "@ $node $what"; inside $node ip -j $what
  done
done
echo "@ bridges"; inside host brctl show
echo "@ rules"; labctl show rules | tail -n +4 > /run/rules; inside host nft -c -f /run/rules && echo accepted
echo "@ show"; labctl show --json
echo "@ text"; labctl show
echo "@ ps"; labctl ps --json
labctl down 2>/dev/null
echo "@ left"; labctl ps --json; ls /run
"""


def told(option: str) -> dict[str, str]:
    """What each tool printed, by the title before it."""
    environment = os.environ | {"PYTHON": sys.executable, "PYTHONPATH": str(ROOT), "OPTION": option}
    command = ["unshare", "--net", "--mount", "sh", "-e", "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    parts = re.split(r"^@ (.*)\n", done.stdout, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def of(rows: list[dict[str, Any]], node: str, *keys: str) -> list[tuple[Any, ...]]:
    return [tuple(row[key] for key in keys) for row in rows if row["node"] == node]


@pytest.mark.kernel
@pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root")
@pytest.mark.skipif(not all(map(shutil.which, ("unshare", "brctl", "nft"))), reason="needs unshare, brctl and nft")
@pytest.mark.parametrize("option", ["", "--isolated"], ids=["shared", "isolated"])
def test_show_tells_what_the_tools_tell(option: str) -> None:
    tools = told(option)
    shown = json.loads(tools["show"])
    for node in ("host", "container1", "container2"):
        links = json.loads(tools[f"{node} link"])
        assert sorted(of(shown["links"], node, "index", "name", "mac", "mtu", "state", "master")) == sorted(
            (i["ifindex"], i["ifname"], i["address"], i["mtu"], i["operstate"], i.get("master")) for i in links
        )
        assert of(shown["links"], node, "flags") == [(i["flags"],) for i in links]
        interfaces = json.loads(tools[f"{node} addr"])
        assert of(shown["addresses"], node, "dev", "address") == [
            (i["ifname"], f"{a['local']}/{a['prefixlen']}") for i in interfaces for a in i["addr_info"]
        ]
        routes = [row for row in shown["routes"] if row["node"] == node and ":" not in row["to"]]
        assert [way(route) for route in routes] == [way_of_ip(route) for route in json.loads(tools[f"{node} route"])]
        assert {(n["address"], n["dev"], n["mac"]) for n in shown["neighbours"] if n["node"] == node} >= {
            (n["dst"], n["dev"], n["lladdr"]) for n in json.loads(tools[f"{node} -4 neigh"]) if "lladdr" in n
        }
    check_bridge(shown, tools["bridges"])
    assert tools["rules"].strip() == "accepted"
    assert all(len(line) <= 80 for line in tools["text"].splitlines())
    assert [service["state"] for service in shown["services"]] == ["running", "running"]
    (lab,) = json.loads(tools["ps"])
    assert [node["addresses"] for node in lab["nodes"]] == [["172.17.0.2/16"], ["172.17.0.3/16"]]
    assert tools["left"].split() == ["[]", "netns", "rules"]


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
