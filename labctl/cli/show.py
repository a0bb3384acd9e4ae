"""`labctl show`."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence

from labctl.cli.choose import choose
from labctl.cli.terminal import colour
from labctl.errors import UsageError
from labctl.fields import replace
from labctl.linux import look, store
from labctl.linux.rootless import admit
from labctl.view.data import show_data
from labctl.view.sections import OVERVIEW, SECTIONS
from labctl.view.show import show


def run(lab: str | None, sections: Sequence[str], as_json: bool) -> None:
    """Prints a lab's screens. `lab` may be a section when no lab has that name."""
    admit()
    if lab is not None and lab in SECTIONS and lab not in store.labs():
        sections = [lab, *sections]
        lab = None
    _check(sections)
    record = choose(lab)
    picture = look.look(record)
    if "rules" in (sections or (SECTIONS if as_json else OVERVIEW)):
        picture = replace(picture, rules=look.rules(record))
    if as_json:
        print(json.dumps(show_data(picture, sections), indent=2))
    else:
        print(show(picture, sections, colour=colour()), end="")


def _check(sections: Sequence[str]) -> None:
    unknown = next((name for name in sections if name not in SECTIONS), None)
    if unknown:
        near = difflib.get_close_matches(unknown, SECTIONS, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"There are: {', '.join(SECTIONS)}."
        raise UsageError(f"show has no section '{unknown}'", hint)
