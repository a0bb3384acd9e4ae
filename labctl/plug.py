"""The story of `connect` and `disconnect`: a running lab's topology is edited, and the lab brought to it as by `up`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from labctl.edit import connected, disconnected
from labctl.errors import LabError, TopologyError, UsageError
from labctl.fields import replace
from labctl.lab import Draft, Report, bring
from labctl.leases import interfaces
from labctl.linux import store
from labctl.linux.processes import must_be_host_of
from labctl.record import Record
from labctl.topology import load
from labctl.written import Topology

Edit = Callable[[Topology, dict[str, str], bool], str]


def connect(
    lab: str, node: str, bridge: str, settings: Mapping[str, Any], report: Report, waiting: Callable[[], None]
) -> Draft:
    """Plugs a node into a bridge; `settings` are those of `networks` in a topology. Raises UsageError, LabError."""
    return _edited(
        lab,
        node,
        lambda topology, present, _: connected(topology.text, node, bridge, settings, present),
        report,
        waiting,
    )


def disconnect(lab: str, node: str, bridge: str, report: Report, waiting: Callable[[], None]) -> Draft:
    """Unplugs a node from a bridge. Raises UsageError, LabError."""
    return _edited(
        lab,
        node,
        lambda topology, present, cabled: disconnected(topology.text, node, bridge, present, cabled),
        report,
        waiting,
    )


def _edited(lab: str, name: str, edit: Edit, report: Report, waiting: Callable[[], None]) -> Draft:
    with store.lab_lock(lab, waiting):
        record = store.load(lab)
        if record is None or not record.text:
            raise LabError(f"the lab {lab} has no topology", "Bring it up once more: labctl up FILE")
        must_be_host_of(record)
        topology = load(record.text.encode(), record.file)
        node = next((node for node in topology.nodes if node.name == name), None)
        if node is None:
            raise UsageError(f"the lab {lab} has no node '{name}'")
        cabled = any(end.node == name for cable in topology.cables for end in cable.ends)
        text = edit(topology, interfaces(node, topology), cabled)
        return bring(_loaded(text, topology.name, record), None, report, services=False)


def _loaded(text: str, lab: str, record: Record) -> Topology:
    """The edited topology; its problems are told without their places, for nobody sees that text."""
    try:
        topology = load(text.encode(), record.file)
    except TopologyError as error:
        raise UsageError("\n".join(problem.message for problem in error.problems)) from None
    return replace(topology, name=lab, file=record.file, directory=record.directory)
