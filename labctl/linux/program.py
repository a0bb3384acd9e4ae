"""How a supervisor starts a program in a node. Imports next to nothing, as it lives as long as a lab."""

from __future__ import annotations

import os
import resource
import select
import stat

from labctl.linux import inside

TYPE_CHECKING = False  # typing alone would take a quarter of its start
if TYPE_CHECKING:
    import signal
    from collections.abc import Sequence
    from typing import NoReturn, TypedDict

    class Settings(TypedDict):
        """A service as `up` tells it to the supervisor that it starts."""

        fd: int  # its status file, locked
        digest: str
        command: tuple[str, ...]
        environment: dict[str, str]
        netns: str  # the file of its node's network namespace; empty for the machine's own, where it stays
        etc: str  # the folder of its node's own files
        log: str
        descriptors: int  # the soft limit of open files
        folder: str  # its node's scratch folder
        working_dir: str
        user: str
        restart: str
        ready: str | tuple[str, ...]
        ready_timeout: int
        after: list[int]  # places in the list of those that are ready before

else:
    import _signal as signal  # what is behind the module signal, whose enumerations take 4 ms


OURS, NOT_EXECUTABLE, NOT_FOUND = 125, 126, 127  # docker's exit statuses for a program that could not be run
DEFAULTS = (  # Python, nohup(1) and a shell's '&' ignore some of them, and what is ignored is inherited
    *(signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE),
    *(signal.SIGCHLD, signal.SIGTERM, signal.SIGXFSZ),
)


class Start:
    """A process on its way to be a program: it enters its node, and goes on when it is told to."""

    def __init__(self, settings: Settings, command: Sequence[str], output: str) -> None:
        pipes: list[int] = []
        try:
            pipes += os.pipe2(os.O_CLOEXEC)
            pipes += os.pipe2(os.O_CLOEXEC)
            self.pid = os.fork()
        except OSError:
            for fd in pipes:
                os.close(fd)
            raise
        told, tell, go, allow = pipes
        self._told, self._allow = told, allow
        self._gate = go, allow  # with both ends open, there is always somebody to write to
        if not self.pid:
            os.close(allow)  # should the supervisor end now, this process does not go on
            _become(settings, command, output, tell, go)
        os.close(tell)

    def entered(self) -> bool:
        """Waits until it is in its node; or has failed, and `go` says why."""
        self._first = os.read(self._told, 1)
        return self._first == b"\n"

    def go(self) -> str:
        """Lets it run its program and waits until it does; answers why it could not, or nothing."""
        os.write(self._allow, b"\n")
        for fd in self._gate:
            os.close(fd)
        with os.fdopen(self._told, "rb") as pipe:
            return (self._first + pipe.read()).decode(errors="replace").strip()


def _become(settings: Settings, command: Sequence[str], output: str, tell: int, go: int) -> NoReturn:
    status, what = OURS, "cannot enter its node"
    try:
        for number in DEFAULTS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.setsid()
        _redirect(output)
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (settings["descriptors"], most))
        inside.enter(settings["netns"], settings["etc"])
        os.write(tell, b"\n")
        if os.read(go, 1):
            directory = settings["working_dir"]
            what = f"working_dir {directory or settings['folder']}"
            os.chdir(directory if os.path.isabs(directory) else settings["folder"])
            what = f"user {settings['user']}"
            own = _become_user(settings["user"]) if settings["user"] else {}
            what = f"working_dir {directory}"
            if not os.path.isabs(directory):
                os.chdir(directory or ".")  # as the user: anybody may have left a link in the scratch folder
            status, what = NOT_EXECUTABLE, command[0]
            _exec(command, os.environ | own | settings["environment"])
    except (OSError, LookupError, ValueError) as error:
        if what == command[0] and isinstance(error, FileNotFoundError):
            status = NOT_FOUND
        reason = f"{what}: {getattr(error, 'strerror', None) or error}"
        os.write(2, f"labctl: {reason}\n".encode())
        os.write(tell, reason.encode())
    finally:
        os._exit(status)


def _exec(command: Sequence[str], environment: dict[str, str]) -> NoReturn:
    """As execvp(3). Not os.execvpe, which imports a module, and the new user may not be allowed to read Python's."""
    folders = [""] if "/" in command[0] else environment.get("PATH", os.defpath).split(":")
    refused: OSError = FileNotFoundError(2, "No such file or directory")
    for folder in folders:
        try:
            os.execve(os.path.join(folder, command[0]), list(command), environment)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            refused = error
    raise refused


def _redirect(output: str) -> None:
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    log = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)


def _become_user(user: str) -> dict[str, str]:
    """As docker does: a user's own groups, unless a group is given; an id that nobody has is in group 0.

    Answers the variables that go with it. Raises LookupError where there is no such user or group, OSError.
    """
    import grp
    import pwd

    name, colon, group = user.partition(":")
    try:
        found = pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
        uid, gid, groups = found.pw_uid, found.pw_gid, os.getgrouplist(found.pw_name, found.pw_gid)
        variables = {"HOME": found.pw_dir, "USER": found.pw_name, "LOGNAME": found.pw_name}
    except KeyError:
        if not name.isdigit():
            raise LookupError("no such user") from None
        uid, gid, groups, variables = int(name), 0, [], {"HOME": "/"}
    if colon:
        try:
            gid = int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
        except KeyError:
            raise LookupError("no such group") from None
        groups = []
    if stat.S_ISREG(os.fstat(2).st_mode):  # a log; /dev/null is everybody's
        os.fchown(2, uid, gid)  # so that it can open /dev/stdout and /dev/stderr
    os.setgroups(groups)
    os.setgid(gid)
    os.setuid(uid)
    return variables


def listens(pid: int, ready: str) -> bool:
    """Whether something in the network of a process listens on a port; `ready` is "tcp 80" or "udp 53".

    Tables of the kernel: net/ipv4/tcp_ipv4.c, tcp4_seq_show; 0A is TCP_LISTEN, 07 a UDP socket without a peer.
    """
    protocol, port = ready.split()
    state, ending = {"tcp": "0A", "udp": "07"}[protocol], f":{int(port):04X}"
    for table in (protocol, f"{protocol}6"):
        try:
            with open(f"/proc/{pid}/net/{table}") as file:
                rows = [line.split() for line in file]
        except OSError:  # no IPv6, or the process has ended
            continue
        if any(row[1].endswith(ending) and row[3] == state for row in rows):
            return True
    return False


def in_mounts(mnt: str) -> list[int]:
    """The processes in a mount namespace, which is not the machine's own: nobody is a service's for being there."""
    found: list[int] = []
    if mnt == os.readlink("/proc/self/ns/mnt"):
        return found
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and os.readlink(f"/proc/{name}/ns/mnt") == mnt:
                found.append(int(name))
        except OSError:  # it has ended
            continue
    return found


def begun(pid: int) -> str:
    """When a process started, in clock ticks since boot; empty when it has ended."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def kill(pids: Sequence[int], mnt: str) -> None:
    """Kills what is in a mount namespace: held first, so that it is never another process of that number. Waits for
    their end, a second at most."""
    poll = select.poll()
    held, left = [], 0
    for pid in pids:
        try:
            held.append(os.pidfd_open(pid))
            if os.readlink(f"/proc/{pid}/ns/mnt") == mnt:
                signal.pidfd_send_signal(held[-1], signal.SIGKILL)
                poll.register(held[-1], select.POLLIN)
                left += 1
        except OSError:  # it has ended
            continue
    while left and (ended := poll.poll(1000)):
        for fd, _ in ended:
            poll.unregister(fd)
            left -= 1
    for fd in held:
        os.close(fd)
