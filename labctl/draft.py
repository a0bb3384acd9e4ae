"""A document's texts and numbers read into the values of written.py, entry by entry.

Knows how each key is written, long and short. Does not compare entries with one another: that is for checks.py. What
cannot be read becomes a problem and is left out, so that the rest can still be checked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from functools import cached_property
from ipaddress import IPv6Address, ip_network

from labctl import notation, policies
from labctl.document import Document, Steps
from labctl.errors import Problem
from labctl.fields import dataclass, field
from labctl.reader import At, EnoughError
from labctl.syntax import quoted
from labctl.written import NAT, Attachment, Bridge, Cable, CableEnd, IPAddress, Network, Node, Publish, Run, StaticRoute


@dataclass(frozen=True)
class Wait:
    """An item of a `depends_on`."""

    path: Steps
    process: str  # who waits; empty for all of the namespace
    text: str  # for whom: NODE or NODE/PROCESS


@dataclass(frozen=True)
class Entry:
    """An entry of `namespaces`, not yet multiplied."""

    node: Node  # under the name as written
    count: int | None = None
    mode: str = ""  # network_mode: none, host or namespace:NAME
    routes: tuple[tuple[Steps, StaticRoute], ...] = ()  # the node's, each with the way to it
    ports: tuple[tuple[Steps, Publish], ...] = ()
    waits: tuple[Wait, ...] = ()

    @property
    def shares(self) -> str:
        """Whose network it has: the name of another entry or node, or "host"; empty: its own."""
        return self.mode.removeprefix("namespace:") if self.mode != "none" else ""

    @property
    def copies(self) -> int:
        return 1 if self.count is None else self.count

    @property
    def nodes(self) -> tuple[str, ...]:
        """The names of the nodes that it makes."""
        if self.count is None:
            return (self.node.name,)
        return tuple(f"{self.node.name}-{number}" for number in range(1, self.count + 1))


@dataclass(frozen=True)
class Draft:
    """What could be read. Entries set aside have problems already; nothing is to be concluded from their absence."""

    document: Document
    bridges: dict[str, Bridge] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)
    cables: dict[int, Cable] = field(default_factory=dict)
    plugs: dict[tuple[str, str], Steps] = field(default_factory=dict)  # namespace and bridge: where they are joined
    aside: set[Steps] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)

    @cached_property
    def lacks_cables(self) -> bool:
        """Whether a cable is among what was set aside."""
        return any(aside[0] == "links" for aside in self.aside)

    def item(self, path: Steps, number: int) -> Steps:
        """The path to an item of a list, which may be written as a single value."""
        return (*path, str(number)) if isinstance(self.document.find(path).data, list) else path


def draft(document: Document, faulty: Collection[Steps]) -> Draft:
    """Read all entries but those with faults of shape. With more problems than are told, the rest is not read."""
    made = Draft(document, aside={path[:2] for path in faulty})
    with suppress(EnoughError):
        _read(made)
    return made


def _read(made: Draft) -> None:
    for at in _entries(made, "bridges"):
        if bridge := _bridge(at):
            made.bridges[bridge.name] = bridge
        else:
            made.aside.add(at.path)
    for at in _entries(made, "namespaces"):
        made.plugs.update({(at.name, bridge): plug.path for bridge, plug in _plugs(at)})
        made.entries[at.name] = _entry(at)
    for at in _entries(made, "links"):
        if cable := _cable(at):
            made.cables[int(at.name)] = cable
        else:
            made.aside.add(at.path)


def _entries(made: Draft, kind: str) -> list[At]:
    root = At(made.document, (), made.document.root, made.problems)
    return [at for at in root / kind if at.path not in made.aside] if kind in root else []


def _bridge(at: At) -> Bridge | None:
    """None if its addresses cannot be read: then nothing about its members can be said."""
    before = len(at.problems)
    bridge = Bridge(
        name=at.name,
        subnets=at.read_all("subnet", notation.network),
        gateways=at.read_all("gateway", notation.address),
        ip_range=at.read_at("ip_range", notation.ipv4_network),
        internal=at.get("internal", False),
        icc=at.get("icc", True),
        masquerade=at.get("masquerade", True),
        mtu=_number(at, "mtu"),
        mac=at.read_at("mac", notation.mac),
        stp=at.get("stp", False),
        mode4=_mode(at, "ipv4"),
        mode6=_mode(at, "ipv6"),
        snat=at.read_all("snat", notation.address),
    )
    return bridge if len(at.problems) == before else None


def _mode(at: At, version: str) -> str:
    """One gateway mode for both versions, or one for each."""
    if not isinstance(at.get("gateway_mode"), dict):
        return at.read_at("gateway_mode", notation.mode) or NAT
    return str((at / "gateway_mode").get(version, NAT))


def _entry(at: At) -> Entry:
    mode = at.read_at("network_mode", notation.network_mode) or ""
    if mode not in ("", "none"):  # what else it has is not for it: sharing.py
        node = Node(at.name, run=tuple(_runs(at)), environment=_settings(at, "environment"))
        return Entry(node, _number(at, "count"), mode, waits=tuple(_waits(at)))
    ports = tuple((item.path, publish) for item in at.all("ports") if (publish := _publish(item)))
    routes = tuple((item.path, route) for item in at.all("routes") if (route := _route(item)))
    node = Node(
        name=at.name,
        networks=tuple(_attachments(at)),
        run=tuple(_runs(at)),
        environment=_settings(at, "environment"),
        hostname=at.get("hostname"),
        domainname=at.get("domainname"),
        extra_hosts=tuple(_extra_hosts(at)),
        dns=at.read_all("dns", notation.address),
        dns_search=tuple(item.text for item in at.all("dns_search")),
        dns_opt=at.read_all("dns_opt", notation.option),
        sysctls=_settings(at, "sysctls"),
        routes=tuple(route for _, route in routes),
        ports=tuple(publish for _, publish in ports),
        forward=at.get("forward", False),
    )
    return Entry(node, _number(at, "count"), mode, routes, ports, tuple(_waits(at)))


def _plugs(at: At) -> Iterator[tuple[str, At]]:
    """The bridges under `networks`, as a list or a mapping."""
    for item in at / "networks" if "networks" in at else ():
        yield item.text if isinstance(at.get("networks"), list) else item.name, item


def _attachments(at: At) -> Iterator[Attachment]:
    seen: set[str] = set()
    for bridge, item in _plugs(at):
        if bridge in seen:
            item.problem(f"{quoted(bridge)} is listed twice; a namespace has one interface on a bridge: remove one")
            continue
        seen.add(bridge)
        yield Attachment(
            bridge=bridge,
            ip=item.read_at("ip", notation.ipv4_address),
            ip6=item.read_at("ip6", notation.ipv6_address),
            mac=item.read_at("mac", notation.mac),
            interface=item.get("interface"),
            aliases=tuple(item.get("aliases", ())),
            gw_priority=_number(item, "gw_priority") or 0,
        )


def _runs(at: At) -> Iterator[Run]:
    if "run" not in at:
        return
    run = at / "run"
    if not isinstance(run.data, dict):
        yield Run("main", _command(run))
        return
    for item in run:
        if isinstance(item.data, dict):
            yield _process(item)
        else:
            yield Run(item.name, _command(item))


def _process(at: At) -> Run:
    ready: str | tuple[str, ...] | None = ()
    if "ready" in at:
        is_list = isinstance(at.get("ready"), list)
        ready = tuple(word.text for word in at / "ready") if is_list else at.read_at("ready", policies.ready)
    return Run(
        at.name,
        _command(at / "command"),
        _settings(at, "environment"),
        working_dir=at.get("working_dir", ""),
        user=at.read_at("user", policies.user) or "",
        restart=at.read_at("restart", policies.restart) or "no",
        ready=ready or (),
        ready_timeout=_number(at, "ready_timeout") or Run.ready_timeout,
    )


def _waits(at: At) -> Iterator[Wait]:
    yield from (Wait(item.path, "", item.text) for item in at.all("depends_on"))
    for process in at / "run" if isinstance(at.get("run"), dict) else ():
        if isinstance(process.data, dict):
            yield from (Wait(item.path, process.name, item.text) for item in process.all("depends_on"))


def _command(at: At) -> str | tuple[str, ...]:
    return tuple(item.text for item in at) if isinstance(at.data, list) else at.text


def _settings(at: At, key: str) -> tuple[tuple[str, str], ...]:
    """A mapping, or a list of NAME=value; of a name given twice the last counts, as in Compose."""
    if isinstance(at.get(key), dict):
        return tuple((item.name, item.text) for item in at / key)
    return tuple(dict(at.read_all(key, notation.setting)).items())


def _extra_hosts(at: At) -> Iterator[tuple[str, IPAddress | str]]:
    if not isinstance(at.get("extra_hosts"), dict):
        yield from at.read_all("extra_hosts", notation.host)
        return
    for item in at / "extra_hosts":
        if address := item.read(notation.host_address):
            yield item.name, address


def _publish(at: At) -> Publish | None:
    if not isinstance(at.data, dict):
        return at.read(notation.publish)
    before = len(at.problems)
    ports = (at / "target").read(notation.ports)
    host_ports = at.read_at("published", notation.ports)
    host_ip = at.read_at("host_ip", notation.address)
    if not ports or len(at.problems) > before:
        return None
    try:
        return notation.publication(ports, host_ports, host_ip, at.get("protocol", "tcp"))
    except ValueError as problem:
        at.problem(str(problem))
        return None


def _route(at: At) -> StaticRoute | None:
    via, dev = at.read_at("via", notation.address), at.get("dev")
    to: Network | None = ip_network("::/0" if isinstance(via, IPv6Address) else "0.0.0.0/0")
    if at.get("to") != "default":
        to = (at / "to").read(notation.destination)
    if not to or ("via" in at and not via):
        return None
    if not via and not dev:
        at.problem("the route leads nowhere; add 'via' with the next router's address, or 'dev' with an interface")
        return None
    if via and via.version != to.version:
        at.problem(f"{via} is IPv{via.version}, but {to} is IPv{to.version}; use a next hop of the same family")
        return None
    return StaticRoute(to, via, dev, _number(at, "metric"), _number(at, "table"))


def _cable(at: At) -> Cable | None:
    before = len(at.problems)
    ends = [end for item in at / "endpoints" if (end := _cable_end(item))]
    if len(at.problems) > before:
        return None
    one, other = ends
    if (one.node, one.interface) == (other.node, other.interface):
        at.problem("both ends of the cable are the same; write another namespace or interface for one of them")
        return None
    return Cable((one, other), _number(at, "mtu"))


def _cable_end(at: At) -> CableEnd | None:
    if isinstance(at.data, dict):
        return CableEnd(
            node=at.get("node"),
            interface=at.get("interface"),
            ip=at.read_at("ip", notation.ipv4_interface),
            ip6=at.read_at("ip6", notation.ipv6_interface),
            mac=at.read_at("mac", notation.mac),
        )
    node, colon, interface = at.text.partition(":")
    if not colon or not node or not interface:
        at.problem(f"{quoted(at.text)} names no interface; write namespace:interface, such as r1:eth1")
        return None
    return CableEnd(node, interface)


def _number(at: At, key: str) -> int | None:
    """JSON Schema takes 1500.0 for a whole number, so it may come as a float."""
    return int(at.get(key)) if key in at else None
