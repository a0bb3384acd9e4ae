"""The firewall's text: what is published can be read back, in labctl's words and in nft's."""

from __future__ import annotations

from ipaddress import ip_address

from labctl.leases import Taken, lease
from labctl.publish import Opened, opened
from labctl.publish import published as ports_of_host
from labctl.record import Leases
from labctl.ruleset import ruleset
from labctl.state import Published
from labctl.topology import load
from labctl.translation import translations
from labctl.written import Bridge

LISTED = """table inet labctl-lab {
	map published4 {
		type inet_proto . inet_service : ipv4_addr . inet_service
		elements = { tcp . 80 : 10.1.0.2 . 8080,
			udp . 53 : 10.1.0.2 . 53 }
	}

	map published4_at {
		type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
		elements = { 127.0.0.1 . tcp . 81 : 10.1.0.2 . 8081 }
	}

	map published6 {
		type inet_proto . inet_service : ipv6_addr . inet_service
	}

	map published6_at {
		type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service
		elements = { fd00::1 . tcp . 82 : fd00::2 . 8082 }
	}
}
"""
PORTS = {
    ("tcp", "", 80, "10.1.0.2", 8080),
    ("udp", "", 53, "10.1.0.2", 53),
    ("tcp", "127.0.0.1", 81, "10.1.0.2", 8081),
    ("tcp", "fd00::1", 82, "fd00::2", 8082),
}


def published(protocol: str, host_ip: str, host_port: int, ip: str, port: int) -> Published:
    anywhere = "::" if ":" in ip else "0.0.0.0"
    return Published("a", protocol, ip_address(host_ip or anywhere), host_port, ip_address(ip), port)


def test_translations_as_nft_lists_them() -> None:
    assert translations(LISTED) == PORTS


def test_elements_that_somebody_else_added_are_no_translations() -> None:
    more = 'udp . 53 : 10.1.0.2 . 53, tcp . 83 comment "my, own" : 10.1.0.2 . 83'
    assert translations(LISTED.replace("udp . 53 : 10.1.0.2 . 53", more)) == PORTS


def test_translations_as_labctl_writes_them() -> None:
    rules = ruleset("lab", [], {}, [published(*port) for port in PORTS])
    assert translations(rules.text) == PORTS


def test_what_the_kernel_cannot_translate_is_left_to_the_proxy() -> None:
    over_ipv6 = Published("a", "tcp", ip_address("::"), 80, ip_address("10.1.0.2"), 80)
    assert translations(ruleset("lab", [], {}, [over_ipv6]).text) == set()


def test_a_routed_port_is_open_whatever_bridge_has_the_default_route() -> None:
    bridges = "bridges: {a: {subnet: 10.1.0.0/24}, b: {subnet: 10.2.0.0/24, gateway_mode: routed}}\n"
    text = f"{bridges}namespaces: {{web: {{networks: [a, b], ports: ['8080:80']}}}}\n"
    topology = load(text.encode(), "lab.yaml")
    leases = lease(topology, Leases(), Taken())
    assert opened(topology, leases) == (Opened(ip_address("10.2.0.2"), "tcp", 80),)
    assert [str(port.ip) for port in ports_of_host(topology, leases)] == ["10.1.0.2", "10.1.0.2"]


def test_the_rules_are_the_same_whatever_the_lab_has() -> None:
    """Only sets and maps differ: a port that comes or goes is an element."""
    bridges = [Bridge("br0", ()), Bridge("br1", (), mode4="routed", icc=False, internal=True)]
    opened = [Opened(ip_address("10.1.0.2"), "tcp", 80)]
    rich = ruleset("lab", bridges, {}, [published(*port) for port in PORTS], opened).text
    poor = ruleset("lab", [], {}).text
    assert rich.partition("\tchain ")[2] == poor.partition("\tchain ")[2]
    assert rich.count("\tset ") + rich.count("\tmap ") == poor.count("\tset ") + poor.count("\tmap ")
