"""What is written down about a lab before anything is touched, and its JSON form. Pure.

The kernel is the truth; the record only tells where to look: names, numbers given out, and what was found of the
host's settings. Files below etc/ are not in it: they are the lab's by their location.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from functools import cache, cached_property, lru_cache
from ipaddress import ip_address, ip_interface, ip_network

from labctl.errors import LabError
from labctl.fields import dataclass, field
from labctl.state import (
    HOST,
    Address,
    File,
    Item,
    Link,
    Names,
    Namespace,
    Port,
    Proxy,
    Published,
    Route,
    Ruleset,
    Service,
    State,
    Sysctl,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = 2
REMEDY = "'labctl down' removes the lab all the same, by what the kernel tells of it."
NOUNS = {noun.__name__: noun for noun in (Namespace, Sysctl, Ruleset)}  # whose fields are texts and numbers
KINDS: dict[type, tuple[str, ...]] = {
    str: ("lab", "file", "directory", "text", "prefix", "rules_as_listed"),
    bool: ("isolated", "made_netns_folder", "made_etc_netns"),
    dict: ("found", "indexes", "addresses", "ports"),
    int: ("group",),
}


@dataclass(frozen=True)
class Leases:
    """What a lab holds. Keys are `node/interface` for indexes, `node/bridge/version` for addresses, and
    `node/address:first-last/port/protocol` for the host's ports, out of a span."""

    group: int = 0
    indexes: Mapping[str, int] = field(default_factory=dict)
    addresses: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """`found` holds the host's sysctls as they were before the first lab changed them."""

    lab: str
    file: str  # absolute path of the topology, or "-"
    isolated: bool = False
    prefix: str = ""  # of the names in /run/netns
    leases: Leases = field(default_factory=Leases)
    found: Mapping[str, str] = field(default_factory=dict)
    rules_as_listed: str = ""  # the lab's table as nft lists it, to notice changes by hand
    made_netns_folder: bool = False  # /run/netns did not exist before the first lab
    state: State = field(default_factory=State)  # what was meant, the last time and this time
    host: str = ""  # the network namespace of the machine that the lab is on, `net:[4026531840]`; empty when isolated
    made_etc_netns: bool = False  # /etc/netns did not exist before the first lab
    directory: str = "/"  # of the topology, which services know as $LABCTL_TOPOLOGY_DIR
    text: str = ""  # of the topology, as it was applied

    @cached_property
    def names(self) -> Names:
        at_host = frozenset(node for node, owner in self.state.shared().items() if owner == HOST)
        return Names(self.prefix, self.isolated, at_host)

    def settings(self) -> set[str]:
        """The host's sysctls that this lab needs."""
        return {item.name for item in self.state.items if isinstance(item, Sysctl) and item.node == HOST}

    @cached_property
    def host_links(self) -> dict[str, int]:
        """The lab's interfaces in the host's namespace: names and indexes."""
        ends = (end for item in self.state.items if isinstance(item, Link) for end in item.ends)
        return {end.name: end.index for end in ends if end.node == HOST}

    def services(self, node: str) -> list[Service]:
        return [item for item in self.state.items if isinstance(item, Service) and item.node == node]


def dumps(record: Record) -> str:
    data = {name: getattr(record, name) for name in Record.__match_args__}
    data["leases"] = vars(record.leases)
    del data["state"]
    text = json.dumps({"version": VERSION, **data}, default=str)
    return f'{text[:-1]}, "state": {_rows(record.state)}}}'


@lru_cache(maxsize=1)  # for `up` saves what is meant before it begins, and again when it is done
def _rows(state: State) -> str:
    return json.dumps([_row(item) for item in state.items if not isinstance(item, File)], default=str)


def loads(text: str, source: str) -> Record:
    """Raises LabError where the text is no record that this version understands."""
    try:
        data = json.loads(text)
        if data.pop("version") != VERSION:
            raise LabError(f"{source} was written by another version of labctl", REMEDY)
        data["leases"] = Leases(**data["leases"])
        data["state"] = State.of(_item(*row) for row in data["state"])
        return _sound(Record(**data))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise LabError(f"{source} is damaged: {error}", REMEDY) from None


def _sound(record: Record) -> Record:
    """Raises TypeError where a field is not of its type: it would be a surprise later, in the middle of something."""
    values = {**vars(record), **vars(record.leases)}
    for kind, names in KINDS.items():
        for name in names:
            if type(values[name]) is not kind:
                raise TypeError(f"{name} is not of the type {kind.__name__}")
    return record


def salvage(text: str, lab: str) -> Record:
    """What a damaged record, or that of another version, still tells; what it does not tell is left empty."""
    with suppress(ValueError, RecursionError):
        data = json.loads(text)
        if isinstance(data, dict):
            leases, found = _mapping(data.get("leases")), _mapping(data.get("found"))
            group = leases.get("group")
            return Record(
                lab,
                str(data.get("file", "-")),
                data.get("isolated") is True,
                leases=Leases(group if isinstance(group, int) else 0),
                found={str(name): str(value) for name, value in found.items()},
                rules_as_listed=str(data.get("rules_as_listed", "")),
            )
    return Record(lab, "-")


# the nodes of a bridge have the same loopback address and next hop
_ip, _interface, _network = cache(ip_address), cache(ip_interface), cache(ip_network)


def _published(node: str, protocol: str, host_ip: str, host_port: int, ip: str, port: int) -> Published:
    return Published(node, protocol, _ip(host_ip), host_port, _ip(ip), port)


def _mapping(value: object) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def _row(item: Item) -> list[Any]:
    values = list(vars(item).values())
    if isinstance(item, (Link, Proxy)):  # whose second field are parts
        values[1] = [list(vars(part).values()) for part in values[1]]
    return [type(item).__name__, *values]


def _item(noun: str, *values: Any) -> Item:
    if noun in NOUNS:
        item: Item = NOUNS[noun](*values)
        return item
    match noun, values:
        case "Link", (kind, ends, *rest):
            return Link(kind, tuple([Port(*end) for end in ends]), *rest)
        case "Address", (node, dev, interface):
            return Address(node, dev, _interface(interface))
        case "Route", (node, to, via, *rest):
            return Route(node, _network(to), _ip(via) if via else None, *rest)
        case "Proxy", (lab, ports, node):
            return Proxy(lab, tuple(_published(*port) for port in ports), node)
        case "Service", (node, name, command, environment, directory, user, restart, ready, timeout, after):
            variables, services = tuple((k, v) for k, v in environment), tuple((n, s) for n, s in after)
            condition = ready if isinstance(ready, str) else tuple(ready)
            return Service(
                node, name, tuple(command), variables, directory, user, restart, condition, timeout, services
            )
        case _:
            raise KeyError(noun)
