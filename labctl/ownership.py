"""What on a host is a lab's: what carries its mark. Never what merely has such a name."""

from __future__ import annotations

from collections.abc import Mapping

from labctl.fields import dataclass
from labctl.record import Record


@dataclass(frozen=True)
class HostLink:
    name: str
    index: int
    group: int
    alias: str


def ours(link: HostLink, record: Record) -> bool:
    """Whether a link of the host is the lab's: by its alias or, where it has not got one yet or somebody wrote another
    over it, by its group together with its name and its index."""
    grouped = bool(link.group) and link.group == record.leases.group
    return has_mark(link, record.lab) or (grouped and record.host_links.get(link.name) == link.index)


def has_mark(link: HostLink, lab: str) -> bool:
    return link.alias.startswith(f"labctl:{lab}/")


def table_mark(lab: str, found: Mapping[str, str]) -> str:
    """The comment of a lab's nftables table: whose it is, and what the host had before for what the lab needs."""
    return " ".join([f"labctl:{lab}", *(f"{name}={value}" for name, value in sorted(found.items()))])


def found_before(comment: str, lab: str) -> dict[str, str] | None:
    """What a lab's table tells of the host; None where it is not that lab's."""
    first, *words = comment.split(" ")
    if first != f"labctl:{lab}":
        return None
    return {name: value for name, is_one, value in (word.partition("=") for word in words) if is_one}
