"""The story's other half: a lab goes away. Apart from lab.py because it needs no topology, plan or YAML."""

from __future__ import annotations

from collections.abc import Callable

from labctl.errors import Incomplete, LabError
from labctl.linux import store
from labctl.linux.place import Place
from labctl.linux.processes import must_be_host_of
from labctl.linux.recovery import recover
from labctl.linux.teardown import teardown
from labctl.progress import Progress
from labctl.record import Record


def down(lab: str, waiting: Callable[[], None] = lambda: None, progress: Progress | None = None) -> bool:
    """Removes a lab; answers whether there was one. Raises Incomplete when something of it is still there.

    A lab whose record is gone, damaged or a newer labctl's is removed by what the kernel tells of it.
    """
    with store.lab_lock(lab, waiting):
        record = usable(lab) or recover(lab)
        if record:
            must_be_host_of(record)
            _interruptible(record, progress)
    return record is not None


def usable(lab: str) -> Record | None:
    """The lab's record, if this version can read it."""
    try:
        return store.load(lab)
    except LabError:
        return None


def _interruptible(record: Record, progress: Progress | None) -> None:
    try:
        remove(record, progress)
    except KeyboardInterrupt as interrupt:
        interrupt.add_note(f"The lab {record.lab} is partly removed: 'labctl down {record.lab}' does the rest.")
        raise


def remove(record: Record, progress: Progress | None = None) -> None:
    """Removes what a record describes; the caller holds the lab's lock. Raises Incomplete."""
    place = Place(record.lab, record.isolated)
    failures = teardown(record, place, lambda: restorable(record), progress or Progress())
    if failures:
        raise Incomplete(record.lab, failures)


def others(lab: str) -> list[Record]:
    """The other labs of this machine."""
    return [record for name in store.labs() if name != lab and (record := usable(name))]


def neighbours(lab: str) -> list[Record]:
    """The other labs on this host's own namespace."""
    return [record for record in others(lab) if not record.isolated]


def restorable(record: Record) -> dict[str, str]:
    """What to write back when this lab stops needing it: all but what another lab still needs."""
    if record.isolated:
        return {}
    needed = {name for other in neighbours(record.lab) for name in other.settings()}
    return {name: value for name, value in record.found.items() if name not in needed}
