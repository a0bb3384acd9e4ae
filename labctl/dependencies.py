"""`depends_on`: who waits for whom. Whether what is waited for is there, and nobody waits for itself.

A reference names a namespace, for all its processes, or one of them: NODE or NODE/PROCESS. What `count` multiplies is
meant with all its copies under the entry's name, and with one of them under its own.
"""

from __future__ import annotations

from collections.abc import Iterator

from labctl.document import Steps
from labctl.draft import Draft, Entry, Wait
from labctl.errors import Problem
from labctl.shape import did_you_mean
from labctl.syntax import plain, quoted

MAX_WAITS = 100_000  # pairs of processes of which one waits for the other

Process = tuple[str, str]  # an entry, or a node, and a process of it
Owner = tuple[Entry, frozenset[str]]  # an entry, and the names of its processes


def dependencies(draft: Draft) -> Iterator[Problem]:
    """Every problem with who waits for whom."""
    owners = _owners(draft)
    edges: dict[Process, dict[Process, Steps]] = {}  # who waits for whom, and where that is written
    if problem := _too_many(draft, owners):
        yield problem
        return
    for entry in draft.entries.values():
        for wait in entry.waits:
            if wrong := _wrong(draft, owners, entry, wait):
                yield draft.document.problem(wait.path, wrong)
                continue
            for name in [wait.process] if wait.process else [run.name for run in entry.node.run]:
                found = edges.setdefault((entry.node.name, name), {})
                for other in _meant(owners, wait.text):
                    found.setdefault(other, wait.path)
    yield from _circles(draft, edges)


def waited_for(draft: Draft) -> dict[Process, tuple[Process, ...]]:
    """The processes, by node, that each process of an entry waits for; only for those that wait."""
    owners = _owners(draft)
    found: dict[Process, dict[Process, None]] = {}
    for entry in draft.entries.values():
        for wait in entry.waits:
            node, _, _ = wait.text.partition("/")
            nodes = draft.entries[node].nodes if node in draft.entries else (node,)
            others = [(each, name) for each in nodes for _, name in _meant(owners, wait.text)]
            for name in [wait.process] if wait.process else [run.name for run in entry.node.run]:
                found.setdefault((entry.node.name, name), {}).update(dict.fromkeys(others))
    return {process: tuple(others) for process, others in found.items()}


def _owners(draft: Draft) -> dict[str, Owner]:
    """The entries by every name that may be written."""
    if not any(entry.waits for entry in draft.entries.values()):
        return {}
    entries = {name: (e, frozenset(run.name for run in e.node.run)) for name, e in draft.entries.items()}
    return {name: owner for owner in entries.values() for name in owner[0].nodes} | entries


def _meant(owners: dict[str, Owner], text: str) -> list[Process]:
    """The processes of an entry that a good reference means."""
    node, _, process = text.partition("/")
    if node not in owners:
        return []
    entry, names = owners[node]
    if process:
        return [(entry.node.name, process)] if process in names else []
    return [(entry.node.name, run.name) for run in entry.node.run]


def _too_many(draft: Draft, owners: dict[str, Owner]) -> Problem | None:
    """A topology is not to take a thousand times longer than its text: pairs are counted before they are made."""
    total = 0
    for entry in draft.entries.values():
        for wait in entry.waits:
            node, _, process = wait.text.partition("/")
            copies = draft.entries[node].copies if node in draft.entries else 1
            others = 1 if process else len(owners[node][1]) if node in owners else 0
            total += entry.copies * (1 if wait.process else len(entry.node.run)) * copies * others
            if total > MAX_WAITS:
                message = f"more than {MAX_WAITS} times a process would wait for another; name fewer to wait for"
                return draft.document.problem(wait.path, message)
    return None


def _wrong(draft: Draft, owners: dict[str, Owner], entry: Entry, wait: Wait) -> str:
    """Why nobody can wait for that; empty when one can, or when what is meant has problems of its own."""
    node, slash, process = wait.text.partition("/")
    if not entry.node.run:
        return "this namespace runs nothing that could wait; give it 'run', or remove 'depends_on'"
    if ("namespaces", node) in draft.aside:
        return ""
    if node not in owners:
        if not slash and node in [run.name for run in entry.node.run]:
            return f"unknown namespace {quoted(node)}; did you mean {quoted(f'{entry.node.name}/{node}')}?"
        otherwise = "write one of 'namespaces', or one of its processes as namespace/process"
        return f"unknown namespace {quoted(node)}" + did_you_mean(node, list(owners), otherwise)
    target, names = owners[node]
    if not names:
        return f"{quoted(node)} runs nothing to wait for; give it 'run', or remove this"
    if slash and process not in names:
        known = [run.name for run in target.node.run]
        hint = did_you_mean(process, known, f"it runs {', '.join(map(plain, known[:9]))}")
        return f"{quoted(node)} has no process {quoted(process)}{hint}"
    return ""


def _circles(draft: Draft, edges: dict[Process, dict[Process, Steps]]) -> Iterator[Problem]:
    """The first circle of processes that wait for one another, told where it begins in the file."""
    if not edges:
        return
    from graphlib import CycleError, TopologicalSorter  # 1 ms, and in few topologies anybody waits

    try:
        TopologicalSorter({process: list(others) for process, others in edges.items()}).prepare()
    except CycleError as error:
        circle = error.args[1][:0:-1]  # each waits for the next
        order = {process: number for number, process in enumerate(edges)}
        first = min(range(len(circle)), key=lambda i: order[circle[i]])
        circle = [*circle[first:], *circle[:first]]
        names = [f"{node}/{process}" for node, process in circle]
        path = edges[circle[0]][circle[1 % len(circle)]]
        way = " -> ".join([*names[:9], *(["…"] if len(names) > 9 else []), names[0]])
        remedy = "remove one of these" if len(names) > 1 else "remove this"
        yield draft.document.problem(path, f"{quoted(names[0])} would wait for itself ({way}); {remedy}")
