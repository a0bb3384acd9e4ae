"""The folder /run/labctl: one folder a lab, mode 0700, with the lab's record, its namespaces' mounts, files and logs.

Locks are the folders themselves (flock on a directory), so there is no lock file to leave behind; a lock on a folder
that was removed meanwhile is dropped and taken anew.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from labctl.errors import LabError
from labctl.linux import libc, names
from labctl.linux.entrance import RUN
from labctl.linux.place import Place
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


def contents(place: Place) -> list[str]:
    """What is in a lab's folder, but for a record that was not finished."""
    return [name for name in _names(place.directory) if name != NEW]


def load(lab: str) -> Record | None:
    """Raises LabError where there is a record that this version cannot use."""
    path = f"{RUN}/{lab}/{RECORD}"
    found = text(lab)
    record = loads(found, path) if found or has_record(lab) else None
    if record and record.lab != lab:
        raise LabError(f"{path} is the record of the lab {record.lab}", REMEDY)
    return record


def has_record(lab: str) -> bool:
    return os.path.exists(f"{RUN}/{lab}/{RECORD}")


def text(lab: str) -> str:
    """A lab's record as it is; empty when there is none."""
    try:
        with open(f"{RUN}/{lab}/{RECORD}", errors="replace") as file:
            return file.read()
    except (FileNotFoundError, PermissionError):  # the latter: root's labs, and this user has none
        return ""


def save(record: Record) -> None:
    """Whole or not at all: a reader, or a crash, never meets half a record. Raises OSError."""
    folder = f"{RUN}/{record.lab}"
    new, path = f"{folder}/{NEW}", f"{folder}/{RECORD}"
    try:
        _unlink_if_there(new)  # whoever put a link there
        with open(new, "x") as file:
            file.write(dumps(record))
        os.replace(new, path)
    except OSError as error:
        _unlink_if_there(new)
        raise OSError(error.errno, error.strerror, path) from error


def forget(place: Place) -> None:
    """From here on there is no such lab; what its folder still has are files."""
    _unlink_if_there(f"{place.directory}/{RECORD}")


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


def _remove(folder: str) -> None:
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
    for parent, owners in ((place.etcs, with_files), (place.scratches, running)):
        for name in _names(parent):
            if name not in owners:
                _remove(f"{parent}/{name}")
    for name in _names(place.logs):
        if (log := f"{place.logs}/{name}") not in logs:
            os.unlink(log)
    known = {place.status(item.node, item.name) for item in wanted.items if isinstance(item, Service)}
    for node in _names(place.statuses):
        for name in _names(f"{place.statuses}/{node}"):
            if (status := place.status(node, name)) not in known:
                os.unlink(status)
        _prune(f"{place.statuses}/{node}")
    for folder in (place.etcs, place.scratches, place.logs, place.statuses):
        _prune(folder)
    named = {item.netns for item in wanted.items if isinstance(item, Namespace)}
    for link in names.links(place):
        if os.path.basename(link) not in named:
            os.unlink(link)
    for mount in os.scandir(place.mounts):
        if mount.name not in nodes and not libc.is_mount(mount.path):
            os.unlink(mount)


def _names(folder: str) -> list[str]:
    """What is in a folder; nothing where it is none, or has just gone."""
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _unlink_if_there(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def sweep() -> None:
    """Removes folders that a killed labctl made and put nothing into, unless somebody is at work in one."""
    for lab in _names(RUN) if os.access(RUN, os.W_OK) else ():
        folder = f"{RUN}/{lab}"
        if os.path.isdir(folder) and not contents(Place(lab)):
            with suppress(BlockingIOError), _locked(folder, None):
                _prune(folder)
    _prune(RUN)
    names.sweep()


@contextmanager
def lab_lock(lab: str, waiting: Callable[[], None]) -> Iterator[None]:
    """One labctl at a time on a lab. Makes the lab's folder, and removes it again if nothing was put in it."""
    folder = f"{RUN}/{lab}"
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
def _locked(folder: str, waiting: Callable[[], None] | None) -> Iterator[None]:
    """Waits for a lock that is taken; without `waiting` raises BlockingIOError instead."""
    fd = _lock(folder, waiting)
    try:
        yield
    finally:
        os.close(fd)


def _lock(folder: str, waiting: Callable[[], None] | None) -> int:
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


def _folder(folder: str) -> int:
    """Opens a folder, which is made if need be; what else has its name, a link to one included, is refused."""
    while True:
        try:
            for each in dict.fromkeys((RUN, folder)):
                with suppress(FileExistsError):
                    os.mkdir(each, 0o700)
            return os.open(folder, FOLDER)
        except NotADirectoryError:
            raise LabError(f"{folder} is no folder", "It is not labctl's, and was left alone; remove it.") from None
        except FileNotFoundError:  # another labctl has just removed it, empty
            if not os.path.isdir(os.path.dirname(RUN)):
                raise


def _prune(folder: str) -> None:
    """Removes an empty folder, and a record in it that was not finished."""
    with suppress(OSError):  # in use, or already gone
        if os.listdir(folder) == [NEW]:
            os.unlink(f"{folder}/{NEW}")
        os.rmdir(folder)
