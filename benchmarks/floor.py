"""The floor: floor.c, compiled into .cache; it builds what labctl builds, with nothing around it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")
PROGRAM = Path(__file__).parents[1] / ".cache/benchmarks/floor"
MISSING = "no C compiler (cc) on this machine"


def program() -> Path | None:
    """The compiled program, made anew when its source is younger; None without a compiler."""
    compiler = shutil.which("cc")
    if not compiler:
        return None
    if not PROGRAM.exists() or PROGRAM.stat().st_mtime < SOURCE.stat().st_mtime:
        PROGRAM.parent.mkdir(parents=True, exist_ok=True)
        partial = PROGRAM.with_name("floor.partial")
        subprocess.run([compiler, "-O2", "-Wall", "-o", partial, SOURCE], check=True, timeout=120)
        partial.rename(PROGRAM)  # whole or not at all
    return PROGRAM
