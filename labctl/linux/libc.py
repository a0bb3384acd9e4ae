"""System calls that Python 3.11's os module lacks (os.setns and os.unshare came with 3.12)."""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MNT_DETACH = 2
PR_SET_PDEATHSIG, SIGKILL = 1, 9
SYS_FSOPEN, SYS_FSCONFIG, SYS_FSMOUNT = 430, 431, 432  # on every architecture
FSOPEN_CLOEXEC, FSCONFIG_CMD_CREATE, FSMOUNT_CLOEXEC = 1, 6, 1
FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE = 1, 2

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """Gives the calling thread namespaces of its own. Raises OSError."""
    _check(_libc.unshare(flags), "unshare")


def setns(fd: int, kind: int = CLONE_NEWNET) -> None:
    """Moves the calling thread into a namespace. Raises OSError."""
    _check(_libc.setns(fd, kind), "setns")


def mount(source: str, target: str, kind: str = "", flags: int = 0) -> None:
    result = _libc.mount(os.fsencode(source), os.fsencode(target), kind.encode() or None, flags, None)
    _check(result, f"mount {source} {target}")


def umount(target: str, flags: int = MNT_DETACH) -> None:
    _check(_libc.umount2(os.fsencode(target), flags), f"umount {target}")


def another_proc() -> int:
    """Opens a procfs of its own for this pid namespace, mounted nowhere (since Linux 5.8 each is another one, with
    nothing in its name cache). Raises OSError."""
    context = _libc.syscall(SYS_FSOPEN, b"proc", FSOPEN_CLOEXEC)
    _check(min(context, 0), "fsopen proc")
    try:
        _check(_libc.syscall(SYS_FSCONFIG, context, FSCONFIG_CMD_CREATE, None, None, 0), "fsconfig proc")
        root: int = _libc.syscall(SYS_FSMOUNT, context, FSMOUNT_CLOEXEC, 0)
        _check(min(root, 0), "fsmount proc")
    finally:
        os.close(context)
    return root


def is_mount(path: str) -> bool:
    """Whether something is mounted exactly here. Unlike os.path.ismount it also sees a bind of the same file system."""
    try:
        return _mount_id(path) != _mount_id(os.path.dirname(path))
    except (FileNotFoundError, PermissionError):  # the latter: root's, while an ordinary user asks
        return False


def is_namespace(path: str) -> bool:
    """Whether a namespace is mounted here: they are all files of one file system, and nothing else is on it."""
    try:
        return os.lstat(path).st_dev == _device_of_namespaces()
    except (FileNotFoundError, PermissionError):  # the latter: root's, while an ordinary user asks
        return False


def _device_of_namespaces() -> int:
    """Of their file system, which does not change."""
    if not _device:
        _device.append(os.stat("/proc/self/ns/net").st_dev)
    return _device[0]


_device: list[int] = []


def _mount_id(path: str) -> str:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        with open(f"/proc/self/fdinfo/{fd}") as file:
            return next(line for line in file if line.startswith("mnt_id:"))
    finally:
        os.close(fd)


def sethostname(name: str) -> None:
    encoded = name.encode()
    _check(_libc.sethostname(encoded, len(encoded)), "sethostname")


def punch_hole(fd: int, length: int) -> None:
    """Frees the beginning of a file, which reads as zeros from then on; nothing else of it changes. Raises OSError."""
    mode = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
    fallocate = getattr(_libc, "fallocate64", None) or _libc.fallocate
    _check(fallocate(fd, mode, ctypes.c_int64(0), ctypes.c_int64(length)), "fallocate")


def die_with_parent(parent: int) -> None:
    """Has the kernel kill this process when the thread that forked it ends; it may have done so already."""
    _check(_libc.prctl(PR_SET_PDEATHSIG, SIGKILL), "prctl")
    if os.getppid() != parent:
        os._exit(1)


def outlive_parent() -> None:
    _check(_libc.prctl(PR_SET_PDEATHSIG, 0), "prctl")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
