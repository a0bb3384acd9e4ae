"""Which interfaces of a host are a lab's: those that carry its mark. Never those that merely have such a name."""

from __future__ import annotations

from dataclasses import dataclass

from labctl.record import Record


@dataclass(frozen=True)
class HostLink:
    name: str
    index: int
    group: int
    alias: str


def ours(link: HostLink, record: Record) -> bool:
    """Whether a link of the host is the lab's: by its alias or, before it got one, by its group and its name."""
    if link.alias:
        return link.alias.startswith(f"labctl:{record.lab}/")
    return bool(link.group) and link.group == record.leases.group and link.name in record.host_links
