"""Laws of the pure half, for random topologies: from text to state, from state to state, from plan to shell."""

from __future__ import annotations

import subprocess

from edits import pairs
from fitting import text
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from obedient import carried_out
from strategies import topologies

from labctl.desired import Context, desired
from labctl.leases import Taken, lease
from labctl.plan import plan
from labctl.record import Leases, Record, dumps, loads
from labctl.shell import script
from labctl.state import File, Link, State
from labctl.topology import Topology, load

HOST = Taken(indexes=frozenset({1, 2}))
LAWS = settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
Meant = tuple[State, Leases]


def meant(file: str, held: Leases | None = None) -> Meant:
    topology = read(file)
    leases = lease(topology, held or Leases(), HOST)
    return desired(topology, Context(leases, directory="/srv")), leases


def read(file: str) -> Topology:
    return load(file.encode(), "lab.yaml")


@LAWS
@given(topologies().map(text))
def test_a_topology_means_one_thing(file: str) -> None:
    """The same text gives the same state, with no two items for one thing, and what is meant needs no change."""
    state, leases = meant(file)
    again, _ = meant(file, leases)
    assert meant(file) == (state, leases)
    assert again == state
    assert len(state.by_key) == len(state.items)
    assert plan(state, state) == ()
    assert script(plan(state, State())) == script(plan(again, State()))


@LAWS
@given(pairs())
def test_a_plan_reaches_what_it_is_for(pair: tuple[str, str]) -> None:
    before, held = meant(pair[0])
    after, _ = meant(pair[1], held)
    for start, end in ((before, after), (State(), after), (before, State())):
        reached = carried_out(start, plan(end, start))
        assert reached == end
        assert plan(end, reached) == ()


@LAWS
@given(pairs())
def test_what_stays_keeps_its_numbers(pair: tuple[str, str]) -> None:
    """A node that stays on a bridge keeps its address there if nobody asks for it, and nobody's number is another's."""
    before, held = meant(pair[0])
    after, leases = meant(pair[1], held)
    assert len(set(leases.indexes.values())) == len(leases.indexes)
    assert leases.group == held.group
    old, new = indexes(before), indexes(after)
    assert {names: old[names] for names in old.keys() & new} == {names: new[names] for names in old.keys() & new}
    bridges = {bridge.name: bridge for bridge in read(pair[0]).bridges}
    same = {bridge.name for bridge in read(pair[1]).bridges if bridges.get(bridge.name) == bridge}
    fixed = {str(a.ip or a.ip6) for node in read(pair[1]).nodes for a in node.networks}
    for owner in held.addresses.keys() & leases.addresses.keys():
        if owner.split("/")[1] in same and not fixed & {held.addresses[owner]}:
            assert leases.addresses[owner] == held.addresses[owner]


def indexes(state: State) -> dict[tuple[str, ...], tuple[int, ...]]:
    links = [item for item in state.items if isinstance(item, Link)]
    return {
        tuple(f"{end.node}/{end.name}" for end in link.ends): tuple(end.index for end in link.ends) for link in links
    }


@LAWS
@given(topologies().map(text), st.booleans())
def test_a_record_is_read_as_it_was_written(file: str, isolated: bool) -> None:
    state, leases = meant(file)
    record = Record("lab", "/srv/lab.yaml", isolated, "p-", leases, {"net.ipv4.ip_forward": "0"}, "listed", True, state)
    found = loads(dumps(record), "lab.json")
    assert found.state == State.of(item for item in state.items if not isinstance(item, File))
    assert vars(found) | {"state": state} == {name: getattr(record, name) for name in vars(found)}


def test_every_plan_is_shell() -> None:
    """Each plan in a function of its own, all read by one shell."""
    scripts: list[str] = []

    @LAWS
    @given(pairs())
    def draw(pair: tuple[str, str]) -> None:
        before, held = meant(pair[0])
        after, _ = meant(pair[1], held)
        scripts.extend(script(plan(*way)) for way in ((after, before), (before, State()), (State(), before)))

    draw()
    functions = [f"plan{number}() {{\n:\n{text}}}\n" for number, text in enumerate(scripts)]
    done = subprocess.run(["sh", "-n"], input="".join(functions), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
