"""About how long each operation takes, in tenths of a millisecond of one machine: progress is to be even, not exact."""

from __future__ import annotations

from labctl.plan import Op, Plan
from labctl.state import HOST, Address, Link, Namespace, Route, Service

NODE, PROCESS, HOST_LINK = 1.0, 15.0, 8.0  # to remove
QUEUED = (Link, Address, Route)  # half of it is making the messages, half the kernel's work once they are sent


OF_KIND = {Namespace: 12.0, Link: 6.0, Address: 2.0, Route: 2.0, Service: 30.0}


def effort(op: Op) -> float:
    return OF_KIND.get(type(op.item), 1.0)


def nodes(plan: Plan) -> int:
    """How many nodes a plan is for."""
    ends = {end.node for op in plan if isinstance(op.item, Link) for end in op.item.ends}
    return len((ends | {op.item.node for op in plan}) - {HOST})
