"""About how long each operation takes, in tenths of a millisecond of one machine: progress is to be even, not exact."""

from __future__ import annotations

from labctl.plan import Op, Plan
from labctl.state import HOST, Address, Link, Namespace, Route, Service

NODE, PROCESS, HOST_LINK = 1.0, 15.0, 8.0  # to remove
QUEUED = (Link, Address, Route)  # half of it is making the messages, half the kernel's work once they are sent


def effort(op: Op) -> float:
    match op.item:
        case Namespace(same_as=""):
            return 12.0
        case Link():
            return 6.0
        case Address() | Route():
            return 2.0
        case Service():
            return 30.0
        case _:
            return 1.0


def nodes(plan: Plan) -> int:
    """How many nodes a plan is for."""
    ends = {end.node for op in plan if isinstance(op.item, Link) for end in op.item.ends}
    return len((ends | {op.item.node for op in plan}) - {HOST})
