"""Published ports as a firewall table has them, read back from its text. Pure."""

from __future__ import annotations

import re

Translation = tuple[str, str, int, str, int]
"""Protocol, address of the host (empty for all of them), its port; address and port of a node."""


def translations(text: str) -> set[Translation]:
    """The published ports of a table, in this module's words or as nft lists them; elements that somebody added in
    other ways are none."""
    found = re.findall(r"map published[46](?:_at)? \{[^}]*?elements = \{([^}]*)\}", text)
    elements = (_translation(element) for each in found for element in each.split(","))
    return {element for element in elements if element}


def _translation(element: str) -> Translation | None:
    key, _, target = element.partition(" : ")
    try:
        *where, protocol, host_port = (word.strip() for word in key.split(" . "))
        ip, port = (word.strip() for word in target.split(" . "))
        return protocol, where[0] if where else "", int(host_port), ip, int(port)
    except ValueError:  # with a comment of its own, or a timeout
        return None


def stale(before: str, after: str) -> tuple[set[Translation], set[Translation]]:
    """What NAT does no more, and what it does now, when one text replaces another: flows of before do not know."""
    there, wanted = translations(before), translations(after)
    return there - wanted, wanted - there
