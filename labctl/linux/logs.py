"""What services wrote: their logs, read from the end or from the beginning, and followed.

A supervisor frees what is old of a long log, whose beginning is a hole from then on (supervisor.py): it is skipped.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Mapping

CHUNK = 1 << 16
PAUSE = 0.1  # seconds between two looks at a log that is followed


class Log:
    """One log, read on and on. It is kept open, so that another file of its name is known as another."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        self._at = 0

    def read(self) -> bytes:
        """What has come since the last time, a chunk at most; nothing where there is no more, or no log."""
        data = self._read() if self._fd >= 0 else b""
        return data or (self._read() if self._is_another() else b"")

    def seek(self, lines: int) -> None:
        """Goes on with the last lines of what there is now."""
        if self._is_another():
            self._at = _start_of(self._fd, os.fstat(self._fd).st_size, lines)

    def _read(self) -> bytes:
        if os.fstat(self._fd).st_size < self._at:
            self._at = 0
        self._at = _behind_hole(self._fd, self._at)
        data = os.pread(self._fd, CHUNK, self._at)
        self._at += len(data)
        return data

    def _is_another(self) -> bool:
        """Whether there is a log that is not the one that was read so far; then it is open at its beginning."""
        try:
            if self._fd >= 0 and os.path.samestat(os.fstat(self._fd), os.stat(self._path)):
                return False
            found = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        self.close()
        self._fd, self._at = found, 0
        return True

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def last_lines(path: str, number: int) -> list[str]:
    """The end of a log, without control characters."""
    log = Log(path)
    log.seek(number)
    found = b""
    while data := log.read():
        found += data
    log.close()
    lines = found.decode(errors="replace").expandtabs().splitlines()
    return ["".join(filter(str.isprintable, line)) for line in lines][-number:]


def follow(
    logs: Mapping[str, str], last: int | None, there: Callable[[], bool], write: Callable[[bytes], object]
) -> None:
    """Writes what is in some logs, of each the `last` lines or all, then what comes, as long as `there`.

    With more than one log each line begins with its name; what is no whole line then waits for the rest of it.
    """
    width = max(map(len, logs))
    readers = {name: Log(path) for name, path in logs.items()}
    rests = dict.fromkeys(logs, b"")
    if last is not None:
        for log in readers.values():
            log.seek(last)
    going_on = True
    while going_on:
        going_on, quiet = there(), True  # what came before it went is still read
        for name, log in readers.items():
            while data := log.read():
                quiet = False
                if len(logs) == 1:
                    write(data)
                    continue
                *lines, rests[name] = (rests[name] + data).split(b"\n")
                write(b"".join(_line(name, width, line) for line in lines))
        if quiet and going_on:
            time.sleep(PAUSE)
    write(b"".join(_line(name, width, rest) for name, rest in rests.items() if rest))
    for log in readers.values():
        log.close()


def _line(name: str, width: int, line: bytes) -> bytes:
    return f"{name:{width}} | ".encode() + line + b"\n"


def _behind_hole(fd: int, offset: int) -> int:
    """The offset, or where the first whole line behind a hole begins."""
    start = _data(fd, offset)
    return start + os.pread(fd, CHUNK, start).find(b"\n") + 1 if start > offset else offset


def _data(fd: int, offset: int) -> int:
    """Where there is data from an offset on; the offset itself where nobody knows."""
    try:
        return os.lseek(fd, offset, os.SEEK_DATA)
    except OSError as error:
        if error.errno not in (errno.ENXIO, errno.EINVAL):
            raise
        return offset


def _start_of(fd: int, size: int, lines: int) -> int:
    """Where the last lines of a file begin; a last one that is not whole counts."""
    first, at, left = _behind_hole(fd, 0), size, lines
    while at > first and left:
        begin = max(first, at - CHUNK)
        data = os.pread(fd, at - begin, begin)
        if at == size:
            data = data.removesuffix(b"\n")
        while left and (position := data.rfind(b"\n")) >= 0:
            left, data = left - 1, data[:position]
            if not left:
                return begin + position + 1
        at = begin
    return size if not lines else first
