"""A lab whose record cannot be used: gone, damaged, or written by a newer labctl. What is left of it, from its marks.

Marks only, never names: the alias of a link, the comment of a table, where a link in /run/netns leads, what is
mounted in the lab's folder, the environment of a process.
"""

from __future__ import annotations

from labctl.fields import replace
from labctl.linux import names, nft, store
from labctl.linux.place import Namespaces, Place, mounted
from labctl.linux.processes import marked
from labctl.linux.thread import in_thread
from labctl.ownership import HostLink, found_before, has_mark
from labctl.record import Leases, Record, salvage
from labctl.state import HOST


def recover(lab: str) -> Record | None:
    """What `down` needs to know; None where there is no trace of such a lab. The caller holds the lab's lock."""
    text = store.text(lab)
    record = salvage(text, lab)
    record = replace(record, isolated=record.isolated or mounted(Place(lab, isolated=True), HOST))
    place = Place(lab, record.isolated)
    links, comment = ([], "") if record.isolated else in_thread(lambda: _on_host(place))
    ours = [link for link in links if has_mark(link, lab)]
    traces = (text, ours, found_before(comment, lab) is not None, *store.contents(place), *names.links(place))
    if not any(traces) and not marked(lab):
        return None
    groups = {link.group for link in ours}
    group = record.leases.group or (groups.pop() if len(groups) == 1 else 0)
    found = record.found or found_before(comment, lab) or {}
    # An empty /run/netns that is not mounted is no other tool's; nor is an empty /etc/netns.
    return replace(record, leases=Leases(group), found=found, made_netns_folder=True, made_etc_netns=True)


def _on_host(place: Place) -> tuple[list[HostLink], str]:
    with Namespaces(place) as namespaces:
        links = namespaces.host_links()
        namespaces.enter(HOST)
        return links, nft.comment(f"labctl-{place.lab}") or ""
