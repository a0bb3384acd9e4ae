"""Run inside a private machine: what labctl means a lab to be, and what it observes of it, as JSON.

    observer.py up FILE               the lab that `labctl up FILE` brought up
    observer.py by-hand FILE SCRIPT   runs `sh -e SCRIPT` first, then looks at what that made as if it were a lab

`listed` is the observed state with the rule set as nft lists it, `observed` compares it with the one recorded.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from labctl import lab
from labctl.cli.files import topology
from labctl.linux import libc, machine, rootless, store
from labctl.linux.place import NETNS, Place
from labctl.state import Namespace, State


def up(file: str) -> tuple[State, State, State]:
    draft = lab.draft(topology(file), None)
    record = store.load(draft.record.lab)
    assert record, "the lab is not up"
    place = Place(record.lab, record.isolated)
    observed = machine.observe(draft.wanted, place, record.rules_as_listed)
    return draft.wanted, observed, machine.observe(draft.wanted, place, "")


def by_hand(file: str, script: str) -> tuple[State, State, State]:
    draft = lab.draft(topology(file), None)
    subprocess.run(["sh", "-e", script], check=True)
    place = Place(draft.record.lab)
    for item in draft.wanted.items:
        if isinstance(item, Namespace):
            adopt(place, item)
    observed = machine.observe(draft.wanted, place, "")
    return draft.wanted, observed, observed


def adopt(place: Place, namespace: Namespace) -> None:
    """Shows what `ip netns add` and the script made where labctl keeps it; services may still be on their way in."""
    named, ours = Path(NETNS, namespace.netns), Path(place.mount(namespace.node))
    ours.parent.mkdir(parents=True, exist_ok=True)
    if namespace.same_as:
        ours.symlink_to(place.leads_to(namespace.same_as))
        return
    ours.touch()
    libc.mount(str(named), str(ours), flags=libc.MS_BIND)
    shutil.copytree(Path("/etc/netns", namespace.netns), place.etc(namespace.node))


def rows(state: State) -> dict[str, str]:
    return {"/".join(item.key): repr(item) for item in state.items}


if __name__ == "__main__":
    rootless.admit()
    verb, *arguments = sys.argv[1:]
    desired, observed, listed = up(*arguments) if verb == "up" else by_hand(*arguments)
    print(json.dumps({"desired": rows(desired), "observed": rows(observed), "listed": rows(listed)}))
