"""Does a lab fit on a host: subnets with their place in the file, names, numbers; ours is only what is marked."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from labctl.conflicts import HostRoute, Site, check_names, check_subnets, taken
from labctl.desired import Context, desired
from labctl.errors import Conflict, TopologyError
from labctl.leases import Taken, lease
from labctl.ownership import HostLink, ours
from labctl.record import Leases, Record
from labctl.state import State
from labctl.topology import Topology, load

FILE = Path(__file__).parents[1] / "topologies" / "two-containers.yaml"
CARD = HostLink("enp4s0", 2, 0, "")


def lab(name: str = "two-containers") -> tuple[Topology, Record]:
    topology = load(FILE.read_bytes().replace(b"name: two-containers", f"name: {name}".encode()), "two.yaml")
    leases = lease(topology, Leases(), Taken())
    return topology, Record(name, "/two.yaml", leases=leases, state=desired(topology, Context(leases)))


def test_a_subnet_that_the_host_routes_is_refused_with_its_place() -> None:
    topology, _ = lab()
    site = Site((CARD,), (HostRoute(ip_network("172.16.0.0/12"), "enp4s0"),))
    with pytest.raises(TopologyError) as caught:
        check_subnets(topology, site, None, [])
    (problem,) = caught.value.problems
    line = FILE.read_text().splitlines()[problem.line - 1]
    assert line[problem.column - 1 :] == "172.17.0.0/16"
    assert "enp4s0" in problem.message
    assert "192.168.0.0/20 is free" in problem.message


def test_a_subnet_of_another_lab_names_the_lab() -> None:
    topology, _ = lab()
    with pytest.raises(TopologyError, match=r"of the lab other \(docker0\)"):
        check_subnets(topology, Site((CARD,)), None, [lab("other")[1]])


def test_the_lab_itself_and_the_default_route_are_no_obstacle() -> None:
    topology, record = lab()
    own = HostLink("docker0", 3, 0, "labctl:two-containers/docker0")
    routes = (HostRoute(ip_network("172.17.0.0/16"), "docker0"), HostRoute(ip_network("0.0.0.0/0"), "enp4s0"))
    check_subnets(topology, Site((CARD, own), routes), record, [])


def test_foreign_names_are_refused() -> None:
    _, record = lab()
    foreign = [
        Site((CARD, HostLink("docker0", 3, 0, ""))),
        Site((CARD, HostLink("docker0", 3, 0, "labctl:other/docker0"))),
        Site((CARD,), netns=frozenset({"container1"})),
        Site((CARD,), has_table=True),
    ]
    for site in foreign:
        with pytest.raises(Conflict, match="left alone"):
            check_names(record.state, site, Record(record.lab, "", state=State()), new=True)


def test_a_name_that_somebody_took_from_a_running_lab() -> None:
    _, record = lab()
    with pytest.raises(Conflict, match="namespace container2 already exists"):
        check_names(record.state, Site((CARD,), netns=frozenset({"container2"})), record, new=False)


def test_a_name_or_a_group_alone_makes_nothing_ours() -> None:
    _, record = lab()
    group = record.leases.group
    assert not ours(HostLink("docker0", 3, 0, ""), record)
    assert not ours(HostLink("foo", 9, group, ""), record)
    assert not ours(HostLink("docker0", 9, group, "somebody's"), record)
    assert ours(HostLink("docker0", 3, group, "mine"), record)  # an alias that somebody wrote over ours
    assert ours(HostLink("docker0", 3, group, ""), record)  # born, and killed before the alias was set
    assert ours(HostLink("renamed", 3, 0, "labctl:two-containers/docker0"), record)


def test_numbers_of_others_are_taken_even_before_they_exist() -> None:
    _, other = lab("other")
    found = taken(Site((CARD,)), None, [other])
    assert {2, 3, 25, 27} <= found.indexes
    assert other.leases.group in found.groups
