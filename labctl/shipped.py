"""Where a topology named on the command line is: a file of the user's, or one that comes with labctl.

Knows the folder of shipped topologies in a wheel and in a checkout. Reads none of them (document.py).
"""

from __future__ import annotations

from posixpath import dirname, exists, isdir, splitext

from labctl.errors import UsageError
from labctl.shape import did_you_mean

PACKAGE = dirname(__file__)
ENDINGS = (".yaml", ".yml")


def locate(file: str) -> str:
    """The path that a FILE argument means. Only bare names are looked up; '-' stays, and means standard input."""
    base, ending = splitext(file)
    name = base if ending in ENDINGS else file
    if file == "-" or "/" in file or (exists(file) and not isdir(file)):  # a pipe is as good as a file
        return file
    if name and exists(path := f"{folder()}/{name}.yaml"):
        return path
    if exists(file):
        return file  # a directory, which whoever reads it can say better
    hint = did_you_mean(name, names(), f"the shipped topologies are {', '.join(names())}")
    raise UsageError(f"{file or repr(file)}: no such file, nor a shipped topology{hint}")


def names() -> list[str]:
    """The shipped topologies."""
    from pathlib import Path  # 3 ms, and only `init`, `doctor` and mistakes need it

    return sorted(path.stem for path in Path(folder()).glob("*.yaml"))


def folder() -> str:
    """In a wheel the topologies are inside the package; in a checkout they are beside it."""
    packaged = f"{PACKAGE}/topologies"
    return packaged if isdir(packaged) else f"{dirname(PACKAGE)}/topologies"
