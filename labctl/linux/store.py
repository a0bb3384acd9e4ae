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
from labctl.linux import libc, names
from labctl.linux.place import RUN, Place
from labctl.record import REMEDY, Record, dumps, loads
from labctl.state import HOST, File, Namespace, Service, State

RECORD, NEW = "lab.json", ".lab.json"  # the latter while it is written
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def labs() -> list[str]:
    """The labs of this machine, also those without a record."""
    try:
        return sorted(entry.name for entry in os.scandir(RUN) if not entry.is_symlink() and contents(Place(entry.name)))
    except (FileNotFoundError, PermissionError):  # the latter: root's labs, and this user has none
        return []


def contents(place: Place) -> list[Path]:
    """What is in a lab's folder, but for a record that was not finished."""
    return [entry for entry in _entries(place.directory) if entry.name != NEW]


def load(lab: str) -> Record | None:
    """Raises LabError where there is a record that this version cannot use."""
    path = RUN / lab / RECORD
    found = text(lab)
    record = loads(found, str(path)) if found or has_record(lab) else None
    if record and record.lab != lab:
        raise LabError(f"{path} is the record of the lab {record.lab}", REMEDY)
    return record


def has_record(lab: str) -> bool:
    return os.path.exists(RUN / lab / RECORD)


def text(lab: str) -> str:
    """A lab's record as it is; empty when there is none."""
    try:
        return (RUN / lab / RECORD).read_text(errors="replace")
    except (FileNotFoundError, PermissionError):  # the latter: root's labs, and this user has none
        return ""


def save(record: Record) -> None:
    """Whole or not at all: a reader, or a crash, never meets half a record. Raises OSError."""
    folder = RUN / record.lab
    new = folder / NEW
    try:
        new.unlink(missing_ok=True)  # whoever put a link there
        with new.open("x") as file:
            file.write(dumps(record))
        new.replace(folder / RECORD)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(folder / RECORD)) from error


def forget(place: Place) -> None:
    """From here on there is no such lab; what its folder still has are files."""
    (place.directory / RECORD).unlink(missing_ok=True)


def prepare(place: Place) -> None:
    """The folder of namespaces: a shared mount, so that letting go of one is seen by every service's mounts."""
    with suppress(FileExistsError):
        os.mkdir(place.mounts, 0o700)
    if not libc.is_mount(place.mounts):
        libc.mount(place.mounts, place.mounts, flags=libc.MS_BIND)
        libc.mount("none", place.mounts, flags=libc.MS_SHARED)


def unmount(place: Place) -> None:
    """Lets go of all namespaces in one call. Raises OSError."""
    while libc.is_mount(place.mounts):
        libc.umount(place.mounts)


def erase_etc(place: Place) -> None:
    """Removes the nodes' own files of /etc. Raises OSError."""
    _remove(place.etcs)


def erase(place: Place) -> None:
    """Removes all files of a lab. Raises OSError."""
    for entry in os.scandir(place.directory):
        _remove(entry.path) if entry.is_dir(follow_symlinks=False) else os.unlink(entry)


def _remove(folder: str | Path) -> None:
    """Removes a folder, whatever services made in it: those inside are brought up to its own level, one after the
    other, for they may be nested deeper than a recursion (shutil.rmtree) or a path can go. Raises OSError."""
    top = os.open(folder, FOLDER)
    try:
        while names := os.listdir(top):
            for name in names:
                if not _unlink(name, top):
                    _bring_up(name, top)
                    os.rmdir(name, dir_fd=top)
        os.rmdir(folder)
    finally:
        os.close(top)


def _bring_up(name: str, top: int) -> None:
    """Empties a folder that is in another: its folders come into that one, under names that nobody has."""
    inner = os.open(name, FOLDER, dir_fd=top)
    try:
        for each in os.listdir(inner):
            if not _unlink(each, inner):
                os.rename(each, os.urandom(16).hex(), src_dir_fd=inner, dst_dir_fd=top)
    finally:
        os.close(inner)


def _unlink(name: str, folder: int) -> bool:
    """Removes what is no folder; answers whether it was none."""
    try:
        os.unlink(name, dir_fd=folder)
    except IsADirectoryError:
        return False
    return True


def tidy(place: Place, wanted: State) -> None:
    """Removes the files of nodes and services that are no more, of namespaces that were let go, and old names of those
    that stay. Raises OSError."""
    nodes = {*wanted.nodes, HOST}
    with_files = {item.node for item in wanted.items if isinstance(item, File)}
    logs = {place.log(item.node, item.name) for item in wanted.items if isinstance(item, Service)}
    running = {item.node for item in wanted.items if isinstance(item, Service)}
    for parent, owners in ((Path(place.etcs), with_files), (place.scratch(HOST).parent, running)):
        for folder in _entries(parent):
            if folder.name not in owners:
                _remove(folder)
    for log in _entries(place.log("", "").parent):
        if log not in logs:
            log.unlink()
    known = {place.status(item.node, item.name) for item in wanted.items if isinstance(item, Service)}
    for folder in _entries(place.status(HOST, "").parent):
        for status in _entries(folder):
            if status not in known:
                status.unlink()
        _prune(folder)
    for folder in (Path(place.etcs), place.scratch(HOST).parent, place.log("", "").parent, place.status("", "")):
        _prune(folder)
    named = {item.netns for item in wanted.items if isinstance(item, Namespace)}
    for link in names.links(place):
        if os.path.basename(link) not in named:
            os.unlink(link)
    for mount in os.scandir(place.mounts):
        if mount.name not in nodes and not libc.is_mount(mount.path):
            os.unlink(mount)


def _entries(folder: Path) -> list[Path]:
    """What is in a folder; nothing where it is none, or has just gone."""
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def sweep() -> None:
    """Removes folders that a killed labctl made and put nothing into, unless somebody is at work in one."""
    for folder in _entries(RUN) if os.access(RUN, os.W_OK) else ():
        if folder.is_dir() and not contents(Place(folder.name)):
            with suppress(BlockingIOError), _locked(folder, None):
                _prune(folder)
    _prune(RUN)
    names.sweep()


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
        fd = _folder(folder)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting is None:
                os.close(fd)
                raise
            waiting()
            fcntl.flock(fd, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(fd), os.stat(folder)):
                return fd
        os.close(fd)


def _folder(folder: Path) -> int:
    """Opens a folder, which is made if need be; what else has its name, a link to one included, is refused."""
    while True:
        try:
            for each in dict.fromkeys((RUN, folder)):
                with suppress(FileExistsError):
                    each.mkdir(mode=0o700)
            return os.open(folder, FOLDER)
        except NotADirectoryError:
            raise LabError(f"{folder} is no folder", "It is not labctl's, and was left alone; remove it.") from None
        except FileNotFoundError:  # another labctl has just removed it, empty
            if not RUN.parent.is_dir():
                raise


def _prune(folder: Path) -> None:
    """Removes an empty folder, and a record in it that was not finished."""
    with suppress(OSError):  # in use, or already gone
        if [entry.name for entry in folder.iterdir()] == [NEW]:
            (folder / NEW).unlink()
        folder.rmdir()
