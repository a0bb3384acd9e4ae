"""`labctl doctor`. For every user, on every machine: what cannot be read is told, not an error."""

from __future__ import annotations

import json
import sys

from labctl import shipped
from labctl.cli.terminal import colour
from labctl.doctor import findings, level
from labctl.document import read
from labctl.linux.probe import probe
from labctl.topology import load
from labctl.view.doctor import doctor, doctor_data
from labctl.written import Network


def run(as_json: bool) -> None:
    """Prints what helps and hinders labs here. Exits with 1 when none can be built."""
    found = findings(probe(), _subnets())
    if as_json:
        print(json.dumps(doctor_data(found), indent=2))
    else:
        print(doctor(found, colour=colour()), end="")
    sys.exit(int(level(found) == "problem"))


def _subnets() -> dict[str, tuple[Network, ...]]:
    """Those of the shipped topologies."""
    files = {name: f"{shipped.folder()}/{name}.yaml" for name in shipped.names()}
    topologies = {name: load(read(file), file) for name, file in files.items()}
    return {name: tuple(s for b in topology.bridges for s in b.subnets) for name, topology in topologies.items()}
