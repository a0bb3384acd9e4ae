"""What a lab forwards, hides, translates and drops, as the text of one nftables table. Pure: strings only.

The rules are static; bridges, subnets and ports are elements of sets and maps, so a bigger lab has bigger sets and no
more rules. Behaviour is Docker's (v29): nodes of a bridge talk to each other and out, masqueraded; nobody gets in from
another bridge or from outside but by a published port. Everything happens in the lab's own table; an `accept` in it
ends only its own chain, so a drop in the host's other tables still counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from labctl.ownership import table_mark
from labctl.publish import Opened
from labctl.state import Published, Ruleset
from labctl.written import ROUTED, UNPROTECTED, Bridge, IPAddress

Translation = tuple[
    str, str, int, str, int
]  # protocol, address of the host or "", its port, address and port of a node


def ruleset(
    lab: str,
    bridges: Iterable[Bridge],
    found: Mapping[str, str],
    published: Iterable[Published] = (),
    opened: Iterable[Opened] = (),
) -> Ruleset:
    """The table `inet labctl-<lab>`; its comment is the lab's mark, and tells the settings that the host had before."""
    table = f"labctl-{lab}"
    bridges = sorted(bridges, key=lambda bridge: bridge.name)
    parts = [*_bridge_sets(bridges)]
    for version in (4, 6):
        parts += [*_subnet_sets(bridges, version), *_port_sets(published, opened, version)]
    comment = f'\tcomment "{table_mark(lab, found)}"\n\n'
    return Ruleset(table, f"table inet {table} {{\n{comment}{''.join(parts)}{CHAINS}}}\n")


def _bridge_sets(bridges: list[Bridge]) -> Iterator[str]:
    yield _set("bridges", "ifname", [_quoted(b.name) for b in bridges])
    yield _set("internal", "ifname", [_quoted(b.name) for b in bridges if b.internal])
    yield _set("same", "ifname . ifname", [f"{_quoted(b.name)} . {_quoted(b.name)}" for b in bridges])
    yield _set("noicc", "ifname . ifname", [f"{_quoted(b.name)} . {_quoted(b.name)}" for b in bridges if not b.icc])
    for name, mode in (("routed", ROUTED), ("unprotected", UNPROTECTED)):
        ways = [(4, "ipv4"), (6, "ipv6")]
        found = [
            f"{word} . {_quoted(b.name)}" for b in bridges for n, word in ways if n in b.ways_out and b.mode(n) == mode
        ]
        yield _set(name, "nf_proto . ifname", found)


def _subnet_sets(bridges: list[Bridge], version: int) -> Iterator[str]:
    homes = [(bridge, subnet) for bridge in bridges for subnet in bridge.subnets if subnet.version == version]
    out = [(b, subnet) for b, subnet in homes if b.masquerade and version in b.ways_out and b.mode(version) != ROUTED]
    fixed = {b.name: address for b in bridges for address in b.snat if address.version == version}
    kind = f"ipv{version}_addr"
    home = [f"{_quoted(bridge.name)} . {subnet}" for bridge, subnet in homes]
    yield _set(f"home{version}", f"ifname . {kind}", home, interval=True)
    yield _set(f"nat{version}", kind, [str(subnet) for b, subnet in out if b.name not in fixed], interval=True)
    snat = [f"{subnet} : {fixed[b.name]}" for b, subnet in out if b.name in fixed]
    yield _map(f"snat{version}", f"{kind} : {kind}", snat, interval=True)


def _port_sets(published: Iterable[Published], opened: Iterable[Opened], version: int) -> Iterator[str]:
    kind, port = f"ipv{version}_addr", "inet_proto . inet_service"
    own = [each for each in published if each.translated and each.ip.version == version]
    anywhere = [f"{each.protocol} . {each.host_port} : {each.ip} . {each.port}" for each in own if _any(each.host_ip)]
    at = [
        f"{each.host_ip} . {each.protocol} . {each.host_port} : {each.ip} . {each.port}"
        for each in own
        if not _any(each.host_ip)
    ]
    yield _map(f"published{version}", f"{port} : {kind} . inet_service", anywhere)
    yield _map(f"published{version}_at", f"{kind} . {port} : {kind} . inet_service", at)
    if version == 4:
        loopback = [f"{each.host_ip} . {each.protocol} . {each.host_port}" for each in own if each.host_ip.is_loopback]
        yield _set("loopback4", f"{kind} . {port}", loopback)
    free = [f"{each.ip} . {each.protocol} . {each.port}" for each in opened if each.ip.version == version]
    yield _set(f"opened{version}", f"{kind} . {port}", free)


def _any(address: IPAddress) -> bool:
    return address.is_unspecified


def _quoted(name: str) -> str:
    return f'"{name}"'


def _set(name: str, type_: str, elements: list[str], *, interval: bool = False, word: str = "set") -> str:
    flags = "\t\tflags interval\n" if interval else ""
    listed = f"\t\telements = {{ {', '.join(elements)} }}\n" if elements else ""
    return f"\t{word} {name} {{\n\t\ttype {type_}\n{flags}{listed}\t}}\n\n"


def _map(name: str, type_: str, elements: list[str], *, interval: bool = False) -> str:
    return _set(name, type_, elements, interval=interval, word="map")


CHAINS = """\
	chain guard {
		type filter hook prerouting priority raw; policy accept;
		iifname @bridges ip daddr 127.0.0.0/8 counter drop comment "the host's loopback is not for nodes"
		iifname != "lo" ip daddr . meta l4proto . th dport @loopback4 counter drop comment "published to the host alone"
	}

	chain prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		ip daddr != 127.0.0.0/8 fib daddr type local counter jump published comment "to an address of the host"
		meta nfproto ipv6 fib daddr type local counter jump published comment "to an address of the host"
	}

	chain output {
		type nat hook output priority -100; policy accept;
		ip6 daddr ::1 return comment "the kernel routes nothing from there; the proxy serves it"
		fib daddr type local counter jump published comment "from the host itself"
	}

	chain published {
		dnat ip to ip daddr . meta l4proto . th dport map @published4_at
		dnat ip to meta l4proto . th dport map @published4
		ip6 saddr fe80::/10 return comment "no way back from another link; the proxy serves it"
		dnat ip6 to ip6 daddr . meta l4proto . th dport map @published6_at
		dnat ip6 to meta l4proto . th dport map @published6
	}

	chain forward {
		type filter hook forward priority filter; policy accept;
		oifname @bridges jump to_lab
		iifname @internal counter drop comment "internal: no way out"
	}

	chain to_lab {
		ct state established,related counter accept comment "answers"
		iifname . oifname @noicc ct status dnat counter accept comment "icc: false, but published"
		iifname . oifname @noicc counter drop comment "icc: false"
		iifname . oifname @same counter accept comment "same bridge"
		oifname @internal counter drop comment "internal: no way in"
		iifname @internal counter drop comment "internal: no way out"
		ct status dnat counter accept comment "published"
		meta nfproto . oifname @unprotected counter accept comment "gateway_mode: nat-unprotected"
		meta nfproto . oifname @routed meta l4proto { icmp, ipv6-icmp } counter accept comment "gateway_mode: routed"
		ip daddr . meta l4proto . th dport @opened4 counter accept comment "gateway_mode: routed, published"
		ip6 daddr . meta l4proto . th dport @opened6 counter accept comment "gateway_mode: routed, published"
		counter drop comment "other bridges and outside have no way in"
	}

	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		oifname . ip saddr @home4 ct status dnat counter masquerade comment "published, from the same bridge"
		oifname . ip6 saddr @home6 ct status dnat counter masquerade comment "published, from the same bridge"
		oifname @bridges ip saddr 127.0.0.0/8 counter masquerade comment "published, from the host's loopback"
		oifname . ip saddr @home4 return
		oifname . ip6 saddr @home6 return
		snat ip to ip saddr map @snat4 comment "the way out, under a fixed address"
		snat ip6 to ip6 saddr map @snat6 comment "the way out, under a fixed address"
		ip saddr @nat4 counter masquerade comment "the way out, as the host"
		ip6 saddr @nat6 counter masquerade comment "the way out, as the host"
	}
"""
