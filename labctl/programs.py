"""From `run:` as written to the services of a node. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from labctl.state import SERVICE, Service
from labctl.written import Node


def services(node: Node, lab: str, directory: str) -> Iterator[Service]:
    """A node's; `directory` is the topology file's folder, which they know as $LABCTL_TOPOLOGY_DIR."""
    for run in node.run:
        own = {SERVICE: f"{lab}/{node.name}/{run.name}", "LABCTL_TOPOLOGY_DIR": directory}
        yield Service(
            node.name,
            run.name,
            ("/bin/sh", "-c", run.command) if isinstance(run.command, str) else run.command,
            tuple(sorted((dict(node.environment) | dict(run.environment) | own).items())),
            run.working_dir,
            run.user,
            run.restart,
            run.ready,
            run.ready_timeout,
            run.depends_on,
        )
