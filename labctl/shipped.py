"""Where a topology named on the command line is: a file of the user's, or one that comes with labctl.

Knows the folder of shipped topologies in a wheel and in a checkout. Reads none of them (document.py).
"""

from __future__ import annotations

from pathlib import Path

from labctl.errors import UsageError
from labctl.shape import did_you_mean

PACKAGE = Path(__file__).parent
ENDINGS = (".yaml", ".yml")


def locate(file: str) -> Path:
    """The path that a FILE argument means. Only bare names are looked up; '-' stays, and means standard input."""
    path = Path(file)
    name = file.removesuffix(path.suffix) if path.suffix in ENDINGS else file
    if file == "-" or "/" in file or _is_file(path):
        return path
    if name in names():
        return folder() / f"{name}.yaml"
    if _exists(path):
        return path  # a directory, which whoever reads it can say better
    hint = did_you_mean(name, names(), f"the shipped topologies are {', '.join(names())}")
    raise UsageError(f"{file}: no such file, nor a shipped topology{hint}")


def names() -> list[str]:
    """The shipped topologies."""
    return sorted(path.stem for path in folder().glob("*.yaml"))


def folder() -> Path:
    """In a wheel the topologies are inside the package; in a checkout they are beside it."""
    packaged = PACKAGE / "topologies"
    return packaged if packaged.is_dir() else PACKAGE.parent / "topologies"


def _is_file(path: Path) -> bool:
    return _exists(path) and not path.is_dir()  # a pipe is as good as a file


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long, or with a NUL
        return False
