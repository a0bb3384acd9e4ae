"""Plans by case: a folder with a topology, what is observed, and the plan as the shell a reviewer reads.

topology.yaml   what is meant
before.yaml     optional: the topology that is running
drift.txt       optional: what was changed behind labctl's back, a line each: `- <words>` takes away the items
                whose text has all the words, `~ <words> : <field>=<value>` changes a field of a port or an item
plan.txt        the expected script; `python tests/test_plan.py` writes them anew, for review
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from obedient import carried_out

from labctl.desired import Context, desired
from labctl.fields import replace
from labctl.leases import Taken, lease
from labctl.linux.apply import brings_ipv6
from labctl.plan import Add, Op, Remove, plan
from labctl.record import Leases
from labctl.shell import PROXY, script
from labctl.state import Item, Link, Namespace, Port, Service, State
from labctl.topology import load

CASES = sorted(folder for folder in (Path(__file__).parent / "plans").iterdir() if folder.is_dir())
GOOD = sorted((Path(__file__).parent / "topologies" / "good").glob("*.yaml"))
HOST = Taken(indexes=frozenset({1, 2}))


def meant(file: Path, held: Leases | None = None) -> tuple[State, Leases]:
    topology = load(file.read_bytes(), file.name)
    leases = lease(topology, held or Leases(), HOST)
    return desired(topology, Context(leases, directory="/srv")), leases


def observed(case: Path) -> tuple[State, Leases]:
    """What runs: nothing, or the case's earlier file with its drift."""
    before = case / "before.yaml"
    drift = case / "drift.txt"
    if not before.exists() and not drift.exists():
        return State(), Leases()
    state, leases = meant(before if before.exists() else case / "topology.yaml")
    for line in drift.read_text().splitlines() if drift.exists() else ():
        state = drifted(state, line)
    return state, leases


def drifted(state: State, line: str) -> State:
    words, _, change = line[2:].partition(" : ")
    hit = [item for item in state.items if all(word in repr(item) for word in words.split())]
    assert hit, line
    rest = state.items - set(hit)
    return State.of([*rest, *(changed(item, change) for item in hit if change)])


def changed(item: Item, change: str) -> Item:
    name, _, text = change.partition("=")
    value: Any = {"None": None, "False": False, "True": True}.get(text, int(text) if text.isdigit() else text)
    if isinstance(item, Link):
        return replace(item, ends=(replace(item.ends[0], **{name: value}), *item.ends[1:]))
    return replace(item, **{name: value})


def printed(case: Path) -> str:
    there, held = observed(case)
    text = script(plan(meant(case / "topology.yaml", held)[0], there))
    return text.replace(PROXY[-1], "/usr/lib/python3/dist-packages/labctl/linux/proxy.py")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_plan_is_as_reviewed(case: Path) -> None:
    assert printed(case) == (case / "plan.txt").read_text()


@pytest.mark.parametrize("file", GOOD, ids=lambda file: file.stem)
def test_nothing_to_do_when_all_is_there(file: Path) -> None:
    state, _ = meant(file)
    assert plan(state, state) == ()


@pytest.mark.parametrize("file", GOOD, ids=lambda file: file.stem)
def test_the_same_file_gives_the_same_plan(file: Path) -> None:
    assert script(plan(meant(file)[0], State())) == script(plan(meant(file)[0], State()))


PAIRS = [(a, b) for a in GOOD for b in GOOD if a != b]


@pytest.mark.parametrize(("before", "after"), PAIRS, ids=lambda file: file.stem)
def test_every_file_leads_to_every_other(before: Path, after: Path) -> None:
    there, held = meant(before)
    wanted, _ = meant(after, held)
    reached = carried_out(there, plan(wanted, there))
    assert reached == wanted
    assert plan(wanted, reached) == ()


def test_removal_goes_from_the_outside_in() -> None:
    state, _ = meant(GOOD[0])
    kinds = [type(step.item) for step in plan(State(), state)]
    services = [number for number, kind in enumerate(kinds) if kind is Service]
    namespaces = [number for number, kind in enumerate(kinds) if kind is Namespace]
    assert all(isinstance(step, Remove) for step in plan(State(), state))
    assert not services or not namespaces or max(services) < min(namespaces)


def test_a_replacement_says_why() -> None:
    state, _ = meant(Path(__file__).parents[1] / "topologies" / "two-containers.yaml")
    pair = next(item for item in state.items if isinstance(item, Link) and item.kind == "veth")
    other = replace(pair, ends=(replace(pair.ends[0], index=99), pair.ends[1]))
    steps: list[Op] = list(plan(state, State.of(state.items - {pair} | {other})))
    assert isinstance(steps[0], Remove)
    assert "index 99 instead of" in steps[0].reason


def test_variables_of_any_name_and_those_that_the_user_has_too() -> None:
    variables = (("$(A) B", "1"), ("C", "2 3"), ("HOME", "/h"), ("LABCTL_SERVICE", "lab/a/x"))
    text = script((Add(Service("a", "x", ("true",), variables, user="nobody")),))
    assert "&& C='2 3' HOME=/h LABCTL_SERVICE=lab/a/x env -- '$(A) B=1' setsid ip netns exec a env USER=nobody " in text


def test_an_interface_whose_name_is_a_word_of_ip() -> None:
    link = Link("bridge", (Port("host", "b", 3, "02:42:00:00:00:01", 1400),))
    assert script((Add(link), Remove(link))).splitlines()[1:] == [
        "ip link add name b index 3 address 02:42:00:00:00:01 type bridge",
        "ip link set dev b mtu 1400",
        "ip link set dev b up",
        "ip link del dev b",
    ]


if __name__ == "__main__":
    for folder in CASES:
        (folder / "plan.txt").write_text(printed(folder))


@pytest.mark.parametrize(("subnet", "expected"), [("10.1.0.0/24", False), ("[10.1.0.0/24, 'fd00::/64']", True)])
def test_who_waits_for_carriers_is_known_of_a_plan(subnet: str, expected: bool) -> None:
    """Of one that makes nodes with IPv6, and of one that only gives them another network."""
    one = f"""
bridges: {{br0: {{subnet: {subnet}}}, br1: {{subnet: {subnet.replace("10.1", "10.2").replace("fd00", "fd01")}}}}}
namespaces: {{a: {{networks: [br0]}}}}
"""
    topologies = [load(text.encode(), "lab.yaml") for text in (one, one.replace("[br0]}", "[br0, br1]}"))]
    states = [desired(topology, Context(lease(topology, Leases(), Taken()))) for topology in topologies]
    assert any(map(brings_ipv6, plan(states[1], State()))) == expected
    assert any(map(brings_ipv6, plan(states[1], states[0]))) == expected
