"""`show` and `ps` as text and JSON, from pictures made by hand. The expected screens are the files in views/.

After a wanted change: `python tests/test_view.py` writes them anew; read the difference before it is committed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest

from labctl.fields import replace
from labctl.picture import (
    Bridge,
    End,
    Hop,
    Inside,
    Interface,
    Neighbour,
    Pair,
    Picture,
    RouteEntry,
    Status,
    Traffic,
    mates,
    pairs,
)
from labctl.state import Published, Service
from labctl.view.data import ps_data, show_data
from labctl.view.page import Page, size
from labctl.view.ps import Unreadable, ps
from labctl.view.sections import SECTIONS, route_line
from labctl.view.show import show

VIEWS = Path(__file__).parent / "views"
FLAGS = ("BROADCAST", "MULTICAST", "UP", "LOWER_UP")
SERVER = ("/bin/sh", "-c", "exec python3 -m http.server 80 --directory it-works")
RULES = """\
table inet labctl-two-containers {
\tchain to_lab {
\t\tct state established,related counter packets 11 bytes 1174 accept comment "answers"
\t\tiifname . oifname @noicc counter packets 0 bytes 0 drop comment "icc: false, and nothing but false"
\t}
}
"""


def loopback(ours: bool = True) -> Interface:
    flags, addresses = ("LOOPBACK", "UP", "LOWER_UP"), (ip_interface("127.0.0.1/8"), ip_interface("::1/128"))
    mac = "00:00:00:00:00:00"
    return Interface("lo", 1, "loopback", flags, 65536, mac, "UNKNOWN", ours=ours, addresses=addresses)


def veth(name: str, index: int, other: int, mac: str, address: str = "", master: str | None = None) -> Interface:
    addresses = (ip_interface(address),) if address else ()
    alias = "labctl:two-containers/c/eth0" if master else ""
    rx, tx = Traffic(1867, 1831738), Traffic(1017, 68475, errors=1, dropped=2)
    return Interface(
        name, index, "veth", FLAGS, 1500, mac, "UP", master, other, True, alias=alias, rx=rx, tx=tx, addresses=addresses
    )


def bridge() -> Interface:
    own = Bridge("8000.0242fd67b17b", stp=False)
    addresses = (ip_interface("172.17.0.1/16"),)
    return Interface("docker0", 3, "bridge", FLAGS, 1500, "02:42:fd:67:b1:7b", "UP", bridge=own, addresses=addresses)


def connected(dev: str, source: str) -> RouteEntry:
    return RouteEntry(ip_network("172.17.0.0/16"), dev, None, "unicast", "kernel", "link", ip_address(source))


def container(number: int, pids: tuple[int, ...] = ()) -> Inside:
    """container1 is 172.17.0.2 behind eth0, index 24, and so on."""
    node, index = f"container{number}", 22 + 2 * number
    last = number + 1
    gateway = RouteEntry(ip_network("0.0.0.0/0"), "eth0", ip_address("172.17.0.1"))
    return Inside(
        node,
        interfaces=(loopback(), veth("eth0", index, index + 1, f"02:42:ac:11:00:{last:02x}", f"172.17.0.{last}/16")),
        routes=(gateway, connected("eth0", f"172.17.0.{last}")),
        neighbours=(Neighbour(ip_address("172.17.0.1"), "eth0", "02:42:fd:67:b1:7b", "REACHABLE"),),
        services=(Status(Service(node, "main", SERVER), pids),),
        pids=pids,
    )


def host(*ports: Interface) -> Inside:
    """A machine with a card of its own, and docker0."""
    card = (ip_interface("192.168.178.27/24"), ip_interface("fe80::1e6f:65ff:fec0:c985/64"))
    way_out = RouteEntry(ip_network("0.0.0.0/0"), "enp4s0", ip_address("192.168.178.1"), protocol="static", metric=100)
    return Inside(
        "host",
        interfaces=(
            loopback(ours=False),
            Interface("enp4s0", 2, "", FLAGS, 1500, "1c:6f:65:c0:c9:85", "UP", ours=False, addresses=card),
            bridge(),
            *ports,
        ),
        routes=(
            way_out,
            connected("docker0", "172.17.0.1"),
            RouteEntry(ip_network("fe80::/64"), "enp4s0", None, protocol="kernel", metric=256),
        ),
        neighbours=(Neighbour(ip_address("172.17.0.9"), "docker0", "", "FAILED"),),
    )


def port(number: int) -> Interface:
    index = 23 + 2 * number
    return veth(f"veth{number:07x}", index, index - 1, f"56:e5:92:e8:77:{number:02x}", master="docker0")


PUBLISHED = tuple(
    Published("container1", protocol, ip_address(host_ip), host_port, ip_address("172.17.0.2"), port)
    for protocol, host_ip, host_port, port in (
        ("tcp", "0.0.0.0", 8080, 80),
        ("tcp", "::", 8080, 80),
        ("udp", "127.0.0.1", 5353, 53),
    )
)


def two_containers() -> Picture:
    nodes = (container(1, (4711,)), container(2, (4712, 4713)))
    ends = host(port(1), port(2))
    return Picture("two-containers", "/srv/two-containers.yaml", False, ends, nodes, RULES, PUBLISHED)


def crowd() -> Picture:
    nodes = tuple(container(number) for number in range(1, 101))
    return Picture("crowd", "/srv/crowd.yaml", False, host(*(port(number) for number in range(1, 101))), nodes)


def uneven_crowd() -> Picture:
    """One server of many has ended, one namespace is gone."""
    nodes = [container(number, (4000 + number,)) for number in range(1, 101)]
    nodes[36] = container(37)
    nodes[59] = replace(nodes[59], there=False, interfaces=(), routes=(), neighbours=(), pids=())
    return replace(crowd(), nodes=tuple(nodes))


def half_dead() -> Picture:
    """The second namespace is gone, and with it its veth pair; in the first the server has ended."""
    lost = replace(container(2), there=False, interfaces=(), routes=(), neighbours=())
    picture = two_containers()
    return replace(picture, isolated=True, host=host(port(1)), nodes=(container(1), lost), rules="", held=False)


def cable() -> Picture:
    """Two routers with long names, joined directly: one end each, nothing on the host."""
    r1 = veth("uplink-to-edge2", 100, 101, "02:00:00:00:00:01", "2001:db8:1111:2222:3333:4444:5555:6666/64")
    r2 = veth("uplink-to-core1", 101, 100, "02:00:00:00:00:02", "10.0.0.2/30")
    nodes = (
        Inside("core-router-of-the-east-1", interfaces=(r1,)),
        Inside("edge-router-of-the-west-2", interfaces=(r2,)),
    )
    return Picture("cable", "-", True, Inside("host", interfaces=(loopback(),)), nodes)


SCREENS: dict[str, Callable[[], str]] = {
    "overview": lambda: show(two_containers()),
    **{section: lambda section=section: show(two_containers(), [section]) for section in SECTIONS},  # type: ignore[misc]
    "crowd": lambda: show(crowd()),
    "half-dead": lambda: show(half_dead()),
    "cable": lambda: show(cable(), ["links", "addresses", "rules", "bridges", "neighbours"]),
    "colour": lambda: show(half_dead(), ["links", "services", "neighbours"], colour=True),
    "ps": lambda: ps([two_containers(), half_dead(), Unreadable("torn", "/run/labctl/torn/lab.json is bad")]),
    "ps-wide": lambda: ps([cable()]),
    "ps-crowd": lambda: ps([uneven_crowd(), two_containers()], whole=False),
    "uneven": lambda: show(uneven_crowd()),
}


@pytest.mark.parametrize("name", SCREENS)
def test_screen(name: str) -> None:
    assert SCREENS[name]() == (VIEWS / f"{name}.txt").read_text()


@pytest.mark.parametrize("name", sorted(SCREENS.keys() - {"colour"}))
def test_screen_fits_80_columns_without_trailing_spaces(name: str) -> None:
    for line in SCREENS[name]().splitlines():
        assert len(line) <= 80
        assert line == line.rstrip()


def test_overview_of_a_crowd_is_short_and_a_section_alone_is_whole() -> None:
    assert show(crowd()).count("\n") < 40
    assert show(crowd(), ["links"]).count("<->") == 100
    assert show(crowd(), ["bridges"]).count("veth") == 100


def test_colour_changes_no_text() -> None:
    coloured = show(two_containers(), list(SECTIONS), colour=True)
    plain = coloured
    for code in ("0", "1", "2", "31", "32", "33", "36"):
        plain = plain.replace(f"\x1b[{code}m", "")
    assert coloured != plain
    assert plain == show(two_containers(), list(SECTIONS))


def test_pairs_are_found_by_both_indexes() -> None:
    first, second = pairs(two_containers())
    assert [end.interface.title for end in ends(first)] == ["eth0@if25", "veth0000001@if24"]
    assert [end.node for end in ends(second)] == ["container2", "host"]
    (only,) = pairs(cable())
    assert [end.node for end in ends(only)] == ["core-router-of-the-east-1", "edge-router-of-the-west-2"]


def ends(pair: Pair) -> list[End]:
    return [end for end in (pair.near, pair.far) if end]


def test_a_foreign_pair_with_the_same_numbers_is_not_mistaken_for_the_labs() -> None:
    stranger = replace(veth("vethdocker", 25, 24, "56:00:00:00:00:01"), ours=False)
    own = two_containers().host
    picture = replace(two_containers(), host=replace(own, interfaces=(stranger, *own.interfaces)))
    assert mates(picture)["container1", "eth0"].interface.name == "veth0000001"
    assert len(pairs(picture)) == 2


def test_a_pair_within_one_namespace() -> None:
    a, b = (replace(veth(*ab, "02:00:00:00:00:01"), elsewhere=False) for ab in (("a", 7, 8), ("b", 8, 7)))
    picture = Picture("l", "-", True, Inside("host"), (Inside("n", interfaces=(a, b)), Inside("m", interfaces=(b,))))
    assert mates(picture)["n", "a"].node == "n"
    assert ("m", "b") not in mates(picture)


@pytest.mark.parametrize(
    ("route", "line"),
    [
        (RouteEntry(ip_network("10.0.0.9/32"), "eth0"), "10.0.0.9 dev eth0"),
        (RouteEntry(ip_network("10.0.0.0/8"), None, kind="blackhole"), "blackhole 10.0.0.0/8"),
        (RouteEntry(ip_network("::/0"), "e0", ip_address("fd00::1"), metric=9), "default via fd00::1 dev e0 metric 9"),
        (RouteEntry(ip_network("10.0.0.0/8"), "eth0", flags=("linkdown",)), "10.0.0.0/8 dev eth0 linkdown"),
        (
            RouteEntry(ip_network("10.0.0.0/8"), None, hops=(Hop(ip_address("10.1.0.1"), "a"), Hop(None, "b", 2))),
            "10.0.0.0/8 nexthop via 10.1.0.1 dev a weight 1 nexthop dev b weight 2",
        ),
    ],
)  # fmt: skip
def test_route_line(route: RouteEntry, line: str) -> None:
    assert route_line(route) == line


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0.0 B"), (1831738, "1.7 MiB"), (68475, "66.9 KiB"), (1 << 60, "1024.0 PiB")]
)
def test_size(number: int, text: str) -> None:
    assert size(number) == text


def test_a_table_without_rows_says_so() -> None:
    assert Page().table([]) == ["  none"]


def keys(value: object, path: str = "") -> set[str]:
    """Every key of some JSON by its path."""
    if isinstance(value, dict):
        return {f"{path}{key}" for key in value} | {k for key in value for k in keys(value[key], f"{path}{key}.")}
    return {key for item in value for key in keys(item, path)} if isinstance(value, list) else set()


@pytest.mark.parametrize("verb", ["show", "ps"])
def test_json_has_exactly_the_documented_keys(verb: str) -> None:
    two_ways = RouteEntry(ip_network("10.0.0.0/8"), None, hops=(Hop(None, "docker0"), Hop(None, "enp4s0")))
    picture = two_containers()
    picture = replace(picture, host=replace(picture.host, routes=(two_ways,)))
    data = show_data(picture) if verb == "show" else ps_data([picture])
    text = (Path(__file__).parent.parent / "docs" / "json.md").read_text()
    (section,) = (part for part in text.split("\n## ") if part.startswith(f"`labctl {verb} "))
    documented = {
        line.split("`")[1].replace("[].", ".").removeprefix(".")
        for line in section.splitlines()
        if line.startswith("| `")
    }
    assert keys(json.loads(json.dumps(data))) == documented


def test_json_of_chosen_sections_has_no_others() -> None:
    assert set(show_data(two_containers(), ["routes"])) == {"lab", "file", "isolated", "nodes", "gone", "routes"}


def test_json_tells_the_peer_and_what_is_gone() -> None:
    links = show_data(two_containers())["links"]
    peers = {(link["node"], link["name"]): link["peer"] for link in links}
    assert peers["container1", "eth0"] == {"node": "host", "name": "veth0000001", "index": 25}
    assert peers["host", "docker0"] is None
    assert show_data(half_dead())["gone"] == ["container2"]


def test_json_of_an_unreadable_lab_has_the_same_keys() -> None:
    torn, whole = ps_data([Unreadable("torn", "bad"), half_dead()])
    assert torn.keys() == whole.keys()
    assert (torn["problem"], whole["problem"]) == ("bad", "gone: container2")


def test_views_need_neither_yaml_nor_schema_nor_rich() -> None:
    slow = {"yaml", "jsonschema_rs", "rich", "typer"}
    code = f"import labctl.cli.ps, labctl.cli.show, sys; print(*{slow} & {{*sys.modules}})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


if __name__ == "__main__":
    for name, screen in SCREENS.items():
        (VIEWS / f"{name}.txt").write_text(screen())
