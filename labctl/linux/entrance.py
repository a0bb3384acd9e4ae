"""The short way into a node: from what is in /run/labctl alone, as most people mean it who type `labctl exec`.

It reads no record and imports next to nothing: `exec` then takes twice the time of bare Python, not four times. What
it does not find, or not find clear, it leaves to the long way (cli/choose.py), which also knows what to say.
"""

from __future__ import annotations

import os

from labctl.linux import inside, libc

RUN = "/run/labctl"  # tmpfs: gone at a reboot, as the namespaces are
WHOEVERS = "/proc/self/ns/net"  # a link to it leads each process to its own network: to the machine's, outside of nodes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def enter(node: str) -> tuple[str, str] | None:
    """Moves this process into NODE or LAB/NODE and answers (lab, node); None, and nothing happened, where it is not
    clear which that is. Raises OSError.
    """
    lab, _, name = node.rpartition("/")
    found = _labs(lab, name) if os.geteuid() == 0 and name not in ("", "host") else []
    if len(found) != 1:
        return None
    folder = f"{RUN}/{found[0]}"
    owner = _owner(f"{folder}/netns/{name}", name)
    if owner != WHOEVERS:
        if not libc.is_namespace(f"{folder}/netns/{owner}"):
            return None
        inside.enter(f"{folder}/netns/{owner}", f"{folder}/etc/{owner}")
    return found[0], name


def _labs(lab: str, node: str) -> Sequence[str]:
    """Those that have the node."""
    labs = os.listdir(RUN) if os.path.isdir(RUN) else []
    mounts = {each: f"{RUN}/{each}/netns/{node}" for each in labs if lab in ("", each)}
    return [each for each, mount in mounts.items() if os.path.lexists(mount) and not os.path.islink(f"{RUN}/{each}")]


def _owner(mount: str, node: str) -> str:
    """The node whose namespace it is in, or WHOEVERS."""
    return os.readlink(mount) if os.path.islink(mount) else node
