"""`labctl ps` as text: labs, and their nodes."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from itertools import zip_longest

from labctl.fields import dataclass
from labctl.picture import Inside, Picture
from labctl.view.page import CYAN, DIM, RED, Page, Row, always, by_state, stem


@dataclass(frozen=True)
class Unreadable:
    """A lab whose record cannot be read."""

    lab: str
    problem: str


Lab = Picture | Unreadable


def ps(labs: Sequence[Lab], *, colour: bool = False, whole: bool = True) -> str:
    """Unless it is to be whole, many nodes that are alike are folded: what differs stands out."""
    page = Page(colour, whole, indent="")
    lab = always(CYAN)
    tables = [page.table([("LAB", "HOST", "NODES", "FILE"), *map(_lab, labs)], {0: lab}, head=True)]
    pictures = [found for found in labs if isinstance(found, Picture)]
    told = [(found, node) for found in pictures for node in page.folded(found.nodes, _shape)]
    if told:
        head = ("LAB", "NODE", "ADDRESSES", "PROCESSES", "SERVICES")
        rows = [row for found, node in told for row in _rows(found, node)]
        tables.append(page.table([head, *rows], {0: lab, 2: _gone, 4: by_state}, head=True))
    if any(isinstance(node, int) for _, node in told):
        tables.append([page.paint("All of them: labctl ps --all", DIM)])
    return "\n\n".join("\n".join(table) for table in tables) + "\n"


def _lab(lab: Lab) -> Row:
    match lab:
        case Unreadable():
            return lab.lab, "?", "?", lab.problem
        case Picture():
            where = "isolated" if lab.isolated else "this machine"
            return lab.lab, where if lab.host.there else f"{where}, gone", str(len(lab.nodes)), lab.file


def _shape(inside: Inside) -> Hashable:
    """What nodes that are alike have in common; their names differ in the last number only."""
    services = tuple((status.service.name, status.text) for status in inside.services)
    return stem(inside.node), inside.there, inside.same_as, len(addresses_of(inside)), len(inside.pids), services


def _rows(lab: Picture, node: Inside | int) -> Iterator[Row]:
    """A number stands for so many nodes that are like those above and below it."""
    if isinstance(node, int):
        yield lab.lab, "…", f"{node} more like these", "", ""
    else:
        yield from _node(lab, node)


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
