"""From the text of a topology file to a Topology: the file's reading as a pipeline, and every problem in one error.

    bytes ── document ──▶ Document ── shape ──▶ faults ── draft ──▶ Draft ── checks ──▶ problems, or the Topology

Knows the order of these steps; each step's knowledge is in its own module. Knows nothing of numbering (desired.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from labctl.checks import meaning
from labctl.document import MAX_PROBLEMS, parse
from labctl.draft import Draft, Entry, draft
from labctl.errors import TopologyError
from labctl.names import lab_name
from labctl.shape import faults
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
    """The topology that a file describes, or a TopologyError with all that is wrong with it (the first hundred)."""
    document = parse(text, file)
    found = faults(document)
    problems = [problem for _, problem in found]
    if all(len(path) > 1 for path, _ in found):  # with a top-level key misspelt, the rest would be misunderstood
        drafted = draft(document, [path for path, _ in found])
        problems += [*drafted.problems, *meaning(drafted)]
        if not problems:
            return _topology(drafted)
    raise TopologyError(sorted(set(problems))[:MAX_PROBLEMS])


def _topology(drafted: Draft) -> Topology:
    document = drafted.document
    return Topology(
        name=lab_name(document),
        bridges=tuple(drafted.bridges.values()),
        nodes=tuple(node for entry in drafted.entries.values() for node in _multiplied(entry)),
        cables=tuple(drafted.cables.values()),
        prefix=document.data.get("prefix"),
        file=document.file,
        positions=document.positions(),
    )


def _multiplied(entry: Entry) -> Iterator[Node]:
    return (replace(entry.node, name=name) for name in entry.nodes)
