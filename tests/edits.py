"""Random pairs of topologies: what a lab's file was, and what its author made of it."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from fitting import Data, ends_of, good, mended, text
from hypothesis import strategies as st
from strategies import BRIDGES, NODES, Draw, topologies


@st.composite
def pairs(draw: Draw[Any]) -> tuple[str, str]:
    """A lab's file and the next one: mostly the same with a few edits, sometimes another."""
    before, other = draw(topologies()), draw(topologies())
    if draw(st.integers(0, 5)) == 5:
        return text(before), text(other)
    after = before
    for _ in range(draw(st.integers(1, 5))):
        edit = draw(st.sampled_from([grafted, grafted, grafted, renamed, reordered]))
        candidate = mended(edit(draw, deepcopy(after), deepcopy(other)))
        after = candidate if good(candidate) else after
    return text(before), text(after)


def grafted(draw: Draw[Any], mine: Data, theirs: Data) -> Data:
    """With one part as the other topology has it; gone, if that has none."""
    section = draw(st.sampled_from(["namespaces", "bridges", "links"]))
    if section == "links":
        cables = [*mine["links"], *theirs["links"]]
        mine["links"] = [cable for cable in cables if draw(st.booleans())]
    else:
        mine[section] = _grafted(draw, mine[section], theirs[section], deepest=2)
    mine["namespaces"] = mine["namespaces"] or theirs["namespaces"]
    return mine


def _grafted(draw: Draw[Any], mine: Data, theirs: Data, deepest: int) -> Data:
    names = list({**mine, **theirs})
    if not names:
        return mine
    name = draw(st.sampled_from(names))
    one, other = mine.get(name), theirs.get(name)
    likes = [value for value in theirs.values() if deepest == 2]  # another entry of the same kind will do
    if isinstance(one, dict) and deepest and draw(st.booleans()):
        donor = other if isinstance(other, dict) else draw(st.sampled_from(likes)) if likes else {}
        return mine | {name: _grafted(draw, one, donor, deepest - 1)}
    if name in theirs and one != other:
        return mine | {name: other}
    return {key: value for key, value in mine.items() if key != name}


def renamed(draw: Draw[Any], mine: Data, _: Data) -> Data:
    """With a namespace or a bridge under another name, or two names exchanged."""
    section, pool = draw(st.sampled_from([("namespaces", NODES), ("bridges", BRIDGES)]))
    old, new = draw(st.sampled_from(pool)), draw(st.sampled_from(pool))
    names = {old: new, new: old}
    mine[section] = {names.get(name, name): value for name, value in mine[section].items()}
    if section == "bridges":
        for node in mine["namespaces"].values():
            node["networks"] = {names.get(name, name): plug for name, plug in node.get("networks", {}).items()}
        return mine
    for cable in mine["links"]:
        cable["endpoints"] = [
            end | {"node": names.get(end["node"], end["node"])} for end in ends_of({"links": [cable]})
        ]
    return mine


def reordered(draw: Draw[Any], mine: Data, _: Data) -> Data:
    """The other way round: bridges, namespaces, or the networks of one, which gives its interfaces other names."""
    nodes = mine["namespaces"]
    owner, key = draw(st.sampled_from([(node, "networks") for node in nodes.values()] + [(mine, "namespaces")]))
    owner[key] = dict(reversed(owner.get(key, {}).items()))
    return mine
