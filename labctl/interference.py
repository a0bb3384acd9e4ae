"""What on a host interferes with a lab on its own network: firewalls, services, sysctls, routes, leftovers. Pure.

An isolated lab is out of reach of nearly all of it, and the remedies say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from ipaddress import IPv4Network, ip_network
from math import isqrt

from labctl.conflicts import POOLS, HostRoute, free_subnet
from labctl.facts import Chain, Finding, Host
from labctl.fields import replace
from labctl.limits import BACKLOG, NEIGHBOURS
from labctl.written import Network

FILE = "/etc/sysctl.d/60-labctl.conf"
ISOLATED = "labctl up --isolated FILE"
ENOUGH_NEIGHBOURS = 8192  # entries, of which nobody needs to hear
MAX_PORTS = 1023  # of a bridge
VETH = "veth1234567"  # as a lab's are called
ok, note, warning, problem = (partial(Finding, "host", level) for level in ("ok", "note", "warning", "problem"))


def interference(host: Host, shipped: Mapping[str, tuple[Network, ...]], rootless: bool) -> tuple[Finding, ...]:
    """An ordinary user's labs are always isolated."""
    everywhere = (*_rp_filter(host), *_limits(host), *_leftovers(host))
    if rootless:
        return (
            ok("Firewalls, services and routes of this machine do not reach your labs: they are isolated."),
            *everywhere,
        )
    on_this_host = (*_firewalls(host), *_bridge_nf(host), *_configurators(host), *_routes(host.routes, shipped))
    found = (*on_this_host, *everywhere)
    quiet = all(finding.level in ("ok", "note") for finding in found)
    return (ok("Nothing on this machine interferes with a lab on its network."), *found) if quiet else found


def _firewalls(host: Host) -> Iterator[Finding]:
    running = _running(host)
    if host.chains is None:
        for keeper in running:
            yield warning(f"{keeper} is active here, and may drop what a lab forwards.", _let_through(keeper, ()))
        what = "The firewall rules of this machine were not looked at: that takes root and nft."
        return (yield note(what, "sudo labctl doctor"))
    by: dict[str, list[Chain]] = {}
    for chain in sorted(host.chains):
        by.setdefault(_keeper(chain, running), []).append(chain)
    for keeper, chains in by.items():
        named = ", ".join(f"{chain} ({chain.by})" for chain in chains)
        who = keeper if keeper in (*running, "firewalld") else "A firewall"
        yield warning(
            f"{who} drops what a lab forwards, unless a rule lets it through: {named}.", _let_through(keeper, chains)
        )


def blocked(host: Host, bridges: Sequence[str]) -> Iterator[Finding]:
    """What a lab that is up on this machine should know: who drops what its bridges forward."""
    for finding in _firewalls(host):
        lines = finding.remedy.splitlines()
        named = [line for line in lines if "BRIDGE" not in line]
        each = [line.replace("BRIDGE", bridge) for bridge in bridges for line in lines if "BRIDGE" in line]
        yield replace(finding, remedy="\n".join([*named, *each]))


def _running(host: Host) -> list[str]:
    """Those that keep firewall rules of their own, the strictest first."""
    services = {"firewalld": "firewalld", "dockerd": "Docker"}
    return [*(["ufw"] if host.ufw else []), *(who for name, who in services.items() if name in host.services)]


def _keeper(chain: Chain, running: list[str]) -> str:
    """Who to talk to about a chain: a running service, or the tool that wrote it."""
    if chain.table == "firewalld":
        return "firewalld"
    if chain.table == "filter" and chain.name == "FORWARD":
        return running[0] if running else "iptables"
    return "nft"


def _let_through(keeper: str, chains: Iterable[Chain]) -> str:
    match keeper:
        case "ufw":
            lines = ["ufw route allow in on BRIDGE", "ufw route allow out on BRIDGE"]
        case "firewalld":
            lines = ["firewall-cmd --permanent --zone=trusted --add-interface=BRIDGE", "firewall-cmd --reload"]
        case "nft":
            own = {"bridge": "brname"}  # in that family an interface is a port
            ways = [(chain, f"{way}{own.get(chain.family, 'ifname')}") for chain in chains for way in "io"]
            lines = [f"nft insert rule {chain} {way} BRIDGE accept" for chain, way in ways]
        case _:
            first = "DOCKER-USER" if keeper == "Docker" else "FORWARD"
            tools = dict.fromkeys(_iptables(chain.family) for chain in chains) or ["iptables"]
            lines = [f"{tool} -I {first} -{way} BRIDGE -j ACCEPT" for tool in tools for way in "io"]
    return "\n  ".join([f"{ISOLATED}; or let the lab's bridge through:", *lines])


def _iptables(family: str) -> str:
    return {"ip": "iptables", "ip6": "ip6tables"}.get(family, family)


def _bridge_nf(host: Host) -> Iterator[Finding]:
    if host.bridge_nf:
        settings = [f"net.bridge.bridge-nf-call-{tool}" for tool in host.bridge_nf]
        told = "Frames between two nodes of a bridge pass this machine's firewall too"
        strict = bool(_running(host)) if host.chains is None else bool(host.chains)
        yield (warning if strict else note)(
            f"{told} ({', '.join(f'{setting} = 1' for setting in settings)}).",
            _sysctl(f"{ISOLATED}; or, if neither Kubernetes nor Docker needs it", *(f"{s}=0" for s in settings)),
        )


def _configurators(host: Host) -> Iterator[Finding]:
    """Services that may give a new interface an address of their own, or take the lab's away."""
    if "NetworkManager" in host.services and not host.veth_unmanaged:
        yield warning(
            "NetworkManager runs, and may configure the interfaces of a lab.",
            f"{ISOLATED}; or write /etc/NetworkManager/conf.d/60-labctl.conf:\n  [keyfile]\n"
            "  unmanaged-devices+=interface-name:veth*\nand then:\n  systemctl reload NetworkManager",
        )
    path, text = next(((path, text) for path, text in host.networks if _is_for_veth(text)), ("", ""))
    if "systemd-network" in host.services and path and not _unmanaged(text):
        yield warning(
            f"systemd-networkd configures the interfaces of a lab, for they match {path}.",
            f"{ISOLATED}; or write /etc/systemd/network/05-labctl.network:\n  [Match]\n  Name=veth*\n"
            "  [Link]\n  Unmanaged=yes\nand then:\n  networkctl reload",
        )


def networks_in_order(files: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """As systemd-networkd reads them: by file name, whatever the folder; of two with one name the first given."""
    by_name: dict[str, tuple[str, str]] = {}
    for path, text in files:
        by_name.setdefault(path.rpartition("/")[2], (path, text))
    return tuple(by_name[name] for name in sorted(by_name))


def _is_for_veth(text: str) -> bool:
    """Whether a .network file is for a lab's veth; one for a given MAC address or path is not."""
    own = {"Name": VETH, "Type": "ether", "Kind": "veth", "Driver": "veth"}
    wanted = [(key, value) for section, key, value in _settings(text) if section == "Match"]
    return bool(wanted) and all(key in own and _matches(own[key], value) for key, value in wanted)


def _unmanaged(text: str) -> bool:
    return any(key == "Unmanaged" and value in ("yes", "true", "1", "on") for _, key, value in _settings(text))


def _settings(text: str) -> Iterator[tuple[str, str, str]]:
    """(section, key, value) of a unit file of systemd's."""
    section = ""
    for line in map(str.strip, text.splitlines()):
        key, equals, value = line.partition("=")
        if line.startswith("["):
            section = line.strip("[]")
        elif equals and line[0] not in "#;":
            yield section, key.strip(), value.strip()


def _matches(name: str, patterns: str) -> bool:
    positive = not patterns.startswith("!")
    return any(fnmatchcase(name, pattern) for pattern in patterns.removeprefix("!").split()) is positive


def _rp_filter(host: Host) -> Iterator[Finding]:
    """The greater of `all` and an interface's own value counts, and a new interface starts with `default`."""
    strict = [name for name, value in host.rp_filter.items() if value == 1]
    if strict and max(host.rp_filter.values()) == 1:
        named = ", ".join(f"net.ipv4.conf.{name}.rp_filter = 1" for name in strict)
        yield warning(
            f"Packets that come by another way than their answers would go are dropped, also in nodes ({named}).",
            _sysctl(
                "In a node, `sysctls: {net.ipv4.conf.all.rp_filter: 2}` in the file; or everywhere",
                "net.ipv4.conf.all.rp_filter=2",
            ),
        )


def _routes(routes: tuple[HostRoute, ...], shipped: Mapping[str, tuple[Network, ...]]) -> Iterator[Finding]:
    used = [route.to for route in routes]
    free = free_subnet([*used, *(subnet for subnets in shipped.values() for subnet in subnets)])
    other = f"{ISOLATED}; or choose another subnet in the file{f': {free} is free' if free else ''}"
    told: dict[HostRoute, list[tuple[str, Network]]] = {}
    for name, subnets in shipped.items():
        culprits = [(subnet, route) for subnet in subnets for route in routes if _overlap(subnet, route.to)]
        for subnet, route in culprits[:1]:
            told.setdefault(route, []).append((name, subnet))
    for route, users in told.items():
        name, subnet = users[0]
        named = f"the topology {name} uses {subnet}"
        if len(users) > 1:
            named = f"the topologies {', '.join(name for name, _ in users)} use addresses in it"
        yield warning(f"This machine reaches {route.to} through {route.dev}, and {named}.", other.replace("FILE", name))
    pools = [IPv4Network(pool) for pool in POOLS]
    rest = [r for r in routes if r not in told and any(_overlap(pool, r.to) for pool in pools)]
    if rest:
        named = ", ".join(f"{route.to} ({route.dev})" for route in rest)
        yield note(f"Of the subnets that Docker gives to networks, some are in use here: {named}.", other)


def _overlap(a: Network, b: Network) -> bool:
    return a.version == b.version and ip_network(a).overlaps(ip_network(b))


def _limits(host: Host) -> Iterator[Finding]:
    """All namespaces have the neighbour tables' limits in common, and the queue of packets for a CPU."""
    known = {version: limit for version, limit in host.neighbours.items() if limit is not None}
    if not known or host.backlog is None:
        what = (
            "How large labs may be (net.ipv4.neigh.default.gc_thresh3, net.core.netdev_max_backlog) is not to be seen"
        )
        yield note(f"{what} in this network namespace.", "labctl doctor, in the machine's own")
    few = {version: limit for version, limit in known.items() if limit < ENOUGH_NEIGHBOURS}
    if few:
        named = ", ".join(f"net.ipv{version}.neigh.default.gc_thresh3 = {limit}" for version, limit in few.items())
        less = min(few.values())
        what = f"Enough for {less // 2} nodes that talk to their gateway, or {isqrt(less)} that all talk to each other"
        settings = [
            f"net.ipv{version}.neigh.default.gc_thresh{n}={NEIGHBOURS >> (3 - n)}" for version in few for n in (2, 3)
        ]
        yield note(f"{what}: {named}.", _sysctl("For larger labs", *settings))
    if host.backlog is not None and host.backlog < MAX_PORTS:
        what = f"A broadcast reaches {host.backlog} nodes of a bridge at most (net.core.netdev_max_backlog)."
        yield note(what, _sysctl("For larger bridges", f"net.core.netdev_max_backlog={BACKLOG}"))


def _leftovers(host: Host) -> Iterator[Finding]:
    if not host.run_writable:
        yield problem("/run/labctl cannot be written.", "mount -o remount,rw /run")
    if host.run != "tmpfs":
        what = f"/run is {host.run}, so the records of labs outlive a reboot, which the labs do not."
        yield note(what, "After a reboot: labctl down --all")
    for lab in host.damaged:
        what = f"/run/labctl/{lab} is of a lab, but its record lab.json is missing or cannot be read."
        yield warning(what, f"labctl down {lab}")


def _sysctl(first: str, *settings: str) -> str:
    return "\n  ".join([f"{first} (to keep it, also in {FILE}):", *(f"sysctl -w {setting}" for setting in settings)])
