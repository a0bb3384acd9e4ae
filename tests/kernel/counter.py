"""Run inside a private machine: what `up`, a second `up` and `down` of a lab of each size ask of the kernel, counted.

counter.py SIZE…     prints [{"up": {"messages": 1, …}, "again": …, "down": …}, …] as JSON
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

from labctl import lab, removal
from labctl.linux import libc, netlink
from labctl.topology import load

EVENTS = {
    "os.fork": "processes",
    "subprocess.Popen": "processes",
    "os.posix_spawn": "processes",
    "open": "files",
    "os.symlink": "links",
}
counted: Counter[str] = Counter()


def audited(event: str, arguments: tuple[Any, ...]) -> None:
    if name := EVENTS.get(event):
        counted[name] += 1
        if event == "open" and "/dev/null" in str(arguments[0]):
            counted[name] -= 1


def counting(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **more: Any) -> Any:
        counted[name] += 1
        if name == "datagrams":
            counted["messages"] += len(arguments[1])
        return function(*arguments, **more)

    return call


def main(*sizes: str) -> None:
    sys.addaudithook(audited)
    netlink.Socket._send = counting("datagrams", netlink.Socket._send)  # type: ignore[method-assign]
    netlink.Socket.dump = counting("dumps", netlink.Socket.dump)  # type: ignore[method-assign]
    for name in ("unshare", "setns", "mount", "umount"):
        setattr(libc, name, counting(name, getattr(libc, name)))
    os.register_at_fork(after_in_child=counted.clear)
    print(json.dumps([of(int(size)) for size in sizes]))


def of(size: int) -> dict[str, Counter[str]]:
    nodes = "".join(f"  n{number}: {{networks: [lan]}}\n" for number in range(size))
    topology = load(f"name: lab\nbridges: {{lan: {{subnet: 10.7.0.0/16}}}}\nnamespaces:\n{nodes}".encode(), "lab.yaml")
    found = {}
    for name, work in (
        ("up", lambda: lab.up(topology, None)),
        ("again", lambda: lab.up(topology, None)),
        ("down", lambda: removal.down("lab")),
    ):
        counted.clear()
        work()
        found[name] = counted.copy()
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
