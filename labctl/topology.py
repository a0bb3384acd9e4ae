"""From the text of a topology file to a Topology: the file's reading as a pipeline, and every problem in one error.

    bytes ── document ──▶ Document ── shape ──▶ faults ── draft ──▶ Draft ── checks ──▶ problems, or the Topology

Knows the order of these steps; each step's knowledge is in its own module. Knows nothing of numbering (desired.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from labctl.checks import meaning
from labctl.dependencies import Process, waited_for
from labctl.document import parse
from labctl.draft import Draft, Entry, draft
from labctl.errors import MAX_PROBLEMS, TopologyError
from labctl.fields import replace
from labctl.names import lab_name
from labctl.shape import faults
from labctl.sharing import owner
from labctl.written import (
    Attachment,
    Bridge,
    Cable,
    CableEnd,
    Interface,
    IPAddress,
    Network,
    Node,
    Run,
    StaticRoute,
    Topology,
)

__all__ = [
    "Attachment",
    "Bridge",
    "Cable",
    "CableEnd",
    "IPAddress",
    "Interface",
    "Network",
    "Node",
    "Run",
    "StaticRoute",
    "Topology",
    "load",
]


def load(text: bytes, file: str) -> Topology:
    """The topology that a file describes, or a TopologyError with all that is wrong with it.

    With more problems than are told, no further step is made: it would have to know which entries it can rely on.
    """
    document = parse(text, file)
    found = faults(document)
    problems = [problem for _, problem in found]
    misspelt = any(len(path) < 2 for path, _ in found)  # a top-level key: the rest would be misunderstood
    if misspelt or len(problems) > MAX_PROBLEMS:
        raise TopologyError(problems)
    drafted = draft(document, [path for path, _ in found])
    problems += drafted.problems
    if len(drafted.problems) <= MAX_PROBLEMS:
        problems += meaning(drafted)
    if problems:
        raise TopologyError(problems)
    return replace(_topology(drafted), text=text.decode())


def _topology(drafted: Draft) -> Topology:
    document = drafted.document
    others = waited_for(drafted)
    return Topology(
        name=lab_name(document),
        bridges=tuple(drafted.bridges.values()),
        nodes=tuple(node for entry in drafted.entries.values() for node in _multiplied(entry, drafted, others)),
        cables=tuple(drafted.cables.values()),
        prefix=document.data.get("prefix"),
        file=document.file,
        positions=document.positions(),
    )


def _multiplied(entry: Entry, drafted: Draft, others: Mapping[Process, tuple[Process, ...]]) -> Iterator[Node]:
    written = entry.node.name
    if not entry.node.run and not entry.shares and entry.count is None:
        yield entry.node
        return
    run = tuple(replace(one, depends_on=others.get((written, one.name), ())) for one in entry.node.run)
    for number, name in enumerate(entry.nodes):
        yield replace(entry.node, name=name, run=run, same_as=owner(drafted.entries, entry, number))
