"""What a lab forwards, hides and drops, as the text of one nftables table. Pure: strings only.

The rules are static; bridges and subnets are elements of sets, so a bigger lab has bigger sets and no more rules.
Behaviour is Docker's (v28 and later): nodes of a bridge talk to each other and out, masqueraded; nobody gets in
from another bridge or from outside. Everything happens in the lab's own table; an `accept` in it ends only its own
chain, so a drop in the host's other tables still counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from labctl.ownership import table_mark
from labctl.state import Ruleset
from labctl.written import Bridge


def ruleset(lab: str, bridges: Iterable[Bridge], found: Mapping[str, str]) -> Ruleset:
    """The table `inet labctl-<lab>`; its comment is the lab's mark, and tells the settings that the host had before."""
    table = f"labctl-{lab}"
    bridges = sorted(bridges, key=lambda bridge: bridge.name)
    nat = [net for bridge in bridges if bridge.masquerade and not bridge.internal for net in bridge.subnets]
    sets = [
        _set("bridges", "ifname", [_quoted(b.name) for b in bridges]),
        _set("internal", "ifname", [_quoted(b.name) for b in bridges if b.internal]),
        _set("same", "ifname . ifname", [f"{_quoted(b.name)} . {_quoted(b.name)}" for b in bridges]),
        _set("noicc", "ifname . ifname", [f"{_quoted(b.name)} . {_quoted(b.name)}" for b in bridges if not b.icc]),
        _set("nat4", "ipv4_addr", [str(n) for n in nat if n.version == 4], "\t\tflags interval\n"),
        _set("nat6", "ipv6_addr", [str(n) for n in nat if n.version == 6], "\t\tflags interval\n"),
    ]
    comment = f'\tcomment "{table_mark(lab, found)}"\n\n'
    return Ruleset(table, f"table inet {table} {{\n{comment}{''.join(sets)}{CHAINS}}}\n")


def _quoted(name: str) -> str:
    return f'"{name}"'


def _set(name: str, type_: str, elements: list[str], flags: str = "") -> str:
    listed = f"\t\telements = {{ {', '.join(elements)} }}\n" if elements else ""
    return f"\tset {name} {{\n\t\ttype {type_}\n{flags}{listed}\t}}\n\n"


CHAINS = """\
	chain forward {
		type filter hook forward priority filter; policy accept;
		oifname @bridges jump to_lab
		iifname @internal counter drop comment "internal: no way out"
	}

	chain to_lab {
		ct state established,related counter accept comment "answers"
		iifname . oifname @noicc counter drop comment "icc: false"
		iifname . oifname @same counter accept comment "same bridge"
		oifname @internal counter drop comment "internal: no way in"
		counter drop comment "other bridges and outside have no way in"
	}

	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		oifname != @bridges ip saddr @nat4 counter masquerade comment "the way out, as the host"
		oifname != @bridges ip6 saddr @nat6 counter masquerade comment "the way out, as the host"
	}
"""
