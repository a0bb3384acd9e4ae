"""`labctl down`. Needs neither YAML nor schema: the record tells what to remove."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from labctl import removal
from labctl.cli.bar import Bar
from labctl.cli.choose import choose_name, no_such_lab
from labctl.errors import Incomplete
from labctl.linux import store
from labctl.linux.rootless import admit_to_change


def run(lab: str | None = None, everything: bool = False) -> None:
    """Removes a lab, or every lab of this machine. Raises Incomplete when something of one is still there."""
    can_be = admit_to_change()
    store.sweep()
    names = store.labs() if everything else [choose_name(lab)]
    if names and not can_be:
        raise no_such_lab(names[0])
    failures: list[str] = []
    for name in names:
        begun = time.monotonic()
        try:
            with Bar(name) as bar:
                there = removal.down(name, _waiting(name), bar.progress)
            if there:
                _say(f"{name}: down in {time.monotonic() - begun:.2f} s")
            elif not everything:
                raise no_such_lab(name)
        except Incomplete as error:
            failures += error.failures
    if failures:
        raise Incomplete(" ".join(names), failures)
    if not names:
        _say("no lab is running")


def _waiting(name: str) -> Callable[[], None]:
    return lambda: _say(f"{name}: waiting for another labctl …")


def _say(line: str) -> None:
    print(line, file=sys.stderr)
