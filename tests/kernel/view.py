"""What the machine's network is, by its own tools: run in a private machine it prints that as JSON.

Independent of labctl: ip(8) in the host's namespace and in each that has a name, as a person would look.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

LOOKS = "link show\naddress show\nroute show table all\nrule show\n"
NETNS = Path("/run/netns")
# Given by chance, or changing with time; a bridge with STP has its carrier, and so a route, half a minute later.
CHANGING = {"link_netnsid", "tentative", "stats64", "operstate", "state", "LOWER_UP", "NO-CARRIER", "linkdown"}
TIMERS = ("timer", "root_id", "bridge_id")
# A bridge counts its ports as they come, and takes their limits for segmentation when one comes or goes.
ORDER_OF_ARRIVAL = {"no", "id", "designated_port", "tso_max_size", "tso_max_segs"}


def network() -> dict[str, Any]:
    """Links, addresses, routes and rules, IPv4's and IPv6's, by the namespace's name; the host's is empty."""
    names = ["", *sorted(entry.name for entry in NETNS.iterdir())] if NETNS.is_dir() else [""]
    return {name: [_look(name, family) for family in ("-4", "-6")] for name in names}


def _look(name: str, family: str) -> Any:
    command = ["ip", *(["-n", name] if name else []), family, "-j", "-details", "-batch", "-"]
    done = subprocess.run(command, input=LOOKS, capture_output=True, text=True, check=True)
    return lasting([json.loads(line) for line in done.stdout.splitlines() if line])


def lasting(value: Any) -> Any:
    """Without what is no property of the network."""
    if isinstance(value, list):
        return sorted((lasting(each) for each in value if not (isinstance(each, str) and each in CHANGING)), key=repr)
    if isinstance(value, dict):
        passing = CHANGING | ORDER_OF_ARRIVAL
        return {k: lasting(v) for k, v in value.items() if k not in passing and not k.endswith(TIMERS)}
    return value


if __name__ == "__main__":
    print(json.dumps(network()))
