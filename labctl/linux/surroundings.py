"""What else is on this machine, in the network namespace of the calling thread: firewalls, services, routes, /run."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from ipaddress import ip_network
from pathlib import Path
from socket import AF_INET, AF_INET6
from typing import Any

from labctl.conflicts import HostRoute
from labctl.errors import LabError
from labctl.facts import Chain, Host
from labctl.interference import networks_in_order
from labctl.linux import rtnetlink as rt
from labctl.linux import store
from labctl.linux.capacity import limits
from labctl.linux.entrance import RUN
from labctl.linux.netlink import Socket
from labctl.linux.readings import number, output, text

SERVICES = frozenset({"firewalld", "dockerd", "NetworkManager", "systemd-network"})  # the kernel cuts at 15 characters
NETWORKD = (
    "/etc/systemd/network",
    "/run/systemd/network",
    "/usr/local/lib/systemd/network",
    "/usr/lib/systemd/network",
)
NM = ("/etc/NetworkManager", "/run/NetworkManager/conf.d", "/usr/lib/NetworkManager/conf.d")
UDEV = ("/etc/udev/rules.d", "/run/udev/rules.d", "/usr/lib/udev/rules.d", "/lib/udev/rules.d")
RT_TABLE_LOCAL = 255
ENDS = ("drop", "reject")


def host(root: bool) -> Host:
    services = frozenset(_services())
    return Host(
        _chains(),
        tuple(t for t in ("iptables", "ip6tables") if number(f"net.bridge.bridge-nf-call-{t}") == 1),
        services,
        _ufw(text("/etc/ufw/ufw.conf")),
        "NetworkManager" in services and _veth_unmanaged(),
        networks_in_order(_files(NETWORKD, "*.network")) if "systemd-network" in services else (),
        {
            name: value
            for name in ("all", "default")
            if (value := number(f"net.ipv4.conf.{name}.rp_filter")) is not None
        },
        tuple(_routes()),
        limits().neighbours,
        limits().backlog,
        _file_system(RUN),
        not root or os.access(next(filter(os.path.isdir, (RUN, *map(str, Path(RUN).parents)))), os.W_OK | os.X_OK),
        tuple(_damaged()),
    )


def _chains() -> tuple[Chain, ...] | None:
    listed = output("nft", "-j", "list", "ruleset")
    return None if listed is None else (*chains(json.loads(listed)), *_legacy())


def blocking(bridges: Sequence[str]) -> Host:
    """Of the machine only what drops the forwarded packets of some bridges, and who keeps it.

    A table that names every one of the bridges is taken to let them through.
    """
    listed = output("nft", "-j", "list", "ruleset")
    ruleset = json.loads(listed) if listed else {"nftables": []}
    told: dict[tuple[str, str], str] = {}
    for rule in (item["rule"] for item in ruleset["nftables"] if "rule" in item):
        table = rule["family"], rule["table"]
        told[table] = told.get(table, "") + json.dumps(rule["expr"])
    found = [*chains(ruleset), *_legacy()]
    for chain in found:
        if chain.family.endswith("-legacy"):
            told[chain.family, chain.table] = output(chain.family, "-S") or ""
    words = [re.compile(rf"\b{re.escape(bridge)}\b") for bridge in bridges]
    strict = [c for c in found if not all(word.search(told.get((c.family, c.table), "")) for word in words)]
    if not strict:
        return Host()
    return Host(tuple(strict), services=frozenset(_services()), ufw=_ufw(text("/etc/ufw/ufw.conf")))


def chains(ruleset: Any) -> Iterator[Chain]:
    """Those of the forward hook that end in a drop or a reject, in what `nft -j list ruleset` prints."""
    items = ruleset["nftables"]
    last = {_name(item["rule"]): item["rule"] for item in items if "rule" in item}
    for chain in (item["chain"] for item in items if "chain" in item):
        name = _name(chain, "name")
        end = _end(last[name]) if name in last else ""
        if chain.get("hook") == "forward" and (end or chain.get("policy") == "drop"):
            yield Chain(*name, f"last rule {end}" if end else "policy drop")


def _name(item: Any, chain: str = "chain") -> tuple[str, str, str]:
    return item["family"], item["table"], item[chain]


def _end(rule: Any) -> str:
    """What a rule without a condition does with everything."""
    words = [word for statement in rule["expr"] for word in statement]
    return words[-1] if words and words[-1] in ENDS and set(words[:-1]) <= {"counter", "log"} else ""


def _legacy() -> Iterator[Chain]:
    """iptables of before nftables. Looked at only where its table exists, for looking would make it."""
    for family in ("ip", "ip6"):
        tool = f"{family}tables-legacy"
        if "filter" in text(f"/proc/net/{family}_tables_names").split() and shutil.which(tool):
            first, *_, last = (output(tool, "-S", "FORWARD") or "").splitlines() or [""]
            for end in ENDS:
                if f"-A FORWARD -j {end.upper()}" in last or first == f"-P FORWARD {end.upper()}":
                    yield Chain(tool, "filter", "FORWARD", "policy drop" if last == first else f"last rule {end}")


def _services() -> Iterator[str]:
    """Names of the processes that are looked for. Those of another network namespace, a container's, do not count."""
    mine = _network("self")
    for pid in filter(str.isdigit, os.listdir("/proc")):
        name = text(f"/proc/{pid}/comm").strip()
        if name in SERVICES and _network(pid) in (mine, ""):
            yield name


def _network(pid: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return ""  # another user's


def _ufw(settings: str) -> bool:
    return any(line.replace(" ", "").lower() == "enabled=yes" for line in settings.splitlines())


def _veth_unmanaged() -> bool:
    """NetworkManager leaves veth alone by a udev rule of its own, or by a setting."""
    lines = [line for _, whole in (*_files(UDEV, "*.rules"), *_files(NM, "*.conf")) for line in whole.splitlines()]
    return any("veth" in line and ("NM_UNMANAGED" in line or "unmanaged-devices" in line) for line in lines)


def _files(folders: tuple[str, ...], pattern: str) -> Iterator[tuple[str, str]]:
    for folder in folders:
        for path in sorted(map(str, Path(folder).rglob(pattern))):
            yield path, text(path)


def _routes() -> Iterator[HostRoute]:
    """All but the labs' own; none where netlink cannot be used."""
    try:
        with Socket() as kernel:
            links = [rt.Link(data) for data in kernel.dump(rt.dump(rt.RTM_GETLINK))]
            found = [rt.Route(data) for f in (AF_INET, AF_INET6) for data in kernel.dump(rt.dump(rt.RTM_GETROUTE, f))]
    except OSError:
        return
    names = {link.index: link.name for link in links}
    own = {link.index for link in links if link.text(rt.IFLA_IFALIAS).startswith("labctl:")}
    for route in found:
        if route.to and route.table != RT_TABLE_LOCAL and route.type == rt.RTN_UNICAST and route.index not in own:
            yield HostRoute(ip_network((route.to, route.prefix)), names.get(route.index, "several ways"))


def _file_system(path: str) -> str:
    """Of the mount that a path is on: the last of those with the longest name (proc(5), mountinfo)."""
    mounts = [line.split(" - ") for line in text("/proc/self/mountinfo").splitlines()]
    kinds = {left.split()[4].rstrip("/"): right.split()[0] for left, right in mounts}
    above = [path, *(str(parent).rstrip("/") for parent in Path(path).parents)]
    return next((kinds[folder] for folder in above if folder in kinds), "tmpfs")


def _damaged() -> Iterator[str]:
    """Labs with files but no record, or one that cannot be read. An empty folder is one that `up` just made."""
    try:
        folders = sorted(entry.name for entry in os.scandir(RUN) if entry.is_dir() and os.listdir(entry))
    except OSError:
        return
    for lab in folders:
        try:
            if store.load(lab) is None:
                yield lab
        except LabError:
            yield lab
