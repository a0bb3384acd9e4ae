"""The names of a lab's namespaces for ip(8): symbolic links in /run/netns and /etc/netns to the lab's folder.

What is the lab's is known by where it leads, never by what it is called; what leads elsewhere is left alone. A link
in /etc/netns outlives a reboot: one that leads into the folder of a lab that is no more is whoever's comes next.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import suppress

from labctl.linux import libc
from labctl.linux.entrance import RUN
from labctl.linux.place import ETC_NETNS, NETNS, Place, has_etc
from labctl.linux.readings import text
from labctl.record import Record
from labctl.state import HOST, Namespace


def named(place: Place, namespace: Namespace) -> bool:
    """Whether all of its names lead to it."""
    return all(_target(link) == target for link, target in _links(place, namespace))


def name(place: Place, namespace: Namespace) -> None:
    """Never replaces a name that leads elsewhere. Raises OSError."""
    for link, target in _links(place, namespace):
        while True:
            try:
                os.symlink(target, link)
                break
            except FileExistsError:
                if _target(link) == target:
                    break
                if not _is_ours(link, place):
                    raise
                os.unlink(link)
            except FileNotFoundError:  # or the last lab but this one has just removed the empty folder
                os.makedirs(os.path.dirname(link), 0o755, exist_ok=True)


def unname(place: Place, namespace: Namespace) -> None:
    for folder in _folders():
        link = f"{folder}/{namespace.netns}"
        if namespace.netns and _of_lab(link) == place.lab:
            os.unlink(link)


def links(place: Place) -> Iterator[str]:
    """Every link that leads into the lab's folder, whatever it is called."""
    for folder in _folders():
        yield from (entry for entry in _entries(folder) if _of_lab(entry) == place.lab)


def foreign(place: Place, folder: str) -> frozenset[str]:
    """What is in a folder and neither leads to the lab nor to one that is no more."""
    return frozenset(os.path.basename(entry) for entry in _entries(folder) if not _is_ours(entry, place))


def folders() -> tuple[bool, bool]:
    """Whether there are /run/netns and /etc/netns; one with nothing but what a reboot left is no more than a lab's."""
    left = _entries(ETC_NETNS) if has_etc() else []
    return os.path.isdir(NETNS), os.path.isdir(ETC_NETNS) and not (left and all(map(_is_stale, left)))


def sweep() -> None:
    """Removes what leads to labs that went with a reboot."""
    stale = [entry for entry in _entries(ETC_NETNS) if _is_stale(entry)] if has_etc() else []
    for link in stale:
        with suppress(FileNotFoundError):
            os.unlink(link)
    if stale:
        with suppress(OSError):  # there is more in it
            os.rmdir(ETC_NETNS)


def forget_folders(record: Record) -> None:
    """Removes what a lab made and nobody uses any more; ip(8) mounts /run/netns on itself. Raises OSError."""
    for folder, made in ((NETNS, record.made_netns_folder), (ETC_NETNS, record.made_etc_netns and has_etc())):
        if made and not libc.is_mount(folder):
            try:
                os.rmdir(folder)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.ENOENT):  # there are names in it, or it has gone
                    raise


def _folders() -> list[str]:
    """Where a lab can have names: an ordinary user's may be called as one of root's that has some in /etc/netns."""
    return [NETNS, ETC_NETNS] if has_etc() else [NETNS]


def _links(place: Place, namespace: Namespace) -> Iterator[tuple[str, str]]:
    """Where its names are, and where they lead."""
    if namespace.netns:
        yield f"{NETNS}/{namespace.netns}", place.mount(namespace.node)
        if HOST not in (namespace.node, namespace.same_as) and place.has_etc:
            yield f"{ETC_NETNS}/{namespace.netns}", f"{place.etcs}/{namespace.same_as or namespace.node}"


def _is_ours(link: str, place: Place) -> bool:
    return _of_lab(link) == place.lab or _is_stale(link)


def _is_stale(link: str) -> bool:
    """Whether a reboot left it. A younger one may be of a lab that is up where there is another /run (unshare -m)."""
    there = link.startswith(f"{ETC_NETNS}/") and (lab := _of_lab(link)) != "" and not os.path.exists(f"{RUN}/{lab}")
    return there and os.lstat(link).st_mtime < _booted()


def _booted() -> int:
    """When this machine was started, in seconds since the epoch (proc(5), /proc/stat)."""
    return int(text("/proc/stat").partition("\nbtime ")[2].split()[0])


def _of_lab(link: str) -> str:
    """The lab into whose folder it leads; empty for what leads elsewhere, or is no link."""
    inside = "netns" if link.startswith(f"{NETNS}/") else "etc"
    run, lab, folder, _ = f"///{_target(link)}".rsplit("/", 3)
    return lab if folder == inside and run == f"///{RUN}" else ""


def _target(link: str) -> str:
    """Empty where there is no link."""
    try:
        return os.readlink(link)
    except OSError:
        return ""


def _entries(folder: str) -> list[str]:
    try:
        return [f"{folder}/{name}" for name in os.listdir(folder)]
    except (FileNotFoundError, NotADirectoryError):
        return []
