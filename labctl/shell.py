"""Operations as the shell a person would type: iproute2, sysctl, nft.

Pure. `script` is complete: run by `sh -e` in a fresh network namespace it builds what `up` builds. The same lines
serve the progress of `up` and the text of an error.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from ipaddress import IPv6Interface
from posixpath import dirname

from labctl import launch
from labctl.plan import Add, Change, Op, Plan, Remove
from labctl.state import (
    BRIDGE_MTU,
    HOST,
    MAIN_TABLE,
    Address,
    File,
    Link,
    Names,
    Namespace,
    Port,
    Proxy,
    Published,
    Route,
    Ruleset,
    Service,
    Sysctl,
)
from labctl.translation import stale

MACHINES = Names()  # of a lab on the machine's own host
PROXY = ("python3", "-IS", f"{dirname(__file__)}/linux/proxy.py")
WORDS = (  # of `ip link add` and `ip link set`, which may all be shortened (iproute2, ip/iplink.c)
    *(
        "addrgenmode",
        "address",
        "alias",
        "allmulticast",
        "arp",
        "broadcast",
        "brd",
        "carrier",
        "dev",
        "down",
        "dynamic",
    ),
    *("group", "gso_max_segs", "help", "index", "link", "link-netns", "link-netnsid", "lladdr", "macaddr", "master"),
    *("mode", "mtu", "multicast", "name", "netns", "node_guid", "nomaster", "notrailers", "numrxqueues", "numtxqueues"),
    *("parentdev", "port_guid", "promisc", "protodown", "qlen", "qlength", "state", "trailers", "txqueuelen", "type"),
    *("up", "vf", "vrf", "xdp", "xdpdrv", "xdpgeneric", "xdpoffload"),
)
SHORT_FORMS = frozenset(word[:length] for word in WORDS for length in range(1, len(word) + 1))
ONE_QUEUE = "numtxqueues 1 numrxqueues 1"  # by default a veth has one per CPU, and costs accordingly


def script(plan: Plan, names: Names = MACHINES) -> str:
    """The plan as a POSIX shell script for `sh -e`, one stanza a node; `names` are those in /run/netns."""
    lines: list[str] = []
    stanza = None
    for op in plan:
        title = _title(op)
        if title != stanza:
            lines += ["", f"# {title}"]
            stanza = title
        lines += [f"# {op.reason}"] if op.reason else []
        lines.append(shell(op, names))
    return "\n".join(lines[1:]) + "\n" if lines else ""


def shell(op: Op, names: Names = MACHINES) -> str:
    """One operation as one or more lines of shell."""
    match op:
        case Add():
            return "\n".join(_add(op, names))
        case Remove():
            return "\n".join(_remove(op, names))
        case Change():
            return "\n".join(_change(op, names))


def _title(op: Op) -> str:
    match op.item:
        case Link(kind="bridge"):
            return f"bridge {op.item.ends[0].name}"
        case Address(node="host"):
            return f"bridge {op.item.dev}"
        case Link(ends=(near, far)) if near.node != HOST:
            return f"cable {near.node}:{near.name} to {far.node}:{far.name}"
        case Link():
            return op.item.ends[-1].node
        case item:
            return item.node


def _add(op: Add, names: Names) -> Iterator[str]:
    match op.item:
        case Namespace() as ns if ns.same_as:
            yield from _share(ns, names)
        case Namespace() as ns:
            yield f"ip netns add {shlex.quote(ns.netns)}"
        case Sysctl() as sysctl:
            yield f"{_inside(sysctl.node, names)}sysctl -qw {shlex.quote(f'{sysctl.name}={sysctl.value}')}"
        case Link() as link:
            yield from _add_link(link, names)
        case Address() as a:
            more = "nodad" if a.interface.version == 6 else "broadcast +"  # a /31 has no broadcast, and ip(8) knows
            yield f"{_ip(a.node, names)} address add {a.interface} {more} dev {a.dev}"
        case Route() as route:
            yield f"{_ip(route.node, names)} route add {_route(route)}"
        case Ruleset() as ruleset:
            yield f"{_inside(HOST, names)}nft -f - <<'NFT'\n{ruleset.text}NFT"
            yield from _forget("", ruleset.text, names)
        case Proxy() as proxy:
            ports = " \\\n  ".join(map(spec, proxy.ports))
            start = f"{proxy.mark} setsid {_inside(HOST, names)}{shlex.join(PROXY)}"
            yield f"{start} \\\n  {ports} </dev/null >/dev/null 2>&1 &"
        case File() as file:
            yield f"install -Dm644 /dev/stdin {_path(file, names)} <<'TEXT'\n{file.text}TEXT"
        case Service() as service:
            yield from launch.start(service, names.netns(service.node))


def _share(ns: Namespace, names: Names) -> Iterator[str]:
    """Another name of a namespace, and of the files that go with it; the machine's own has none."""
    if not ns.netns:
        yield f": {ns.node} is in this namespace"
        return
    yield f"ln -sfn {shlex.quote(names.netns(ns.same_as))} {shlex.quote(f'/run/netns/{ns.netns}')}"
    if ns.same_as != HOST:
        to = shlex.quote(f"/etc/netns/{ns.netns}")
        yield f"mkdir -p /etc/netns && ln -sfn {shlex.quote(names.netns(ns.same_as))} {to}"


def _add_link(link: Link, names: Names) -> Iterator[str]:
    near, far = link.ends[0], link.ends[-1]
    if link.kind == "veth":
        inside = shlex.quote(names.netns(far.node))
        yield (
            f"{_ip(near.node, names)} link add {_named(near.name, 'name')} {_new_port(near, near.mtu)} {ONE_QUEUE}"
            f" type veth peer name {far.name} {_new_port(far, far.mtu)} {ONE_QUEUE} netns {inside}"
        )
    elif link.kind == "bridge":
        stp = " stp_state 1" if link.stp else ""
        yield f"{_ip(near.node, names)} link add {_named(near.name, 'name')} {_new_port(near)} type bridge{stp}"
        if near.mtu != BRIDGE_MTU:
            yield f"{_ip(near.node, names)} link set {_named(near.name)} mtu {near.mtu}"
    for port in dict.fromkeys((near, far)):
        yield from _set_port(None, port, names)


def _named(name: str, word: str = "dev") -> str:
    """An interface as ip-link(8) takes it: what begins like a word of its own needs another one before it."""
    return f"{word} {name}" if name in SHORT_FORMS else name


def _new_port(port: Port, mtu: int | None = None) -> str:
    settings = [f" mtu {mtu}"] if mtu else []
    settings += [f" group {port.group}"] if port.group else []
    return f"index {port.index} address {port.mac}{''.join(settings)}"


def _set_port(before: Port | None, after: Port, names: Names) -> Iterator[str]:
    """The commands that turn a port as created (None) or as found into what it should be; up comes last."""
    command = f"{_ip(after.node, names)} link set {_named(after.name)}"
    if settings := " ".join(_settings(before, after)):
        yield f"{command} {settings}"
    if found := port_settings(before, after):
        words = [f"{name} {'on' if on else 'off'}" for name, on in found.items()]
        yield f"{_ip(after.node, names, 'bridge')} link set dev {after.name} {' '.join(words)}"
    if before and (sysctls := link_local_settings(before, after)):
        words = [f"{name}={value}" for name, value in sysctls]
        yield f"{_inside(after.node, names)}sysctl -qw {' '.join(words)}"
        if before.mac != after.mac:
            yield f"{_ip(after.node, names)} address del {link_local_address(before.mac)} dev {after.name} || :"
    if after.up != (before.up if before else False):
        yield f"{command} {'up' if after.up else 'down'}"


def port_settings(before: Port | None, after: Port) -> dict[str, bool]:
    """What to set of a bridge's port; its settings go when it leaves the bridge."""
    kept = before if before and before.master == after.master else None
    wanted = {"isolated": after.isolated, "hairpin": after.hairpin}
    return {name: on for name, on in wanted.items() if on != bool(kept and getattr(kept, name))}


def link_local_address(mac: str) -> IPv6Interface:
    """The IPv6 link-local address that the kernel makes of a MAC (RFC 4291, appendix A)."""
    first, *rest = bytes.fromhex(mac.replace(":", ""))
    return IPv6Interface((bytes.fromhex("fe80000000000000") + bytes([first ^ 2, *rest[:2], 0xFF, 0xFE, *rest[2:]]), 64))


def link_local_settings(before: Port, after: Port) -> list[tuple[str, str]]:
    """The sysctls that make the IPv6 addresses of an interface that is up follow a change of how they are made."""
    conf = f"net.ipv6.conf.{after.name.replace('.', '/')}"
    had = before.link_local or not before.ipv6  # where IPv6 comes with a higher MTU, so does an address
    if not after.ipv6:
        return []
    if had and not after.link_local:
        return [(f"{conf}.disable_ipv6", "1"), (f"{conf}.disable_ipv6", "0")]
    if after.link_local and before.ipv6 and (before.mac != after.mac or not had):
        return [(f"{conf}.addr_gen_mode", "1"), (f"{conf}.addr_gen_mode", "0")]
    return []


def _settings(before: Port | None, after: Port) -> Iterator[str]:
    if before is not None:
        for word, attribute in (("address", "mac"), ("mtu", "mtu"), ("group", "group")):
            if getattr(before, attribute) != getattr(after, attribute):
                yield f"{word} {getattr(after, attribute)}"
    if after.alias != (before.alias if before else ""):
        yield f"alias {shlex.quote(after.alias)}"
    if after.ipv6 and not after.link_local and (before is None or before.link_local or not before.ipv6):
        yield "addrgenmode none"
    if after.master != (before.master if before else None):
        yield f"master {after.master}" if after.master else "nomaster"


def _route(route: Route) -> str:
    to = "default" if route.to.prefixlen == 0 else str(route.to)
    words = [to if route.to.version == 4 or to != "default" else "::/0"]
    words += [f"via {route.via}"] if route.via else []
    words += [f"dev {route.dev}"] if route.dev else []
    words += [f"metric {route.metric}"] if route.metric and (route.to.version, route.metric) != (6, 1024) else []
    words += [f"table {route.table}"] if route.table != MAIN_TABLE else []
    return " ".join(words)


def spec(port: Published) -> str:
    """A published port as the proxy takes it: tcp/0.0.0.0:8080=172.17.0.2:80, IPv6 in brackets."""
    ends = [(port.host_ip, port.host_port), (port.ip, port.port)]
    outside, inside = (f"[{ip}]:{number}" if ip.version == 6 else f"{ip}:{number}" for ip, number in ends)
    return f"{port.protocol}/{outside}={inside}"


def _remove(op: Remove, names: Names) -> Iterator[str]:
    match op.item:
        case Namespace() as ns if ns.same_as:
            both = " ".join(shlex.quote(f"{folder}/{ns.netns}") for folder in ("/run/netns", "/etc/netns"))
            yield f"rm -f {both}" if ns.netns else f": {ns.node} was in this namespace"
        case Namespace() as ns:
            yield f"ip netns del {shlex.quote(ns.netns)}"
        case Sysctl(node="host") as sysctl:
            yield f": {sysctl.name} of the host goes back to what it was before the lab, unless another lab needs it"
        case Sysctl() as sysctl:
            new = f'"$(unshare --net sysctl -n {sysctl.original})"'
            yield f"{_inside(sysctl.node, names)}sysctl -qw {sysctl.name}={new}"
        case Link() as link:
            yield f"{_ip(link.node, names)} link del {_named(link.ends[0].name)}"
        case Address() as a:
            yield f"{_ip(a.node, names)} address del {a.interface} dev {a.dev}"
        case Route() as route:
            yield f"{_ip(route.node, names)} route del {_route(route)}"
        case Ruleset() as ruleset:
            yield f"{_inside(HOST, names)}nft delete table inet {ruleset.table}"
            yield from _forget(ruleset.text, "", names)
        case Proxy() as proxy:
            yield launch.kill(launch.ALL_PIDS, proxy.mark)
        case File() as file:
            yield f"rm -f {_path(file, names)}"
        case Service() as service:
            yield launch.end(service, names.netns(service.node))


def _forget(before: str, after: str, names: Names) -> Iterator[str]:
    """Flows that NAT would go on to translate as before, or not at all; the latter only where they are for the host."""
    gone, come = stale(before, after)
    missed = {(address or "$ip", port) for protocol, address, port, _, _ in come if protocol == "udp"}
    flows = {f"-p {protocol} --orig-port-dst {port} --reply-src {ip}" for protocol, _, port, ip, _ in gone}
    flows |= {f"-p udp --orig-port-dst {port} --orig-dst {ip}" for ip, port in missed}
    own = f'$({_inside(HOST, names)}ip -oneline address | awk \'{{sub("/.*", "", $4); print $4}}\')'
    for flow in sorted(flows):
        forget = f"{_inside(HOST, names)}conntrack -D {flow} 2>/dev/null || :"
        yield f"for ip in {own}; do {forget}; done" if "$ip" in flow else forget


def _change(op: Change, names: Names) -> Iterator[str]:
    match op.before, op.item:
        case Namespace(), Namespace() as ns:
            yield f": the name {ns.netns} in /run/netns and /etc/netns, and what keeps the namespace"
        case Link() as before, Link() as link:
            for old, new in zip(before.ends, link.ends, strict=True):
                yield from _set_port(old, new, names)
            if before.stp != link.stp:
                bridge = _named(link.ends[0].name)
                yield f"{_ip(link.node, names)} link set {bridge} type bridge stp_state {int(link.stp)}"
        case Ruleset() as old, Ruleset() as ruleset:
            yield f"{_inside(HOST, names)}nft -f - <<'NFT'\n{ruleset.replacement}NFT"
            yield from _forget(old.text, ruleset.text, names)
        case _, Route() as route:
            yield f"{_ip(route.node, names)} route replace {_route(route)}"
        case _, File() as file:
            yield f"cat >{_path(file, names)} <<'TEXT'\n{file.text}TEXT"  # in place: it is mounted where programs run
        case _:
            yield from _add(Add(op.item), names)


def _path(file: File, names: Names) -> str:
    return shlex.quote(f"/etc/netns/{names.netns(file.node)}/{file.name}")


def _ip(node: str, names: Names, tool: str = "ip") -> str:
    netns = names.netns(node)
    return f"{tool} -n {shlex.quote(netns)}" if netns else tool


def _inside(node: str, names: Names) -> str:
    netns = names.netns(node)
    return f"ip netns exec {shlex.quote(netns)} " if netns else ""
