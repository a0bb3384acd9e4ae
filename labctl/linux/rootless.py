"""Labs of an ordinary user: a user, mount and network namespace in which that user is root, held by a tiny process.

Inside, /run is the user's own: /run/labctl is $XDG_RUNTIME_DIR/labctl, /run/netns can be written, and all else is as
outside. A verb enters before anything else, and from there on does what root's does. The last one to leave when there
is no lab ends the process, and with it everything.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import select
import signal
import stat
from contextlib import suppress

from labctl.errors import LabError
from labctl.linux import libc
from labctl.linux.entrance import RUN
from labctl.linux.place import HOLDER, NETNS
from labctl.linux.processes import end_every_lab, environ, kept_in
from labctl.linux.readings import text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

MARK = "LABCTL_HOLDER"  # in the holder's environment: the user's folder
KINDS = {"user": libc.CLONE_NEWUSER, "mnt": libc.CLONE_NEWNS, "net": libc.CLONE_NEWNET}
FOREVER = "2147483647"
PATIENCE = 5.0  # seconds for a holder that was killed to end
ELSEWHERE = "Set XDG_RUNTIME_DIR to a folder of your own."

_inside: list[tuple[int, str]] = []  # the lock of this process and the user's folder, once it has entered


def home() -> str:
    """The folder of the user's labs. However it is written, it is one text: the holder is known by it."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if not runtime.startswith("/"):
        return f"/tmp/labctl-{os.getuid()}"
    return "/".join(["", *(step for step in runtime.split("/") if step not in ("", ".")), "labctl"])


def admit() -> bool:
    """Makes an ordinary user, for a verb that only looks, root of their namespaces; does nothing for root.

    Answers whether there can be labs. Raises LabError where the holder was killed. Call it from a process with one
    thread.
    """
    if os.geteuid() == 0 or _inside:
        return True
    folder = home()
    if not os.path.exists(folder):
        return False
    if not _is_held(folder):
        if all(entry.name == HOLDER for entry in os.scandir(folder)):
            return False
        raise LabError(
            "the process that held the namespaces of your labs was killed",
            "Build a lab anew with 'labctl up FILE', or remove all: labctl down --all",
        )
    return admit_to_change()


def admit_to_change(starting: bool = False) -> bool:
    """The same for a verb that may end what is left of labs whose holder was killed; `starting` one makes a holder.

    Raises LabError where the system refuses such namespaces.
    """
    if os.geteuid() == 0 or _inside:
        return True
    folder = home()
    if not starting and not os.path.exists(folder):
        return False
    lock, pid = _held(folder)
    _enter(pid)
    _inside.append((lock, folder))
    return True


def leave() -> None:
    """The last one to leave when there is no lab ends what `admit` began."""
    if not _inside:
        return
    lock, folder = _inside.pop()
    with suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if [entry.name for entry in os.scandir(RUN)] == [HOLDER]:
            pid = _holder(lock, folder)
            with suppress(FileNotFoundError):
                os.unlink(f"{folder}/{HOLDER}")
            with suppress(OSError):
                os.rmdir(folder)
            if pid:
                _end(pid, folder)
    os.close(lock)


def _end(pid: int, folder: str) -> None:
    """Ends a holder and waits until it has ended; held first, so that it is never another process of that number."""
    try:
        held = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if _is_holder(pid, folder):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(held, signal.SIGKILL)
            ended = select.poll()
            ended.register(held, select.POLLIN)
            ended.poll(1000 * PATIENCE)
    finally:
        os.close(held)


def _opened(folder: str) -> int:
    """The folder, if it is the user's alone; what others could have put there is not followed.

    Raises FileNotFoundError where it has just gone.
    """
    try:
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        reason = "is no folder" if error.errno in (errno.ELOOP, errno.ENOTDIR) else (error.strerror or "").lower()
        raise LabError(f"{folder}: {reason}", "It was left alone. Remove it, or set XDG_RUNTIME_DIR.") from None
    found = os.fstat(opened)
    if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise LabError(f"{folder} is not yours alone", f"It was left alone. {ELSEWHERE}")
    return opened


def _held(folder: str) -> tuple[int, int]:
    """The lock that everybody inside shares, and the process that holds the namespaces; it is started if need be.

    A shared lock becomes an exclusive one, or the other way round, by way of none (flock(2)): what was true before is
    looked at again.
    """
    while True:
        lock = _lock(folder)
        fcntl.flock(lock, fcntl.LOCK_SH)
        if _is_current(lock, folder) and (pid := _holder(lock, folder)):
            return lock, pid
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _is_current(lock, folder) and not _holder(lock, folder):
            end_every_lab(kept_in(folder))  # what a holder that was killed left running is in no namespace to enter
            _start(folder, lock)
        os.close(lock)


def _lock(folder: str) -> int:
    """The open file that is locked, in a folder that is made if need be."""
    while True:
        try:
            with suppress(FileExistsError):
                os.mkdir(folder, 0o700)
        except OSError as error:
            raise LabError(f"{folder}: {(error.strerror or '').lower()}", ELSEWHERE) from None
        with suppress(FileNotFoundError):  # the last one to leave has just removed it
            return _lock_in(folder)


def _lock_in(folder: str) -> int:
    opened = _opened(folder)
    try:
        return os.open(HOLDER, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=opened)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise LabError(f"{folder}/{HOLDER}: {error.strerror}", "It was left alone; remove it.") from None
    finally:
        os.close(opened)


def _is_held(folder: str) -> bool:
    try:
        file = os.open(f"{folder}/{HOLDER}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return bool(_holder(file, folder))
    finally:
        os.close(file)


def _is_current(lock: int, folder: str) -> bool:
    """Whether the file that was locked is still the one in the folder: the last one to leave removes it."""
    try:
        return os.path.samestat(os.fstat(lock), os.lstat(f"{folder}/{HOLDER}"))
    except FileNotFoundError:
        return False


def _holder(lock: int, folder: str) -> int:
    """The process that the file names, if it is still that process; else 0."""
    pid = os.pread(lock, 20, 0).strip()
    return int(pid) if pid.isdigit() and _is_holder(int(pid), folder) else 0


def _is_holder(pid: int, folder: str) -> bool:
    return os.fsencode(f"{MARK}={folder}") in environ(pid)


def _enter(pid: int) -> None:
    opened = [(os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC), flag) for kind, flag in KINDS.items()]
    try:
        here = os.getcwd()
    except FileNotFoundError:
        here = "/"
    for fd, flag in opened:
        libc.setns(fd, flag)
        os.close(fd)
    with suppress(OSError):  # a new mount namespace begins at its root; what came to /run later is not in it
        os.chdir(here)


def _start(folder: str, lock: int) -> None:
    """Starts the holder and waits until it holds everything. Raises LabError.

    It is written down before it may go on, and does not go on alone: killed at any instant, this process leaves either
    a holder that the next labctl finds, or none. The holder shares the lock until it is its own program.
    """
    told, tell = os.pipe2(os.O_CLOEXEC)
    go, allow = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if not pid:
        os.close(allow)
        _hold(folder, tell, go)
    os.pwrite(lock, f"{pid:<19}\n".encode(), 0)
    os.close(tell)
    os.close(go)
    with os.fdopen(told, "rb") as answers:
        line = answers.readline()
        if line == b"unshared\n":
            try:
                _map(pid)
                os.write(allow, b"\n")
                line = answers.read()
            except OSError as error:
                line = json.dumps(["uid_map", error.errno]).encode()
    os.close(allow)
    if line or not _holder(lock, folder):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.unlink(f"{folder}/{HOLDER}")
        with suppress(OSError):
            os.rmdir(folder)
        raise (
            _refused(*json.loads(line)) if line else LabError(f"process {pid}, which was to hold the lab, is not there")
        )


def _hold(folder: str, tell: int, go: int) -> NoReturn:
    """The holder's life. It tells of its first step, and then only of a failure."""
    import shutil  # 3 ms, and only the first `up` starts one

    step = "unshare"
    try:
        os.setsid()
        libc.unshare(libc.CLONE_NEWUSER)
        os.write(tell, b"unshared\n")
        if not os.read(go, 1):
            os._exit(1)
        step = "unshare --mount --net"
        libc.unshare(libc.CLONE_NEWNS | libc.CLONE_NEWNET)
        step = "mounting /run"
        _own_run(folder)
        os.chdir("/")
        nowhere = os.open("/dev/null", os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nowhere, number)
        sleep = shutil.which("sleep") or "/bin/sleep"
        os.execve(sleep, ["sleep", FOREVER], {MARK: folder})
    except OSError as error:
        os.write(tell, json.dumps([step, error.errno]).encode())
    finally:
        os._exit(1)


def _map(pid: int) -> None:
    """The user is root there; other ids exist where newuidmap(1) grants them, as for rootless containers."""
    import shutil
    import subprocess

    for kind, own in (("uid", os.geteuid()), ("gid", os.getegid())):
        more = _granted(kind)
        tool = shutil.which(f"new{kind}map")
        if more and tool:
            words = [tool, str(pid), "0", str(own), "1", "1", *more]
            if subprocess.run(words, capture_output=True, check=False).returncode == 0:
                continue
        if kind == "gid":
            _write(f"/proc/{pid}/setgroups", "deny")
        _write(f"/proc/{pid}/{kind}_map", f"0 {own} 1")


def _write(path: str, content: str) -> None:
    with open(path, "w") as file:
        file.write(content)


def _granted(kind: str) -> list[str]:
    """First and number of the user's subordinate ids (subuid(5)); empty where there are none."""
    import pwd  # 1 ms

    names = {str(os.geteuid())}
    with suppress(KeyError):
        names.add(pwd.getpwuid(os.geteuid()).pw_name)
    for line in text(f"/etc/sub{kind}").splitlines():
        user, *numbers = line.split(":")
        if user in names and len(numbers) == 2:
            return numbers
    return []


def _own_run(folder: str) -> None:
    """/run as it is, but in a file system of the user's own, with the user's folder as /run/labctl."""
    home = _opened(folder)
    libc.mount("none", "/", flags=libc.MS_SLAVE | libc.MS_REC)
    run = os.path.dirname(RUN)
    old = os.open(run, os.O_PATH | os.O_DIRECTORY)
    entries = list(os.scandir(run))
    libc.mount("tmpfs", run, "tmpfs")
    os.chmod(run, 0o755)
    for entry in entries:
        if entry.path not in (RUN, NETNS):
            with suppress(OSError):  # what a user may not see stays unseen
                _bind(f"/proc/self/fd/{old}/{entry.name}", entry.path)
    os.mkdir(RUN, 0o700)
    libc.mount(f"/proc/self/fd/{home}", RUN, flags=libc.MS_BIND)


def _bind(source: str, target: str) -> None:
    if os.path.islink(source):
        os.symlink(os.readlink(source), target)
        return
    os.mkdir(target) if os.path.isdir(source) else _write(target, "")
    libc.mount(source, target, flags=libc.MS_BIND | libc.MS_REC)


def _refused(step: str, code: int) -> LabError:
    from labctl.doctor import refusal  # only where it is needed
    from labctl.linux.probe import user_namespaces

    message, hint = refusal(user_namespaces(), step, code)
    return LabError(f"without root a lab needs a user namespace: {message}", hint)
