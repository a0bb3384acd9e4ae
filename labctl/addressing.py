"""Whether the addresses of a lab's bridges fit: subnets, gateways, fixed addresses, MAC addresses, and room for all.

Knows one lab only. Overlaps with the machine's routes and with other labs are seen when a lab comes up. Addresses are
told apart by their bytes: their own hashes, and those of networks, are numbers that a hostile file can make all alike.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, ip_network
from itertools import accumulate

from labctl.document import Steps
from labctl.draft import Draft, Entry
from labctl.errors import Problem
from labctl.syntax import quoted
from labctl.written import ISOLATED, Attachment, Bridge, IPAddress, Network, bounds

MAX_PORTS = 1023  # BR_MAX_PORTS, less the number 0
MIN_MTU_IPV6 = 1280

Member = tuple[Entry, Attachment]


def addressing(draft: Draft) -> Iterator[Problem]:
    """Every problem with the numbers of the bridges and of what is plugged into them."""
    yield from _overlaps(draft)
    members: dict[str, list[Member]] = {name: [] for name in draft.bridges}
    for entry in draft.entries.values():
        for attachment in entry.node.networks:
            members.get(attachment.bridge, []).append((entry, attachment))
    for bridge in draft.bridges.values():
        unusable = list(_subnets(draft, bridge))
        yield from unusable
        if not unusable:
            yield from _gateways(draft, bridge)
            yield from _ip_range(draft, bridge)
            yield from _fixed_addresses(draft, bridge, members[bridge.name])
            yield from _room(draft, bridge, members[bridge.name])
        yield from _macs(draft, bridge, members[bridge.name])


Point = tuple[int, int]  # an address as IP version and number, so that both families stand in one order


def span(network: Network) -> tuple[Point, Point]:
    """The first and the last address."""
    version = network.version
    return (version, int(network.network_address)), (version, int(network.broadcast_address))


class Space:
    """The addresses of many networks, in order: whether one is among them is a search, not a walk over thousands."""

    def __init__(self, networks: Iterable[Network]) -> None:
        spans = sorted(map(span, networks))
        self._starts = [first for first, _ in spans]
        self._reach = list(accumulate((last for _, last in spans), max))  # of all networks so far

    def meets(self, first: Point, last: Point) -> bool:
        """Whether an address from `first` to `last` is among them."""
        before = bisect(self._starts, last)
        return before > 0 and self._reach[before - 1] >= first


def _overlaps(draft: Draft) -> Iterator[Problem]:
    owned = [(subnet, bridge, i) for bridge in draft.bridges.values() for i, subnet in enumerate(bridge.subnets)]
    free = _free([o[0] for o in owned])
    furthest: tuple[Network, Bridge] | None = None  # in order of first addresses, only this can overlap the next
    for subnet, bridge, i in sorted(owned, key=lambda o: span(o[0])):
        if furthest and furthest[1] is not bridge and span(subnet)[0] <= span(furthest[0])[1]:
            message = f"{subnet} overlaps {furthest[0]} of bridge {quoted(furthest[1].name)}; use another"
            message += f", such as {next(free, 'one of 10.0.0.0/8')}" if subnet.version == 4 else ""
            yield draft.document.problem(draft.item(("bridges", bridge.name, "subnet"), i), message)
        if not furthest or span(subnet)[1] > span(furthest[0])[1]:
            furthest = subnet, bridge


def _free(taken: list[Network]) -> Iterator[str]:
    """Subnets that no bridge of the lab has, from the pools that Docker uses."""
    pool = [f"172.{n}.0.0/16" for n in range(17, 32)] + [f"192.168.{n}.0/24" for n in range(256)]
    space = Space(taken)
    return (text for text in pool if not space.meets(*span(ip_network(text))))


_SPECIAL = [
    (ip_network("0.0.0.0/8"), "'this network'"),
    (ip_network("127.0.0.0/8"), "loopback"),
    (ip_network("169.254.0.0/16"), "link-local"),
    (ip_network("224.0.0.0/4"), "multicast"),
    (ip_network("255.255.255.255/32"), "broadcast"),
    (ip_network("::/127"), "loopback"),
    (ip_network("::ffff:0:0/96"), "IPv4-mapped"),
    (ip_network("fe80::/10"), "link-local"),
    (ip_network("ff00::/8"), "multicast"),
]
REFUSED = [(network, what, span(network)) for network, what in _SPECIAL]


def _subnets(draft: Draft, bridge: Bridge) -> Iterator[Problem]:
    for i, subnet in enumerate(bridge.subnets):
        instead = "172.18.0.0/16" if subnet.version == 4 else "fd00:18::/64"
        refused = _refused(subnet)
        message = ""
        if any(subnet.version == earlier.version for earlier in bridge.subnets[:i]):
            message = f"a second IPv{subnet.version} subnet; a bridge has at most one IPv4 and one IPv6: remove one"
        elif refused:
            message = f"{subnet} holds {refused}; use a private one such as {instead}"
        elif subnet.prefixlen > _longest(bridge, subnet):
            message = f"{subnet} has no room for a gateway and a namespace; use /{_longest(bridge, subnet)} or larger"
        if message:
            yield draft.document.problem(draft.item(("bridges", bridge.name, "subnet"), i), message)
    if bridge.mtu and bridge.mtu < MIN_MTU_IPV6 and any(subnet.version == 6 for subnet in bridge.subnets):
        message = f"IPv6 needs an MTU of {MIN_MTU_IPV6} or more, not {bridge.mtu}; raise it or remove the IPv6 subnet"
        yield draft.document.problem(("bridges", bridge.name, "mtu"), message)


def _longest(bridge: Bridge, subnet: Network) -> int:
    """The longest prefix with room for something: two namespaces need no more than a /31 where there is no gateway."""
    alone = bridge.mode(subnet.version) == ISOLATED and subnet.version == 4
    return subnet.max_prefixlen - (1 if alone else 2)


def _refused(subnet: Network) -> str:
    """The first of the special addresses that are in a subnet."""
    first, last = span(subnet)
    return next((f"{what} addresses ({n})" for n, what, (start, end) in REFUSED if start <= last and end >= first), "")


def _gateways(draft: Draft, bridge: Bridge) -> Iterator[Problem]:
    for i, address in enumerate(bridge.gateways):
        message = _misfit(bridge, address)
        if any(address.version == earlier.version for earlier in bridge.gateways[:i]):
            message = f"a second IPv{address.version} gateway; a bridge has one in each subnet: remove one"
        if message:
            yield draft.document.problem(draft.item(("bridges", bridge.name, "gateway"), i), message)


def _misfit(bridge: Bridge, address: IPAddress) -> str:
    """Why an address cannot be on a bridge; empty if it can."""
    name = quoted(bridge.name)
    subnet = next((s for s in bridge.subnets if s.version == address.version), None)
    if not subnet:
        return f"bridge {name} has no IPv{address.version} subnet; add one to its 'subnet', or remove {address}"
    if address not in subnet:
        return f"{address} is outside {subnet}, the subnet of bridge {name}; choose an address inside it"
    if address not in bounds(subnet):
        return ""
    if address == subnet.network_address:
        return f"{address} is the address of the subnet {subnet} itself; choose a later one"
    if isinstance(subnet, IPv4Network):
        return f"{address} is the broadcast address of {subnet}; choose an earlier one"
    return ""


def _ip_range(draft: Draft, bridge: Bridge) -> Iterator[Problem]:
    path = ("bridges", bridge.name, "ip_range")
    subnet = next((s for s in bridge.subnets if isinstance(s, IPv4Network)), None)
    if bridge.ip_range and not subnet:
        message = f"bridge {quoted(bridge.name)} has no IPv4 subnet; add one to its 'subnet', or remove 'ip_range'"
        yield draft.document.problem(path, message)
    elif bridge.ip_range and subnet and not bridge.ip_range.subnet_of(subnet):
        message = f"{bridge.ip_range} is outside the subnet {subnet}; choose a part of it"
        yield draft.document.problem(path, message)


def _fixed_addresses(draft: Draft, bridge: Bridge, members: list[Member]) -> Iterator[Problem]:
    own = [address for subnet in bridge.subnets if (address := bridge.gateway(subnet))]
    owners = {address.packed: f"bridge {quoted(bridge.name)}" for address in own}
    for entry, attachment in members:
        for key, address in (("ip", attachment.ip), ("ip6", attachment.ip6)):
            if not address:
                continue
            message = _misfit(bridge, address)
            if not message and (owner := owners.get(address.packed)):
                message = f"{address} is already the address of {owner}; choose another"
            if message:
                yield draft.document.problem((*draft.plugs[entry.node.name, bridge.name], key), message)
            owners.setdefault(address.packed, quoted(entry.node.name))


def _room(draft: Draft, bridge: Bridge, members: list[Member]) -> Iterator[Problem]:
    path: Steps = ("bridges", bridge.name)
    total = sum(entry.copies for entry, _ in members)
    if total > MAX_PORTS:
        message = f"{total} namespaces on one bridge; the kernel allows {MAX_PORTS}: spread them over several bridges"
        yield draft.document.problem_at_key(path, message)
    for i, subnet in enumerate(bridge.subnets if members else ()):
        fixed = [(entry.copies, a.ip if subnet.version == 4 else a.ip6) for entry, a in members]
        wanted = sum(copies for copies, address in fixed if not address)
        ranged = bridge.ip_range if subnet.version == 4 else None
        span = ranged or subnet
        used = [bridge.gateway(subnet), *bounds(subnet), *(address for _, address in fixed)]
        taken = {address.packed: address for address in used if address}
        free = span.num_addresses - sum(address in span for address in taken.values())
        if wanted > free:
            bits = (wanted + len(taken) - 1).bit_length()
            message = f"{span} has {free} free addresses, but {wanted} namespaces need one; "
            message += f"use /{span.max_prefixlen - bits} or larger"
            where = (*path, "ip_range") if ranged else draft.item((*path, "subnet"), i)
            yield draft.document.problem(where, message)


def _macs(draft: Draft, bridge: Bridge, members: list[Member]) -> Iterator[Problem]:
    owners = {bridge.mac: f"bridge {quoted(bridge.name)}"} if bridge.mac else {}
    for entry, attachment in members:
        if attachment.mac and attachment.mac in owners:
            message = f"{attachment.mac} is already the MAC address of {owners[attachment.mac]}; choose another"
            yield draft.document.problem((*draft.plugs[entry.node.name, bridge.name], "mac"), message)
        elif attachment.mac:
            owners[attachment.mac] = quoted(entry.node.name)
