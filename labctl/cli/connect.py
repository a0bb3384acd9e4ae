"""`labctl connect` and `labctl disconnect`: a node's networks, while the lab runs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from labctl.cli.choose import choose_node
from labctl.cli.up import finish, silently, waiting_for
from labctl.errors import UsageError
from labctl.linux.rootless import admit_to_change
from labctl.state import HOST


def run(node: str, bridge: str, settings: Mapping[str, Any]) -> None:
    """Plugs a node into a bridge. The story goes to stderr."""
    from labctl import plug

    lab, name = _node(node)
    begun = time.monotonic()
    given = {key: value for key, value in settings.items() if value is not None}
    done = plug.connect(lab, name, bridge, given, silently, lambda: waiting_for(lab))
    finish(done, time.monotonic() - begun)


def off(node: str, bridge: str) -> None:
    """Unplugs a node from a bridge. The story goes to stderr."""
    from labctl import plug

    lab, name = _node(node)
    begun = time.monotonic()
    done = plug.disconnect(lab, name, bridge, silently, lambda: waiting_for(lab))
    finish(done, time.monotonic() - begun)


def _node(node: str) -> tuple[str, str]:
    admit_to_change()
    record, name = choose_node(node)
    if name == HOST:
        raise UsageError("the host is on every bridge of its lab", "Name a node: labctl ps")
    return record.lab, name
