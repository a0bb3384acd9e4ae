"""The floor: floor.c and floor.h, compiled on the spot; it builds what labctl builds, with nothing around it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from benchmarks.packages import CACHE

SOURCES = [Path(__file__).with_suffix(suffix) for suffix in (".c", ".h")]
MISSING = "no C compiler (cc) on this machine"


def program(folder: Path = CACHE) -> Path | None:
    """The compiled program, made anew when its source is younger; None without a compiler."""
    compiler = shutil.which("cc")
    if not compiler:
        return None
    compiled = folder / "floor"
    if not compiled.exists() or compiled.stat().st_mtime < max(source.stat().st_mtime for source in SOURCES):
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / "floor.partial"
        subprocess.run(
            [compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-o", partial, SOURCES[0]], check=True, timeout=120
        )
        partial.rename(compiled)  # whole or not at all
    return compiled
