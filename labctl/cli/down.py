"""`labctl down`. Needs neither YAML nor schema: the record tells what to remove."""

from __future__ import annotations

import sys
import time

from labctl import removal
from labctl.cli.choose import choose
from labctl.errors import Incomplete
from labctl.linux import store
from labctl.linux.place import must_be_root


def run(lab: str | None = None, everything: bool = False) -> None:
    """Removes a lab, or every lab of this machine. Raises Incomplete when something of one is still there."""
    must_be_root()
    names = store.labs() if everything else [choose(lab).lab]
    failures: list[str] = []
    for name in names:
        begun = time.monotonic()
        try:
            removal.down(name, lambda name=name: _say(f"{name}: waiting for another labctl …"))  # type: ignore[misc]
            _say(f"{name}: down in {time.monotonic() - begun:.2f} s")
        except Incomplete as error:
            failures += error.failures
    store.sweep()
    if failures:
        raise Incomplete(" ".join(names), failures)
    if not names:
        _say("no lab is running")


def _say(line: str) -> None:
    print(line, file=sys.stderr)
