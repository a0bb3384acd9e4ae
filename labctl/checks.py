"""What a topology's entries mean together: the table of contents of all semantic checks.

They see what draft.py could read, and say nothing about entries that already have a problem. They know no machine:
whether names and addresses are free there is seen when a lab comes up.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from labctl.addressing import addressing
from labctl.dependencies import dependencies
from labctl.draft import Draft
from labctl.errors import MAX_PROBLEMS, Problem
from labctl.names import names
from labctl.publishing import publishing
from labctl.sharing import sharing
from labctl.wiring import wiring


def meaning(draft: Draft) -> list[Problem]:
    """Everything wrong with a draft, or more problems than are told."""
    return list(islice(_problems(draft), MAX_PROBLEMS + 1))


def _problems(draft: Draft) -> Iterator[Problem]:
    yield from names(draft)
    yield from sharing(draft)
    yield from wiring(draft)
    yield from dependencies(draft)
    yield from addressing(draft)
    yield from publishing(draft)
