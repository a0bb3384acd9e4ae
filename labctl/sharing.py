"""Whether a namespace can share the network of another, or the host's: network_mode namespace:NAME and host.

Knows what goes with a network and so can only be said where the network is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from labctl.document import Steps
from labctl.draft import Draft, Entry
from labctl.errors import Problem
from labctl.shape import did_you_mean
from labctl.state import HOST
from labctl.syntax import plain, quoted
from labctl.wiring import part

OWN = (
    *("networks", "ports", "routes", "forward", "sysctls"),
    *("hostname", "domainname", "extra_hosts", "dns", "dns_search", "dns_opt"),
)


def sharing(draft: Draft) -> Iterator[Problem]:
    """Every problem with who shares whose network."""
    for entry in draft.entries.values():
        if entry.shares:
            path: Steps = ("namespaces", entry.node.name)
            if wrong := _target(draft, entry):
                yield draft.document.problem((*path, "network_mode"), wrong)
            for key in OWN:
                if key in draft.document.find(path).children:
                    yield draft.document.problem_at_key((*path, key), _not_here(entry, key))
    yield from _cables(draft)


def owner(entries: Mapping[str, Entry], entry: Entry, number: int) -> str:
    """The node whose network a copy of an entry shares; copies of one that has as many go in pairs. Empty: none."""
    target = entries.get(entry.shares)
    if not target or target.count is None:
        return entry.shares
    return f"{target.node.name}-{number + 1 if target.copies > 1 else 1}"


def _maker(draft: Draft, name: str) -> Entry | None:
    """The entry of this name, or the one that makes the node of this name. There may be millions of nodes."""
    base, _, number = name.rpartition("-")
    entry = draft.entries.get(base)
    numbered = entry and re.fullmatch("[1-9][0-9]{0,3}", number) and int(number) <= (entry.count or 0)
    return draft.entries.get(name) or (entry if numbered else None)


def _target(draft: Draft, entry: Entry) -> str:
    """Why there is no network to share; empty where there is one."""
    name = entry.shares
    if name == HOST:
        return "" if entry.mode == HOST else "the host is no namespace of the file; write network_mode: host"
    target = _maker(draft, name)
    if target is None:
        if ("namespaces", name) in draft.aside:
            return ""
        known = [f"{key}-1" if each.count else key for key, each in draft.entries.items() if each is not entry]
        return f"unknown namespace {quoted(name)}" + did_you_mean(name, known, "add it under 'namespaces'")
    if target is entry:
        return "a namespace cannot share its own network; name another one"
    if target.shares:
        return f"{quoted(name)} has no network of its own either; write network_mode: {plain(target.mode)}"
    if name == target.node.name and target.copies > 1 and target.copies != entry.copies:
        message = f"{quoted(name)} stands for {target.copies} namespaces; name one, such as namespace:{name}-1"
        return f"{message}, or give this one 'count: {target.copies}' too"
    return ""


def _not_here(entry: Entry, key: str) -> str:
    if entry.mode != HOST:
        other = quoted(entry.shares)
        return f"'{key}' is where the network is, and that is the one of {other}; move it there, or remove it"
    if key == "ports":
        return "with 'network_mode: host' it has the host's ports already; remove 'ports'"
    return f"with 'network_mode: host' it has the host's network, names and settings; remove '{key}'"


def _cables(draft: Draft) -> Iterator[Problem]:
    for number, cable in draft.cables.items():
        for i, end in enumerate(cable.ends):
            entry = _maker(draft, end.node)
            if entry and entry.shares:
                where = part(draft, ("links", str(number), "endpoints", str(i)), "node")
                message = f"{quoted(end.node)} has no network of its own; "
                message += f"plug the cable into {quoted(entry.shares)}" if entry.mode != HOST else "use a bridge"
                yield draft.document.problem(where, message)
