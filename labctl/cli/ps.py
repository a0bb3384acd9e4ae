"""`labctl ps`. Needs neither YAML nor a whole lab: what is broken is listed as such."""

from __future__ import annotations

import json
import sys

from labctl.cli.show import colour
from labctl.errors import LabError
from labctl.linux import store
from labctl.linux.look import look
from labctl.linux.rootless import admit
from labctl.view.data import ps_data
from labctl.view.ps import Lab, Unreadable, ps


def run(as_json: bool) -> None:
    admit()
    labs = [found for name in store.labs() if (found := _read(name))]
    if as_json:
        print(json.dumps(ps_data(labs), indent=2))
    elif labs:
        print(ps(labs, colour=colour()), end="")
    else:
        print("no lab is running; start one: labctl up two-containers.yaml --isolated", file=sys.stderr)


def _read(lab: str) -> Lab | None:
    """None when it went away meanwhile."""
    try:
        record = store.load(lab)
        if record is None and lab in store.labs():
            return Unreadable(lab, f"its record is gone; remove what is left: labctl down {lab}")
        return look(record) if record else None
    except LabError as error:
        return Unreadable(lab, error.message)
