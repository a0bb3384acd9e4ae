"""Whether what a file says of ways in and out can be: gateway modes, source addresses, published ports.

Knows one lab only. Whether a port of the host is free is seen when a lab comes up.
"""

from __future__ import annotations

from collections.abc import Iterator

from labctl.document import Steps
from labctl.draft import Draft, Entry
from labctl.errors import Problem
from labctl.syntax import quoted
from labctl.written import ISOLATED, NAT, Bridge, IPAddress, Publish, size

MAX_PUBLISHED = 10_000

Claim = tuple[str, int]  # protocol and number of a host's port


def publishing(draft: Draft) -> Iterator[Problem]:
    """Every problem with what is let in and out."""
    for bridge in draft.bridges.values():
        yield from _modes(draft, bridge)
        yield from _sources(draft, bridge)
    total = sum(size(publish.ports) * entry.copies for entry, _, publish in _published(draft))
    if total > MAX_PUBLISHED:
        where = next(path for _, path, _ in _published(draft))
        yield draft.document.problem(
            where, f"{total} published ports in all; labctl takes {MAX_PUBLISHED}: remove some"
        )
        return
    vain: set[Steps] = set()
    for entry, path, publish in _published(draft):
        if message := _unreachable(draft, entry, publish) or _too_few(entry, publish):
            vain.add(path)
            yield draft.document.problem(path, message)
    yield from _twice(draft, vain)


def _published(draft: Draft) -> Iterator[tuple[Entry, Steps, Publish]]:
    return ((entry, path, publish) for entry in draft.entries.values() for path, publish in entry.ports)


def _modes(draft: Draft, bridge: Bridge) -> Iterator[Problem]:
    path: Steps = ("bridges", bridge.name, "gateway_mode")
    if ISOLATED in (bridge.mode4, bridge.mode6) and not bridge.internal:
        yield draft.document.problem(
            path, "'isolated' needs 'internal: true', for the host has no address there; add it"
        )
    given = draft.document.find(path[:2]).children.get("gateway_mode")
    for key in given.children if given else ():
        if key not in {f"ipv{version}" for version in _versions(bridge)}:
            message = f"bridge {quoted(bridge.name)} has no such subnet; remove this, or add one"
            yield draft.document.problem_at_key((*path, key), message)


def _versions(bridge: Bridge) -> set[int]:
    return {subnet.version for subnet in bridge.subnets}


def _sources(draft: Draft, bridge: Bridge) -> Iterator[Problem]:
    seen: set[int] = set()
    for i, address in enumerate(bridge.snat):
        version, message = address.version, ""
        if version not in _versions(bridge):
            message = f"bridge {quoted(bridge.name)} has no IPv{version} subnet; remove {address}"
        elif version in seen:
            message = f"a second IPv{version} source address; packets leave under one: remove the other"
        elif bridge.internal or not bridge.masquerade or bridge.mode(version) != NAT:
            why = "'internal'" if bridge.internal else "'masquerade: false'" if not bridge.masquerade else "its mode"
            message = f"nothing leaves the bridge under another address because of {why}; remove 'snat' or that"
        elif address.is_loopback or address.is_unspecified or address.is_multicast or address.is_link_local:
            message = f"{address} can be no source of packets for other networks; write an address of the host"
        if message:
            yield draft.document.problem(draft.item(("bridges", bridge.name, "snat"), i), message)
        seen.add(version)


def _unreachable(draft: Draft, entry: Entry, publish: Publish) -> str:
    """Why a port would be published in vain."""
    bridges = [draft.bridges.get(plug.bridge) for plug in entry.node.networks]
    known = [bridge for bridge in bridges if bridge]
    if len(known) < len(bridges):
        return ""  # one of them has a problem of its own
    versions = {version for bridge in known for version in bridge.ways_out}
    if not known:
        return "it is on no bridge, so nothing leads from the host to this port; add one to 'networks'"
    if not versions:
        names = ", ".join(quoted(bridge.name) for bridge in known[:4])
        return f"nobody outside reaches a port on an internal bridge ({names}); add another to 'networks'"
    if publish.host_ip and (publish.host_ip.is_multicast or _is_nobodys(publish.host_ip)):
        return f"nobody connects to {publish.host_ip}; write an address of the host, or leave it out"
    if publish.host_ip and publish.host_ip.version == 4 and 4 not in versions:
        return f"{publish.host_ip} is IPv4, and the namespace has IPv6 only; write an IPv6 address of the host"
    return ""


def _is_nobodys(address: IPAddress) -> bool:
    """Broadcast, or one that means something only together with an interface."""
    return str(address) == "255.255.255.255" or (address.version == 6 and address.is_link_local)


def _too_few(entry: Entry, publish: Publish) -> str:
    """Copies cannot share a port of the host."""
    needed = entry.copies * size(publish.ports)
    if not publish.host_ports or entry.copies == 1 or needed <= size(publish.host_ports):
        return ""
    if size(publish.ports) > 1:
        alone = f"{publish.ports[0]}-{publish.ports[1]}"
        return f"{entry.copies} copies need ports of the host each; leave the choice to labctl and write {alone}"
    first = publish.host_ports[0]
    return f"{entry.copies} copies need a port of the host each; write {first}-{first + needed - 1}:{publish.ports[0]}"


def _twice(draft: Draft, vain: set[Steps]) -> Iterator[Problem]:
    """One port of one address of the host, for two."""
    owners: dict[Claim, dict[str, Steps]] = {}
    for entry, path, publish in _published(draft):
        if not publish.paired or not publish.host_ports or entry.copies > 1 or path in vain:
            continue
        for port in range(publish.host_ports[0], publish.host_ports[1] + 1):
            own = owners.setdefault((publish.protocol, port), {})
            other = next((own[word] for word in _excludes(publish.host_ip) if word in own), None)
            if other:
                first = draft.document.find(other)
                message = f"port {port}/{publish.protocol} of the host is published already, at "
                yield draft.document.problem(path, f"{message}{first.line}:{first.column}; choose another")
                break
            own.update(dict.fromkeys(_claims(publish.host_ip), path))


def _claims(address: IPAddress | None) -> tuple[str, ...]:
    """What a published port leaves behind in the account of its number."""
    if address is None:
        return ("4", "6", "all 4", "all 6")
    every = f"all {address.version}" if address.is_unspecified else str(address)
    return (str(address.version), every)


def _excludes(address: IPAddress | None) -> tuple[str, ...]:
    """What must not be in the account: all addresses exclude any, one excludes itself and all."""
    if address is None:
        return ("4", "6")
    if address.is_unspecified:
        return (str(address.version),)
    return (f"all {address.version}", str(address))
