"""The folder /run/labctl: one folder a lab, mode 0700, with the lab's record, its namespaces' mounts, files and logs.

Locks are the folders themselves (flock on a directory), so there is no lock file to leave behind; a lock on a folder
that was removed meanwhile is dropped and taken anew.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from labctl.errors import LabError
from labctl.linux import libc
from labctl.linux.place import NETNS, RUN, Place
from labctl.record import Record, dumps, loads

FORBIDDEN = ("the labs of this machine belong to root", "Run labctl as root, for example with sudo.")


def labs() -> list[str]:
    """The labs that have a record here. Raises LabError where /run/labctl may not be read."""
    try:
        return sorted(entry.name for entry in os.scandir(RUN) if (Path(entry) / "lab.json").exists())
    except FileNotFoundError:
        return []
    except PermissionError:
        raise LabError(*FORBIDDEN) from None


def load(lab: str) -> Record | None:
    path = RUN / lab / "lab.json"
    try:
        return loads(path.read_text(), str(path))
    except FileNotFoundError:
        return None
    except PermissionError:
        raise LabError(*FORBIDDEN) from None


def save(record: Record) -> None:
    """Whole or not at all: a reader, or a crash, never meets half a record."""
    folder = RUN / record.lab
    new = folder / ".lab.json"
    new.write_text(dumps(record))
    new.replace(folder / "lab.json")


def prepare(place: Place) -> None:
    """The folder of namespaces: a shared mount, so that letting go of one is seen by every service's mounts."""
    place.mounts.mkdir(mode=0o700, exist_ok=True)
    if not libc.is_mount(str(place.mounts)):
        libc.mount(str(place.mounts), str(place.mounts), flags=libc.MS_BIND)
        libc.mount("none", str(place.mounts), flags=libc.MS_SHARED)


def remove(place: Place) -> None:
    """Lets go of all namespaces in one call and removes the lab's folder. Raises OSError."""
    while libc.is_mount(str(place.mounts)):
        libc.umount(str(place.mounts))
    import shutil  # 3 ms

    shutil.rmtree(place.directory, ignore_errors=False)


def sweep() -> None:
    """Removes folders that a killed labctl made and put nothing into, unless somebody is at work in one."""
    for folder in RUN.iterdir() if RUN.is_dir() else ():
        if not any(folder.iterdir()):
            with suppress(BlockingIOError), _locked(folder, None):
                _prune(folder)
    _prune(RUN)


@contextmanager
def lab_lock(lab: str, waiting: Callable[[], None]) -> Iterator[None]:
    """One labctl at a time on a lab. Makes the lab's folder, and removes it again if nothing was put in it."""
    folder = RUN / lab
    try:
        with _locked(folder, waiting):
            try:
                yield
            finally:
                _prune(folder)
    finally:
        _prune(RUN)


@contextmanager
def machine_lock() -> Iterator[None]:
    """One labctl at a time where numbers are chosen and the host's settings are looked at. Held for milliseconds."""
    with _locked(RUN, lambda: None):
        yield


def forget_netns_folder(record: Record) -> None:
    """Removes /run/netns if a lab made it and nobody uses it any more."""
    if record.made_netns_folder:
        _prune(NETNS)


@contextmanager
def _locked(folder: Path, waiting: Callable[[], None] | None) -> Iterator[None]:
    """Waits for a lock that is taken; without `waiting` raises BlockingIOError instead."""
    fd = _lock(folder, waiting)
    try:
        yield
    finally:
        os.close(fd)


def _lock(folder: Path, waiting: Callable[[], None] | None) -> int:
    while True:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting is None:
                os.close(fd)
                raise
            waiting()
            fcntl.flock(fd, fcntl.LOCK_EX)
        if folder.exists() and os.path.samestat(os.fstat(fd), os.stat(folder)):
            return fd
        os.close(fd)


def _prune(folder: Path) -> None:
    with suppress(OSError):  # in use, or already gone
        folder.rmdir()
