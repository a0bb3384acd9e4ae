"""Numbers: lowest free first, as on the article's screens; what is held stays; nothing is given out twice."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labctl.leases import Taken, lease, ways_out
from labctl.record import Leases
from labctl.topology import Topology, load


def lan(nodes: list[str], subnet: str = "10.0.0.0/24", more: str = "") -> Topology:
    lines = [f"  {node}: {{networks: [lan]}}" for node in nodes]
    return load(
        "\n".join([f"bridges: {{lan: {{subnet: {subnet}{more}}}}}", "namespaces:", *lines]).encode(), "lab.yaml"
    )


def test_numbers_are_those_of_the_article() -> None:
    leases = lease(lan(["c1", "c2"], "172.17.0.0/16"), Leases(), Taken(frozenset({1, 2})))
    assert leases.indexes == {
        "host/lan": 3,
        "c1/eth0": 24,
        "host/c1/lan": 25,
        "c2/eth0": 26,
        "host/c2/lan": 27,
    }
    assert leases.addresses == {"c1/lan/4": "172.17.0.2", "c2/lan/4": "172.17.0.3"}


def test_foreign_indexes_and_groups_are_stepped_over() -> None:
    group = lease(lan(["a"]), Leases(), Taken()).group
    leases = lease(lan(["a", "b"]), Leases(), Taken(frozenset({1, 2, 3, 24, 40}), frozenset({group})))
    assert leases.indexes["host/lan"] == 41
    assert leases.indexes["a/eth0"] == 42
    assert leases.group == group + 1


def test_what_is_held_stays_with_its_owner() -> None:
    held = lease(lan(["a", "b", "c"]), Leases(), Taken())
    after = lease(lan(["new", "c", "b"]), held, Taken())
    assert after.addresses["c/lan/4"] == held.addresses["c/lan/4"] == "10.0.0.4"
    assert after.addresses["new/lan/4"] == "10.0.0.2"  # a's, which is free again
    assert after.indexes["c/eth0"] == held.indexes["c/eth0"]
    assert after.group == held.group


def test_a_lease_outside_the_new_subnet_is_given_up() -> None:
    held = lease(lan(["a"]), Leases(), Taken())
    assert lease(lan(["a"], "10.9.0.0/24"), held, Taken()).addresses == {"a/lan/4": "10.9.0.2"}


def test_a_range_a_gateway_and_fixed_addresses_are_respected() -> None:
    text = b"""
bridges: {lan: {subnet: 10.0.0.0/24, gateway: 10.0.0.129, ip_range: 10.0.0.128/29}}
namespaces:
  a: {networks: [lan]}
  b: {networks: {lan: {ip: 10.0.0.130}}}
  c: {networks: [lan]}
"""
    leases = lease(load(text, "lab.yaml"), Leases(), Taken())
    assert leases.addresses == {"a/lan/4": "10.0.0.128", "c/lan/4": "10.0.0.131"}


def test_both_families_have_leases() -> None:
    topology = load(
        b"bridges: {lan: {subnet: [10.0.0.0/24, 'fd00::/64']}}\nnamespaces: {a: {networks: [lan]}}", "l.yaml"
    )
    assert lease(topology, Leases(), Taken()).addresses == {"a/lan/4": "10.0.0.2", "a/lan/6": "fd00::2"}


nodes = st.lists(st.sampled_from([f"n{i}" for i in range(30)]), unique=True, min_size=1)


@settings(deadline=None, max_examples=60)
@given(before=nodes, after=nodes, taken=st.frozensets(st.integers(1, 60), max_size=20))
def test_nothing_is_given_out_twice(before: list[str], after: list[str], taken: frozenset[int]) -> None:
    held = lease(lan(before, "10.0.0.0/26"), Leases(), Taken(taken))
    leases = lease(lan(after, "10.0.0.0/26"), held, Taken(taken))
    numbers = list(leases.indexes.values())
    addresses = [ip_address(text) for text in leases.addresses.values()]
    assert len(numbers) == len(set(numbers)) == 1 + 2 * len(after)
    assert not taken & set(numbers)
    assert len(addresses) == len(set(addresses)) == len(after)
    assert all(a in ip_network("10.0.0.0/26") and a != ip_address("10.0.0.1") for a in addresses)
    kept = set(before) & set(after)
    assert all(leases.addresses[f"{node}/lan/4"] == held.addresses[f"{node}/lan/4"] for node in kept)


@pytest.mark.parametrize(
    ("networks", "way4", "way6"),
    [
        ("[zoo, ant]", "ant", None),  # by name, not by place
        ("{zoo: {gw_priority: 1}, ant: {}}", "zoo", None),
        ("{zoo: {}, ant: {gw_priority: -1}}", "zoo", None),
        ("[ant, both]", "both", "both"),  # both versions before one
        ("{ant: {gw_priority: 1}, both: {}}", "ant", "both"),  # each version has its own
        ("[closed, zoo]", "zoo", None),
        ("{closed: {gw_priority: 9}, zoo: {}}", "zoo", None),  # an internal one is no way out at all
        ("[closed]", None, None),
        ("[six, zoo]", "zoo", "six"),
    ],
)
def test_ways_out_are_those_of_docker(networks: str, way4: str | None, way6: str | None) -> None:
    text = f"""
bridges:
  ant: {{subnet: 10.1.0.0/24}}
  both: {{subnet: [10.2.0.0/24, "fd00:2::/64"]}}
  closed: {{subnet: [10.3.0.0/24, "fd00:3::/64"], internal: true}}
  six: {{subnet: "fd00:4::/64"}}
  zoo: {{subnet: 10.5.0.0/24}}
namespaces:
  a: {{networks: {networks}}}
"""
    topology = load(text.encode(), "lab.yaml")
    found = ways_out(topology.nodes[0], {bridge.name: bridge for bridge in topology.bridges})
    assert {version: bridge.name for version, bridge in found.items()} == {
        version: name for version, name in ((4, way4), (6, way6)) if name
    }
