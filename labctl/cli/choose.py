"""Which lab, which node: LAB and NODE of the command line."""

from __future__ import annotations

import os

from labctl.errors import UsageError
from labctl.linux import store
from labctl.record import Record
from labctl.state import HOST, LAB

DEFAULT_FILE = "topology.yaml"


def choose(lab: str | None) -> Record:
    """The running lab of this name or file; without one the only lab there is, or that of ./topology.yaml.

    Raises UsageError where there is none, or more than one to choose from.
    """
    name = choose_name(lab)
    record = store.load(name) if name in store.labs() else None
    if record is None:
        raise no_such_lab(name)
    return record


def choose_name(lab: str | None) -> str:
    """The name of that lab, whether or not it runs. Raises UsageError where it is not clear which is meant."""
    name = _name(lab, store.labs())
    if not LAB.fullmatch(name):
        raise UsageError(f"{name!r} cannot be a lab's name", "See 'labctl ps' for those that run.")
    return name


def no_such_lab(name: str) -> UsageError:
    running = store.labs()
    if name in running:
        return UsageError(f"the record of the lab {name} is gone", f"Remove what is left of it: labctl down {name}")
    return UsageError(f"no lab '{name}' is running", _hint(name, running, "Running"))


def choose_node(node: str) -> tuple[Record, str]:
    """NODE as `node` or `lab/node`; `host` is the lab's host. Raises UsageError."""
    lab, _, name = node.rpartition("/")
    record = choose(lab) if lab else _lab_of(name)
    nodes = [*record.state.nodes, HOST]
    if name not in nodes:
        raise UsageError(f"the lab {record.lab} has no node '{name}'", _hint(name, nodes, "Its nodes"))
    return record, name


def _hint(word: str, known: list[str], title: str) -> str:
    import difflib  # 2 ms, for mistakes only

    near = difflib.get_close_matches(word, known, 1)
    return f"did you mean '{near[0]}'?" if near else f"{title}: {', '.join(known) or 'none'}."


def _name(lab: str | None, running: list[str]) -> str:
    if lab is not None:
        return lab if lab in running or not _is_file(lab) else _name_of(lab)
    if len(running) == 1:
        return running[0]
    if os.path.isfile(DEFAULT_FILE):
        return _name_of(DEFAULT_FILE)
    if not running:
        raise UsageError("no lab is running", "Start one: labctl up two-containers.yaml --isolated")
    raise UsageError("more than one lab is running", f"Say which: {', '.join(running)}.")


def _lab_of(node: str) -> Record:
    """The lab that a bare node name means: the only one that has it."""
    running = store.labs()
    if len(running) < 2 or node == HOST:
        return choose(None)
    records = [record for name in running if (record := store.load(name)) and node in record.state.nodes]
    if len(records) == 1:
        return records[0]
    names = ", ".join(f"{record.lab}/{node}" for record in records) or ", ".join(running)
    raise UsageError(f"more than one lab is running, and '{node}' does not tell which", f"Say which: {names}.")


def _is_file(lab: str) -> bool:
    return lab.endswith((".yaml", ".yml")) or "/" in lab


def _name_of(file: str) -> str:
    from labctl.cli.files import topology

    return topology(file).name
