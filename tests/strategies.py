"""Random topologies of the whole schema.

A topology is drawn as the data of its YAML file, from pools so small that two of them have much in common. What is
drawn carelessly is mended, and what labctl still refuses is not drawn: every text that comes out is a good one.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from typing import Any, TypeVar

from fitting import NEIGHBOUR, Data, Reach, good, host, mended, reach, subnets_of
from hypothesis import assume
from hypothesis import strategies as st
from sharers import modes

T = TypeVar("T")
Draw = Callable[[st.SearchStrategy[T]], T]

# Simplest first: this is what a failing example is reduced to.
BRIDGES = ["br0", "br1", "lan", "wan.1"]
NODES = ["a", "b", "c", "web", "R-1.x"]
INTERFACES = ["eth0", "eth1", "eth5", "wan0", "p.1"]
SUBNETS4 = ["10.0.0.0/24", "10.1.0.0/16", "10.2.0.0/28", "172.17.0.0/16", "192.168.7.0/24"]
SUBNETS6 = ["fd00::/64", "fd00:1::/64", "fd00:2::/48", "fd00:3::/64"]
MACS = [f"02:00:00:00:00:0{n}" for n in range(1, 9)]
GATEWAYS = [1, 14]
MTUS = [1400, 1280, 9000, 1500, 576]
WORDS = st.sampled_from(["x", "y", "two words", ""])
SYSCTLS: dict[str, list[Any]] = {  # of a namespace
    "net.ipv4.ip_default_ttl": [32, 64],
    "net.ipv4.conf.all.rp_filter": [1, 2],
    "net.ipv4.conf.default.arp_ignore": [1, 0],
    "net.ipv4.ip_forward": [0, 1],
    "net.ipv4.ip_local_port_range": ["1024 60999", "32768\t60000"],
    "net.ipv4.tcp_syncookies": ["0x2", 0],
    "net.ipv4.conf.lo.arp_ignore": [1, 2],
    "net.ipv6.conf.all.hop_limit": [32, 64],
    "net.ipv6.conf.default.accept_ra": [0, 2],
    "net.core.somaxconn": [100, 4096],
}
INTERFACE_SYSCTLS: dict[str, list[Any]] = {
    "net.ipv4.conf.{}.arp_ignore": [1, 2],
    "net.ipv4.conf.{}.rp_filter": [1, 2],
    "net.ipv4.neigh.{}.gc_stale_time": [30, 90],
}
PORTS = ["8080:80", "82", "127.0.0.1:8081:81/udp", "9000-9002:83", "[::1]:8082-8083:84-85"]
PROCESS: dict[str, list[Any]] = {  # settings of a process, of which all run on, and soon are ready
    "working_dir": ["/", "."],
    "user": [0, "root", "root:root"],
    "restart": ["no", "on-failure:2", "always", "unless-stopped"],
    "ready": ["true", ["test", "-e", "/etc/passwd"]],
    "ready_timeout": [20, 25],
    "depends_on": ["a", ["a", "b"], "web/main", "c"],
}
COMMANDS: list[Any] = ["exec sleep 1000", "sleep 1000; :", ["sleep", 1000], ["sleep", "1001"]]


def options(**values: st.SearchStrategy[Any]) -> st.SearchStrategy[Data]:
    """Some of the keys."""
    return st.fixed_dictionaries({}, optional=values)


def some(pool: list[T], at_most: int, at_least: int = 0) -> st.SearchStrategy[list[T]]:
    return st.lists(st.sampled_from(pool), unique=True, min_size=at_least, max_size=at_most)


def seldom(strategy: st.SearchStrategy[T]) -> st.SearchStrategy[T | None]:
    return st.integers(0, 3).flatmap(lambda n: strategy if n == 3 else st.none())


# --- a topology ------------------------------------------------------------------------------------------------------


@st.composite
def topologies(draw: Draw[Any]) -> Data:
    """The data of a good topology."""
    data: Data = {"name": "lab", "bridges": {}, "namespaces": {}, "links": []}
    subnets4, subnets6 = draw(st.permutations(SUBNETS4)), draw(st.permutations(SUBNETS6))
    for number, name in enumerate(draw(some(BRIDGES, 4))):
        data["bridges"][name] = draw(bridges(subnets4[number], subnets6[number]))
    for name in draw(some(NODES, 5, at_least=1)):
        data["namespaces"][name] = draw(namespaces(data["bridges"]))
    for number in range(draw(st.sampled_from([0, 0, 1, 2, 3]))):
        data["links"].append(draw(cables(list(data["namespaces"]), number)))
    for node in data["namespaces"].values():
        node |= draw(contents())
    for name, node in data["namespaces"].items():
        node |= draw(wired_settings(reach(data, name)))
    if prefix := draw(seldom(st.sampled_from(["p-", ""]))):
        data["prefix"] = prefix
    data = mended(data)
    assume(good(data))
    return data


@st.composite
def bridges(draw: Draw[Any], subnet4: str, subnet6: str) -> Data:
    subnets = {"4": [subnet4], "46": [subnet4, subnet6], "6": [subnet6]}[draw(st.sampled_from(["4", "4", "46", "6"]))]
    flags = {name: st.booleans() for name in ("internal", "icc", "masquerade")}
    numbers = {"mtu": st.sampled_from(MTUS), "mac": st.sampled_from(MACS)}
    gateways = st.tuples(*(st.sampled_from([host(subnet, n) for n in GATEWAYS]) for subnet in subnets))
    versions = [f"ipv{4 if subnet == subnet4 else 6}" for subnet in subnets]
    modes = st.sampled_from(["nat", "routed", "nat-unprotected", "isolated"])
    ways = {"gateway_mode": modes | st.sampled_from(versions).map(lambda version: {version: "routed"})}
    ways["snat"] = st.just("192.0.2.7" if subnets[0] == subnet4 else "2001:db8::7")
    more = draw(seldom(options(**flags, **numbers, **ways, gateway=gateways.map(one_or_list)))) or {}
    if more.get("gateway_mode") == "isolated":
        more["internal"] = True
    if more.get("internal") or more.get("masquerade") is False or "gateway_mode" in more:
        more.pop("snat", None)
    if draw(st.integers(0, 15)) == 15:
        more["stp"] = True
    if subnets[0] == subnet4 and not subnet4.endswith("/28") and draw(seldom(st.just(True))):
        more["ip_range"] = f"{host(subnet4, 16)}/28"
    return {"subnet": one_or_list(subnets), **more}


def one_or_list(values: Any) -> Any:
    return values[0] if len(values) == 1 else list(values)


@st.composite
def namespaces(draw: Draw[Any], existing: Data) -> Data:
    """What a namespace is plugged into."""
    least = draw(st.sampled_from([1, 1, 1, 0])) if existing else 0
    plugged = draw(some(list(existing), 3, least)) if existing else []
    networks = {bridge: draw(seldom(attachments(subnets_of(existing[bridge])))) or {} for bridge in plugged}
    node: Data = {"networks": networks} if networks else {}
    if draw(st.integers(0, 5)) == 5:
        node = draw(modes(NODES))
    if draw(st.integers(0, 9)) == 9:
        node["count"] = draw(st.integers(1, 3))
    return node


def attachments(subnets: list[str]) -> st.SearchStrategy[Data]:
    keys: dict[str, st.SearchStrategy[Any]] = {
        "mac": st.sampled_from(MACS),
        "interface": st.sampled_from(INTERFACES),
        "aliases": some(["www", "db.example.org"], 2),
        "gw_priority": st.sampled_from([-1, 1]),
    }
    for subnet in subnets:
        keys["ip6" if ":" in subnet else "ip"] = st.sampled_from([host(subnet, n) for n in range(2, 10)])
    return options(**keys)


@st.composite
def cables(draw: Draw[Any], names: list[str], number: int) -> Data:
    ends: list[Any] = []
    for n in (1, 2):
        node, interface = draw(st.sampled_from(names)), draw(st.sampled_from(INTERFACES[1:]))
        keys = {"ip": f"10.9.{number}.{n}/24", "ip6": f"fd09:{number}::{n}/64", "mac": f"02:00:00:00:0{number}:1{n}"}
        more = draw(options(**{key: st.just(value) for key, value in keys.items()}))
        ends.append({"node": node, "interface": interface, **more} if more else f"{node}:{interface}")
    return {"endpoints": ends, **draw(options(mtu=st.sampled_from(MTUS)))}


def contents() -> st.SearchStrategy[Data]:
    """What a namespace has that does not depend on its interfaces."""
    variables = options(LOG=WORDS, PORT=st.sampled_from([80, "0x50"]))
    settings = {name: st.sampled_from(values) for name, values in PROCESS.items()}
    process = st.sampled_from(COMMANDS) | st.fixed_dictionaries(
        {"command": st.sampled_from(COMMANDS)}, optional={"environment": variables, **settings}
    )
    some_run = st.sampled_from(COMMANDS) | st.dictionaries(
        st.sampled_from(["main", "web", "db"]), process, min_size=1, max_size=2
    )
    return seldom(
        options(
            run=some_run,
            depends_on=st.sampled_from(["a", ["web", "b/main"]]),
            environment=variables,
            hostname=st.sampled_from(["box", "www.example.org"]),
            domainname=st.just("example.org"),
            extra_hosts=options(
                gate=st.sampled_from(["10.0.0.1", "fd00::1", "host-gateway"]), www=st.just("192.0.2.7")
            ),
            dns=st.sampled_from(["192.0.2.53", ["192.0.2.53", "2001:db8::53"]]),
            dns_search=st.sampled_from(["example.org", ".", ["a", "b"]]),
            dns_opt=st.just(["ndots:1"]),
            ports=some(PORTS, 3),
            forward=st.booleans(),
            sysctls=options(**{key: st.sampled_from(values) for key, values in SYSCTLS.items()}),
        )
    ).map(lambda found: found or {})


@st.composite
def wired_settings(draw: Draw[Any], reached: Reach) -> Data:
    """A namespace's routes, and settings of its interfaces."""
    found: Data = {}
    if reached and draw(seldom(st.just(True))):
        found["routes"] = draw(st.lists(routes(reached), min_size=1, max_size=2))
    if reached and draw(seldom(st.just(True))):
        key = draw(st.sampled_from(list(INTERFACE_SYSCTLS)))
        name = draw(st.sampled_from(list(reached))).replace(".", "/")
        found["sysctls"] = {key.format(name): draw(st.sampled_from(INTERFACE_SYSCTLS[key]))}
    return found


@st.composite
def routes(draw: Draw[Any], reached: Reach) -> Data:
    dev = draw(st.sampled_from(list(reached)))
    via = [host(str(ip_network(s, strict=False)), NEIGHBOUR) for s in reached[dev]]
    hop = draw(st.sampled_from([*via, None]))
    six = ":" in hop if hop else draw(st.booleans())
    to = draw(
        st.sampled_from(["2001:db8::/32", "2001:db8::7", "::/0"] if six else ["192.0.2.0/24", "192.0.2.7", "0.0.0.0/0"])
    )
    route = {"to": "default" if hop and to in ("::/0", "0.0.0.0/0") else to}
    if hop:
        route["via"] = hop
    if not hop or draw(st.booleans()):
        route["dev"] = dev
    numbers = options(metric=st.sampled_from([50, 1024, 0]), table=st.sampled_from([100, 254, 1000]))
    return {**route, **draw(numbers)}
