"""The terminal that labctl writes to, if it is one."""

from __future__ import annotations

import os
import sys


def colour() -> bool:
    """On a terminal, unless NO_COLOR says otherwise (no-color.org: any value but none)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
