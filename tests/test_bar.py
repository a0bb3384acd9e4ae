"""The line of progress: its text at every width, and the time that it says is left."""

from __future__ import annotations

import pytest

from labctl.linux.effort import QUEUED, effort, nodes
from labctl.plan import Add, Remove
from labctl.progress import Progress
from labctl.state import Address, Link, Namespace, Port, Service
from labctl.view.bar import bar, duration, left


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (120, "lab: up [############------------------] 412 of 1000 nodes, 2 s left"),
        (79, "lab: up [############------------------] 412 of 1000 nodes, 2 s left"),
        (48, "lab: up [####------] 412 of 1000 nodes, 2 s left"),
        (44, "lab: up 412 of 1000 nodes, 2 s left"),
        (30, "lab: up 412 of 1000 nodes"),
        (20, "412 of 1000 nodes"),
        (5, "412 o"),
        (0, ""),
    ],
)
def test_line(width: int, line: str) -> None:
    assert bar("lab: up", 0.412, 1000, 2.2, width) == line
    assert len(line) <= width


@pytest.mark.parametrize(("share", "shown"), [(-0.1, "0"), (0.0, "0"), (0.999, "9"), (1.0, "10"), (1.2, "10")])
def test_no_share_is_more_than_all_and_none_is_rounded_up(share: float, shown: str) -> None:
    assert f" {shown} of 10 nodes" in bar("lab: up", share, 10, None, 79)
    assert ("[" + "#" * 30 + "]" in bar("lab: up", share, 10, None, 79)) is (share >= 1)


@pytest.mark.parametrize(("seconds", "text"), [(0.0, "1 s"), (1.6, "2 s"), (119.0, "119 s"), (120.0, "2 min")])
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("done", "spent", "since", "seconds"),
    [
        (0.0, 0.0, 1.0, None),
        (4.0, 1.0, 0.0, None),  # too little to tell
        (50.0, 2.0, 0.0, 2.0),
        (50.0, 2.0, 1.5, 0.5),  # nothing has come for a while: it is nearer all the same
        (50.0, 2.0, 9.0, 0.0),
    ],
)
def test_time_left(done: float, spent: float, since: float, seconds: float | None) -> None:
    assert left(done, 100.0, spent, since) == seconds


def test_progress_goes_forward_only_until_other_work_begins() -> None:
    seen: list[tuple[str, float]] = []
    progress = Progress(lambda it: seen.append((it.what, it.done)))
    progress.expect("up", 3, 10.0)
    progress.reach(4.0)
    progress.reach(2.0)
    progress.expect("down", 3, 5.0)
    assert seen == [("up", 0.0), ("up", 4.0), ("up", 4.0), ("down", 0.0)]


def test_a_plan_is_for_the_nodes_that_it_touches() -> None:
    pair = Link("veth", (Port("host", "veth1", 25, "", 1500), Port("b", "eth0", 24, "", 1500)))
    plan = (Add(Namespace("host", "l-host")), Add(Namespace("a", "a")), Remove(pair), Add(Service("a", "main", ("x",))))
    assert nodes(plan) == 2
    assert all(effort(op) > 0 for op in plan)
    assert QUEUED[:2] == (Link, Address)
