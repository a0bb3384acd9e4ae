"""`labctl logs`: what the services of a node wrote."""

from __future__ import annotations

import os
import sys

from labctl.cli.choose import choose_node
from labctl.errors import UsageError
from labctl.linux.logs import follow
from labctl.linux.place import Place
from labctl.linux.rootless import admit


def run(node: str, service: str | None, following: bool = False, tail: str = "all") -> None:
    """Prints it, oldest first; of each service the last `tail` lines, or all. With several services each line begins
    with its service's name. `following` goes on with what comes until the lab goes down."""
    if tail != "all" and not tail.isdecimal():
        raise UsageError(f"--tail takes a number of lines or 'all', not '{tail}'", "For example: --tail 20")
    admit()
    record, name = choose_node(node)
    place = Place(record.lab, record.isolated)
    names = sorted(item.name for item in record.services(name))
    if service and service not in names:
        raise UsageError(f"{name} has no service '{service}'", f"Its services: {', '.join(names) or 'none'}.")
    logs = {each: place.log(name, each) for each in ([service] if service else names)}
    if not logs:
        raise UsageError(f"{name} runs no service", "A namespace's `run:` starts one.")
    follow(logs, None if tail == "all" else int(tail), lambda: following and os.path.isdir(place.logs), _write)


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
