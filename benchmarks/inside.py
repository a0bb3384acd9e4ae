"""The first process of a room (room.py): runs one command at a time and answers what it cost.

A script of its own, started with `python -I -S`, which keeps it small: Linux counts the memory of the process that
spawned a command as the command's own peak, so what is below this script's size cannot be seen.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator

STARTED = "status", "wall", "cpu", "rss"


def main() -> None:
    """Requests are lines of JSON on stdin, answers on stdout. The end of stdin ends the room."""
    for line in sys.stdin:
        request = json.loads(line)
        _reap()
        answer = _run(request["command"], request["log"], request["daemons"], request["background"])
        sys.stdout.write(json.dumps(dict(zip(STARTED, answer, strict=True))) + "\n")
        sys.stdout.flush()


def _run(command: list[str], log: str, daemons: list[str], background: bool) -> tuple[int, float, float, int]:
    """Exit status, seconds, seconds of processor time, kilobytes at the peak."""
    used = _everyone() if daemons else 0.0
    begun = time.perf_counter()
    pid = _spawn(command, log)
    if background:
        return 0, 0.0, 0.0, 0
    _, status, usage = os.wait4(pid, 0)
    wall = time.perf_counter() - begun
    if daemons:
        return os.waitstatus_to_exitcode(status), wall, _everyone() - used, usage.ru_maxrss + _resident(tuple(daemons))
    return os.waitstatus_to_exitcode(status), wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss


def _spawn(command: list[str], log: str) -> int:
    files = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    return os.posix_spawnp(command[0], command, os.environ, file_actions=files)


def _reap() -> None:
    """Orphans become children of the first process, and zombies until it asks for them."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _everyone() -> float:
    """Seconds of processor time of every process in the room and of the children they waited for."""
    ticks = sum(sum(map(int, text.rpartition(")")[2].split()[11:15])) for text in _files("stat"))
    return ticks / os.sysconf("SC_CLK_TCK")


def _resident(daemons: tuple[str, ...]) -> int:
    """Kilobytes that daemons so called had in memory at their peak, one after the other added up."""
    total = 0
    for text in _files("status", but="1"):
        values = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        if values["Name"].strip().startswith(daemons):
            total += int(values.get("VmHWM", "0 kB").split()[0])
    return total


def _files(name: str, but: str = "") -> Iterator[str]:
    """A file of each process in /proc; of all `but` one."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if pid == but:
            continue
        try:
            with open(f"/proc/{pid}/{name}") as file:
                yield file.read()
        except OSError:
            continue  # ended meanwhile


if __name__ == "__main__":
    main()
