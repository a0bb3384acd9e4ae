"""`labctl ps`. Needs neither YAML nor a whole lab: what is broken is listed as such."""

from __future__ import annotations

import json
import sys

from labctl.cli.choose import choose
from labctl.cli.terminal import colour
from labctl.errors import LabError
from labctl.linux import store
from labctl.linux.look import glance
from labctl.linux.rootless import admit
from labctl.view.data import ps_data
from labctl.view.ps import Lab, Unreadable, ps


def run(as_json: bool, lab: str | None = None, whole: bool = False) -> None:
    """Prints all labs, or one. What is for a person at a terminal folds nodes that are alike, unless it is to be
    `whole`."""
    admit()
    names = store.labs() if lab is None else [choose(lab).lab]
    labs = [found for name in names if (found := _read(name))]
    if as_json:
        print(json.dumps(ps_data(labs), indent=2))
    elif labs:
        print(ps(labs, colour=colour(), whole=whole or not sys.stdout.isatty()), end="")
    else:
        print("no lab is running; start one: labctl up two-containers.yaml --isolated", file=sys.stderr)


def _read(lab: str) -> Lab | None:
    """None when it went away meanwhile."""
    try:
        record = store.load(lab)
        if record is None and lab in store.labs():
            return Unreadable(lab, f"its record is gone; remove what is left: labctl down {lab}")
        return glance(record) if record else None
    except LabError as error:
        return Unreadable(lab, error.message)
