"""Everything that is looked at on one side, as rows: group, subject, what is asked → the answer, in words.

In the answers an address or a MAC is written as whose it is (`web/eth0`, `host/front`), so what both sides choose by
lot does not matter there; that it was chosen at all is a row of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, NamedTuple

from kernel.machine import wait_until

from parity.agent import PLAIN
from parity.compose import Compose
from parity.sides import Side, published

GROUPS = ("links", "addresses", "routes", "neighbours", "sysctls", "files", "names", "reach", "ports", "mtu")
SETTINGS = ["/proc/sys/net/ipv4", "/proc/sys/net/ipv6", "/proc/sys/net/core", "/proc/sys/net/bridge"]
LOOPBACKS = ("127.0.0.1", "127.0.0.2", "::1")
UNSEEN = ("timer", "promiscuity", "_queues")  # what of a link changes by itself, or is as many as the machine has CPUs


class Row(NamedTuple):
    group: str
    subject: str
    what: str

    def __str__(self) -> str:
        return " ".join(filter(None, self))


Rows = dict[Row, str]
Probe = tuple[str, str, int, Row]  # protocol, address, port, and what the answer is to be called


@dataclass(frozen=True)
class Target:
    address: str
    owner: str  # place/device

    @property
    def ip(self) -> IPv4Address | IPv6Address:
        return ip_address(self.address)

    def __str__(self) -> str:
        return f"{self.owner} IPv{self.ip.version}"


def observe(side: Side, compose: Compose, patience: float) -> Rows:
    """What there is on a side while the file's network is up; `patience`: seconds for which an answer is waited for."""
    look = Look(side, compose)
    return {
        **look.links(), **look.addresses(), **look.reach(patience), **look.ports(patience), **look.mtu(),
        **look.routes(), **look.neighbours(), **look.sysctls(), **look.files(), **look.names(),
    }  # fmt: skip


class Look:
    def __init__(self, side: Side, compose: Compose) -> None:
        self.side, self.compose = side, compose
        self.places = [place for place in side.agents if place != "fresh"]
        self.services = [service.name for service in compose.services]
        wait_until(lambda: not any(self.ip("-6", "address", "show", "tentative").values()))
        self.found = self.ip("-details", "address")
        self.devices = self._devices()
        self.owners = dict(self._owners())

    def each(self, places: Iterable[str], job: Mapping[str, Any]) -> dict[str, Any]:
        """The same question everywhere, at once."""
        return self.side.ask(dict.fromkeys(places, job))

    def ip(self, *words: str) -> dict[str, list[dict[str, Any]]]:
        """What `ip --json` says in each place."""
        said = self.each(self.places, {"commands": [["ip", "-json", *words]]})
        return {place: [each for each in json.loads(text or "[]") if each] for place, [text] in said.items()}

    def _devices(self) -> dict[tuple[str, str], str]:
        """What a device is called here: those of the host that are the file's by what they are for."""
        labels = {
            (place, link["ifname"]): link["ifname"] for place in self.services for link in self.found[place]
            if self._own(place)
        }  # fmt: skip
        networks = {*(network.name for network in self.compose.networks), *(["docker0"] * self._default())}
        names = {link["ifindex"]: link["ifname"] for link in self.found["host"]}
        labels |= {("host", self.side.device(network)): network for network in networks}
        labels |= {
            ("host", names[link["link_index"]]): f"veth of {place}/{link['ifname']}"
            for place in self.services if self._own(place) for link in self.found[place] if "link_index" in link
        }  # fmt: skip
        return labels | {("host", "lan"): "lan", ("client", "eth0"): "eth0"}

    def _own(self, place: str) -> bool:
        """Whether a service has a network namespace of its own."""
        return place in self.compose.servers

    def _default(self) -> bool:
        return any(service.mode == "bridge" for service in self.compose.services)

    def _owners(self) -> Iterator[tuple[str, str]]:
        for (place, device), label in self.devices.items():
            link = next(link for link in self.found[place] if link["ifname"] == device)
            if label != "lo":
                yield link["address"], f"{place}/{label}"
                yield from ((each["local"], f"{place}/{label}") for each in link["addr_info"])

    def named(self, text: str) -> str:
        return " ".join(self.owners.get(word, word) for word in text.split(" "))

    def shown(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """The links that are the file's: subject, label, and what `ip` says of each."""
        for (place, device), label in self.devices.items():
            if label != "lan" and place != "client":
                yield f"{place} {label}", label, next(each for each in self.found[place] if each["ifname"] == device)

    def links(self) -> Rows:
        rows = {}
        for subject, _, link in self.shown():
            for what, value in flat({key: value for key, value in link.items() if key != "addr_info"}):
                if not what.endswith(UNSEEN):
                    own = what == "ifname"  # as it is; others' names are written as what they are
                    rows[Row("links", subject, what)] = value if own else self.devices.get(("host", value), value)
        return rows

    def addresses(self) -> Rows:
        return {
            Row("addresses", subject, f"{each['local']}/{each['prefixlen']}"): words(
                each, "local", "prefixlen", "label"
            )
            for subject, _, link in self.shown()
            for each in link["addr_info"]
        }

    def routes(self) -> Rows:
        rows = {}
        for family in ("-4", "-6"):
            for place, routes in self.ip(family, "route", "show", "table", "all").items():
                for route in routes:
                    device = self.devices.get((place, route.get("dev", "")))
                    if device and device != "lan" and place != "client" and not fleeting(route):
                        what = " ".join(
                            filter(None, [family, route.get("table", ""), route.get("type", ""), route["dst"], device])
                        )
                        rows[Row("routes", place, what)] = words(route, "dst", "dev", "table", "type")
        return rows

    def neighbours(self) -> Rows:
        """Those that have answered; of link-local addresses, none: the kernel asks for them when it likes."""
        return {
            Row("neighbours", f"{place} {self.devices[place, each['dev']]}", each["dst"]): self.named(each["lladdr"])
            for place, neighbours in self.ip("neigh").items()
            for each in neighbours
            if "lladdr" in each and (place, each["dev"]) in self.devices and not ip_address(each["dst"]).is_link_local
        }

    def sysctls(self) -> Rows:
        """Settings that are not as in a namespace which nobody has touched; of an interface, not as its `default`."""
        found = self.each(["host", "fresh", *self.compose.servers], {"settings": SETTINGS})
        fresh = found.pop("fresh")
        rows = {}
        for place, settings in found.items():
            for file, value in settings.items():
                kind, device, usual = usually(file, settings if place == "host" else fresh)
                label = self.devices.get((place, device), "" if place == "host" else device)
                if value != usual and (not device or label):
                    rows[Row("sysctls", place, kind.replace("*", label))] = value
        return rows

    def files(self) -> Rows:
        names = ["/etc/hosts", "/etc/resolv.conf", "/etc/hostname"]
        rows: Rows = {}
        for place, texts in self.each(self.services, {"read": names}).items():
            for name, text in zip(names, texts, strict=True):
                for line in text.splitlines():
                    first, _, rest = line.replace("\t", " ").partition(" ")
                    row = Row("files", f"{place} {name}", first if rest else "")
                    rows[row] = f"{rows[row]}, {rest}" if row in rows else rest or first
        for place, [text] in self.each(self.services, {"commands": [["hostname"]]}).items():
            rows[Row("files", place, "hostname")] = text.strip()
        return rows

    def names(self) -> Rows:
        names = {"localhost", *self.services}
        for service in self.compose.services:
            names |= {service.settings["hostname"]} if "hostname" in service.settings else set()
            names |= {entry.partition(":")[0] for entry in service.settings.get("extra_hosts", ())}
            names |= {alias for network in service.networks.values() for alias in network.get("aliases", ())}
        asked = sorted(names)
        answers = self.each(self.services, {"names": asked})
        return {
            Row("names", place, f"{name} IPv{version}"): self.named(" ".join(addresses)) or "unknown"
            for place, found in answers.items()
            for name, families in zip(asked, found, strict=True)
            for version, addresses in zip((4, 6), families, strict=True)
        }

    def targets(self) -> list[Target]:
        """Each address of the network that is not link-local."""
        return [
            Target(address, owner)
            for address, owner in self.owners.items()
            if is_address(address) and not ip_address(address).is_link_local
        ]

    def reach(self, patience: float) -> Rows:
        probes = [
            (protocol, target.address, PLAIN, Row("reach", protocol, f"{{}} -> {target}"))
            for target in self.targets()
            for protocol in ("icmp", "tcp", "udp")
        ]
        return self.probed(dict.fromkeys(self.places, probes), patience)

    def ports(self, patience: float) -> Rows:
        """Every published port on every address of the host's, there on its loopback too; and what is behind it."""
        targets = self.targets()
        probes: dict[str, list[Probe]] = {}
        for place in self.places:
            fronts = [target for target in targets if target.owner.startswith("host/")]
            fronts += [Target(address, address) for address in LOOPBACKS if place == "host"]
            asked = probes[place] = []
            for service in self.compose.services:
                backs = [target for target in targets if target.owner.startswith(f"{service.name}/")]
                for protocol, host_port, port in published(service):
                    asked += [self._port(place, protocol, target, host_port) for target in fronts]
                    asked += [self._port(place, protocol, target, port) for target in backs]
        return self.probed(probes, patience)

    def _port(self, place: str, protocol: str, target: Target, port: int) -> Probe:
        return protocol, target.address, port, Row("ports", place, f"-> {target} {port}/{protocol}")

    def probed(self, probes: Mapping[str, list[Probe]], patience: float) -> Rows:
        jobs = {place: {"probe": [each[:3] for each in asked], "patience": patience} for place, asked in probes.items()}
        return {
            row._replace(what=row.what.format(place)): self.named(answer)
            for place, answers in self.side.ask(jobs).items()
            for (*_, row), answer in zip(probes[place], answers, strict=True)
        }

    def mtu(self) -> Rows:
        """The largest UDP packet in one piece, to those on the same network and to the LAN."""
        jobs: dict[str, list[Target]] = {}
        for place in self.compose.servers:
            own = [
                ip_network(f"{each['local']}/{each['prefixlen']}", strict=False)
                for link in self.found[place]
                for each in link["addr_info"]
            ]
            jobs[place] = [
                target for target in self.targets() if target.owner == "client/eth0"
                or (any(target.ip in network for network in own) and not target.owner.startswith(f"{place}/"))
            ]  # fmt: skip
        answers = self.side.ask({place: {"largest": [each.address for each in jobs[place]]} for place in jobs})
        return {
            Row("mtu", place, f"-> {target}"): str(size)
            for place, sizes in answers.items()
            for target, size in zip(jobs[place], sizes, strict=True)
        }


def flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flat(inner, f"{name}.{key}" if name else key)
    else:
        yield name, " ".join(map(str, value)) if isinstance(value, list) else str(value)


def words(values: Mapping[str, Any], *without: str) -> str:
    return " ".join(f"{key} {value}" for key, value in flat({k: v for k, v in values.items() if k not in without}))


def is_address(text: str) -> bool:
    try:
        return bool(ip_address(text))
    except ValueError:
        return False


def fleeting(route: Mapping[str, Any]) -> bool:
    """What the kernel learns on the way, of the largest packet for instance."""
    return "cache" in route.get("flags", ()) or "cached" in route.get("type", "")


def usually(file: str, standard: Mapping[str, str]) -> tuple[str, str, str | None]:
    """A setting without its folder, the interface that it is of, and its value where nobody has touched it."""
    parts = file.removeprefix("/proc/sys/net/").split("/")
    if parts[1] in ("conf", "neigh") and parts[2] not in ("all", "default", "lo"):
        device, parts[2] = parts[2], "default"
        usual = standard.get("/proc/sys/net/" + "/".join(parts))
        parts[2] = "*"
        return "/".join(parts), device, usual
    return "/".join(parts), "", standard.get(file)
