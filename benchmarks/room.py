"""A room: network, mount and process namespaces of its own, with an empty /run, in which commands are timed.

Nothing that happens in a room reaches the machine's network, and its end is the end of every process in it.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

INSIDE = Path(__file__).with_name("inside.py")
ETC = "mount -t overlay -o lowerdir=/etc,upperdir=/run/etc/upper,workdir=/run/etc/work overlay /etc"
# The whiteout hides what the machine itself has in /etc/netns.
ENTRANCE = f"""set -e
mount -t tmpfs -o mode=755 tmpfs /run; mkdir -p /run/etc/upper /run/etc/work
mknod /run/etc/upper/netns c 0 0; {ETC}
ip link set lo up; exec "$0" -I -S "$1"
"""
SETTLED = 20.0  # seconds until a network works, or is gone


class Failure(Exception):
    """A command of the benchmark did not do what it is measured for."""


@dataclass(frozen=True)
class Sample:
    """What one command took: seconds of wall and of processor time, kilobytes of memory at the peak."""

    wall: float
    cpu: float
    rss: int

    def __add__(self, other: Sample) -> Sample:
        return Sample(self.wall + other.wall, self.cpu + other.cpu, max(self.rss, other.rss))


class Room:
    """Opened by `with`. Where commands leave work to others, `daemons` is how these are called: their memory counts,
    and everybody's processor time."""

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None, daemons: Sequence[str] = ()) -> None:
        folder.mkdir()
        self.folder, self.daemons = folder, daemons
        options = ("--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
        self._process = subprocess.Popen(
            ["unshare", *options, "sh", "-c", ENTRANCE, sys.executable, str(INSIDE)],
            env=_without_python() | dict(environment or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the benchmark, which then closes its rooms
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        try:
            self._process.wait(timeout=1 if kind else 10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        select.select([self._process.stdout], [], [], 10)  # ends with the last process that could write there
        self._process.stdout.close()

    def run(self, command: Sequence[str], timeout: float = 60.0) -> Sample:
        """Raises Failure when a command fails or takes too long."""
        answer = self._ask(command, timeout)
        if answer["status"]:
            raise Failure(f"{_line(command)} exited with {answer['status']}:\n{self._tail()}")
        return Sample(answer["wall"], answer["cpu"], int(answer["rss"]))

    def start(self, command: Sequence[str], log: str) -> None:
        """Leaves a command running in the background."""
        self._ask(command, 10, log, background=True)

    def wait_for(self, command: Sequence[str]) -> None:
        """Repeats a command until it succeeds; not measured."""
        deadline = time.monotonic() + SETTLED
        while self._ask(command, 10)["status"]:
            if time.monotonic() > deadline:
                raise Failure(f"{_line(command)} did not succeed in {SETTLED:.0f} s:\n{self._tail()}")
            time.sleep(0.05)

    def output(self, command: Sequence[str]) -> str:
        """What a command printed."""
        self.run(command)
        return (self.folder / "log").read_text().strip()

    def _ask(
        self, command: Sequence[str], timeout: float, log: str = "log", background: bool = False
    ) -> dict[str, float]:
        assert self._process.stdin
        assert self._process.stdout
        request = {
            "command": list(command),
            "log": str(self.folder / log),
            "daemons": list(self.daemons),
            "background": background,
        }
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise Failure(f"no room for {_line(command)}: unshare failed") from None
        if not select.select([self._process.stdout], [], [], timeout)[0]:
            self._process.kill()
            raise Failure(f"{_line(command)} took more than {timeout:.0f} s:\n{self._tail()}")
        line = self._process.stdout.readline()
        if not line:
            raise Failure(f"{_line(command)} ended its room")
        answer: dict[str, float] = json.loads(line)
        return answer

    def _tail(self) -> str:
        log = self.folder / "log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-5:]) if log.exists() else ""


def _without_python() -> dict[str, str]:
    """Not what the caller's Python was told: PYTHONDONTWRITEBYTECODE alone makes every start about 40 ms slower."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def _line(command: Sequence[str]) -> str:
    line = " ".join(command)
    return line if len(line) <= 100 else f"{line[:99]}…"
