"""The story: what a lab would change, and how it comes up. How it goes away again is removal.py."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from labctl.conflicts import check_names, check_ports, check_subnets, taken
from labctl.desired import Context, desired, forwarding
from labctl.errors import Incomplete, LabError, UsageError
from labctl.fields import dataclass, replace
from labctl.leases import lease
from labctl.limits import needs, refusals
from labctl.linux import machine, nursery, store
from labctl.linux.capacity import limits
from labctl.linux.place import Place, rootless
from labctl.linux.processes import here, must_be_host_of
from labctl.linux.recovery import recover
from labctl.linux.supervision import Unready
from labctl.plan import Op, Plan, plan
from labctl.progress import Progress
from labctl.record import Leases, Record
from labctl.removal import neighbours, others, remove, restorable
from labctl.state import Names, Ruleset, Service, State
from labctl.written import Topology

Report = Callable[[Op, Names], None]  # each operation once it is on its way


@dataclass(frozen=True)
class Intent:
    """What a lab is to become: the record to write first, the state to reach, and what may be there already."""

    record: Record
    wanted: State
    expected: State
    new: bool


@dataclass(frozen=True)
class Draft:
    """What `up` is about to do: what is meant, and the way there from what was found."""

    record: Record
    wanted: State
    plan: Plan
    new: bool


def up(
    topology: Topology,
    isolated: bool | None,
    report: Report = lambda op, names: None,
    waiting: Callable[[], None] = lambda: None,
    unready: Unready = lambda services: None,
    progress: Progress | None = None,
) -> Draft:
    """Brings a lab to the state of its file; one that did not exist before is removed again when that fails.

    Tells `waiting` when another labctl is at work on it, and `unready` what it waits for when that takes long.
    Raises TopologyError or Conflict with nothing touched, KernelError or ServiceError with all done that came before.
    """
    with store.lab_lock(topology.name, waiting):
        new = not store.has_record(topology.name)
        if new and (rest := recover(topology.name)):
            remove(rest)  # of a lab whose record is gone
        with nursery.ahead(sum(not node.same_as for node in topology.nodes) if new else 0):
            return bring(topology, isolated, report, unready, progress)


def bring(
    topology: Topology,
    isolated: bool | None,
    report: Report,
    unready: Unready = lambda services: None,
    progress: Progress | None = None,
    *,
    services: bool = True,
) -> Draft:
    """What `up` does; the caller holds the lab's lock. Without `services` none is started or ended."""
    progress = progress or Progress()
    with store.machine_lock():
        intent = _intent(topology, isolated)
        if intent.new and (refusal := next(refusals(limits(), needs(intent.wanted)), None)):
            raise LabError(*refusal)
        store.save(intent.record)
    try:
        if not intent.new:
            machine.settle(machine.place(intent.record), intent.expected)
        found = _compared(intent)
        if not services:
            found = replace(found, plan=tuple(op for op in found.plan if not isinstance(op.item, Service)))
        _build(found, report, unready, progress)
    except BaseException as error:
        if intent.new:
            _remove_again(intent.record, error, progress)
        elif isinstance(error, KeyboardInterrupt):
            error.add_note(f"The lab {topology.name} stays as it is now; 'labctl up {topology.file}' goes on.")
        raise
    return found


def draft(topology: Topology, isolated: bool | None) -> Draft:
    """What `up` would do; reads only. `isolated` None: as the lab runs, or not at all."""
    return _compared(_intent(topology, isolated))


def _intent(topology: Topology, isolated: bool | None) -> Intent:
    """Chooses numbers and looks for conflicts with whatever else is on the host."""
    record = store.load(topology.name)
    if record:
        must_be_host_of(record)
    if record and isolated and not record.isolated:
        raise UsageError(
            f"the lab {record.lab} already runs on this machine's own host namespace",
            f"Take it down first: labctl down {record.lab}",
        )
    place = Place(topology.name, record.isolated if record else bool(isolated) or rootless())
    beside = [] if place.isolated else neighbours(topology.name)
    site = machine.site(place, with_ports=any(not publish.paired for node in topology.nodes for publish in node.ports))
    if not place.isolated:
        check_subnets(topology, site, record, beside)
    leases = lease(topology, record.leases if record else Leases(), taken(site, record, beside))
    prefix = topology.prefix if topology.prefix is not None else f"{topology.name}-" if place.isolated else ""
    meant = _record(topology, place, prefix, leases, record)
    meant = replace(meant, found=_found(topology, meant, beside))
    wanted = desired(topology, _context(meant, place))
    meant = replace(meant, rules_as_listed=_listed(wanted, record))
    check_names(wanted, site, meant, new=record is None)
    check_ports(topology, machine.refused(place, wanted), beside)
    expected = wanted.over(record.state) if record else wanted.host_settings()  # of a new lab nothing else can be there
    return Intent(replace(meant, state=wanted.over(meant.state)), wanted, expected, new=record is None)


def _context(record: Record, place: Place) -> Context:
    return Context(
        record.leases,
        record.prefix,
        record.directory,
        machine.resolver(),
        record.found,
        place.isolated,
        machine.has_ipv6(),
        machine.bridge_nf(place),
    )


def _compared(intent: Intent) -> Draft:
    """The way from what is there to what is meant."""
    observed = machine.observe(intent.expected, machine.place(intent.record), intent.record.rules_as_listed)
    return Draft(intent.record, intent.wanted, plan(intent.wanted, observed), intent.new)


def _build(found: Draft, report: Report, unready: Unready, progress: Progress) -> None:
    record, place = found.record, machine.place(found.record)
    store.prepare(place)
    tell = lambda op: report(op, record.names)  # noqa: E731
    listed = machine.apply(found.plan, place, record, restorable(record), tell, unready, progress)
    rules = record.rules_as_listed if listed is None else listed
    if not found.new:
        store.tidy(place, found.wanted)
    store.save(replace(record, state=found.wanted, rules_as_listed=rules))


def _remove_again(record: Record, error: BaseException, progress: Progress) -> None:
    try:
        remove(record, progress)
        error.add_note(f"The lab {record.lab} was removed again; nothing is left of it.")
    except Incomplete as rest:
        error.add_note(str(rest))
    except KeyboardInterrupt:
        error.add_note(f"Its removal was interrupted too: 'labctl down {record.lab}' does the rest.")


def _record(topology: Topology, place: Place, prefix: str, leases: Leases, old: Record | None) -> Record:
    path = os.path.abspath(topology.file)
    old = old or _new_record(topology.name, place)
    return replace(
        old,
        file="-" if topology.file == "-" else path,
        directory=topology.directory or os.path.dirname(path),
        text=topology.text,
        prefix=prefix,
        leases=leases,
        host="" if place.isolated else here(),
    )


def _new_record(lab: str, place: Place) -> Record:
    """Whoever makes a folder for names removes it; of several labs the last."""
    netns, etc = machine.names_folders()
    beside = others(lab)
    return Record(
        lab,
        "-",
        place.isolated,
        made_netns_folder=not netns or any(other.made_netns_folder for other in beside),
        made_etc_netns=not etc or any(other.made_etc_netns for other in beside),
    )


def _listed(wanted: State, old: Record | None) -> str:
    """How nft lists the lab's rules, if those that it has listed are still the ones that are meant."""
    rules = {item for item in wanted.items if isinstance(item, Ruleset)}
    return old.rules_as_listed if old and rules <= old.state.items else ""


def _found(topology: Topology, record: Record, others: Iterable[Record]) -> dict[str, str]:
    """The host's settings as they were before any lab: the first lab looked, the later ones take its word."""
    if record.isolated:
        return {}
    known: dict[str, str] = {}
    for other in others:
        known |= other.found
    known |= record.found
    for setting in forwarding(topology):
        if setting.name not in known and (value := machine.read(setting.name)) is not None:
            known[setting.name] = value
    return known
