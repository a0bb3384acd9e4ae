"""`labctl ps` as text: labs, and their nodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from labctl.picture import Inside, Picture
from labctl.view.page import CYAN, RED, Page, Row, always, by_state


@dataclass(frozen=True)
class Unreadable:
    """A lab whose record cannot be read."""

    lab: str
    problem: str


Lab = Picture | Unreadable


def ps(labs: Sequence[Lab], *, colour: bool = False) -> str:
    page = Page(colour, indent="")
    lab = always(CYAN)
    tables = [page.table([("LAB", "HOST", "NODES", "FILE"), *map(_lab, labs)], {0: lab}, head=True)]
    rows = [row for found in labs if isinstance(found, Picture) for node in found.nodes for row in _node(found, node)]
    if rows:
        head = ("LAB", "NODE", "ADDRESSES", "PROCESSES", "SERVICES")
        tables.append(page.table([head, *rows], {0: lab, 2: _gone, 4: by_state}, head=True))
    return "\n\n".join("\n".join(table) for table in tables) + "\n"


def _lab(lab: Lab) -> Row:
    match lab:
        case Unreadable():
            return lab.lab, "?", "?", lab.problem
        case Picture():
            where = "isolated" if lab.isolated else "this machine"
            return lab.lab, where if lab.host.there else f"{where}, gone", str(len(lab.nodes)), lab.file


def _node(lab: Picture, inside: Inside) -> Iterator[Row]:
    """One row, and further ones where a node has several addresses or services."""
    addresses = addresses_of(inside) if inside.there else ["namespace gone"]
    addresses = [f"as {inside.same_as}"] if inside.same_as else addresses
    services = [f"{status.service.name} {status.text}" for status in inside.services]
    first = (lab.lab, inside.node, str(len(inside.pids)))
    for number, (address, service) in enumerate(zip_longest(addresses or ["-"], services or ["-"], fillvalue="")):
        name, node, processes = ("", "", "") if number else first
        yield name, node, address, processes, service


def addresses_of(inside: Inside) -> list[str]:
    """Those by which others reach it."""
    found = [address for interface in inside.interfaces for address in interface.addresses]
    return [str(address) for address in found if not (address.is_loopback or address.is_link_local)]


def _gone(text: str) -> str:
    return RED if text.endswith("gone") else ""
