"""Run inside a private machine: a lab up and down many times in this process, which is looked at early and late.

cycles.py TIMES [isolated] FILE     prints [early, late] as JSON
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
from pathlib import Path

from labctl import lab, removal
from labctl.cli.files import topology
from labctl.linux import rootless

EARLY = 20  # times until caches are warm


def look() -> dict[str, object]:
    status = Path("/proc/self/status").read_text()
    return {
        "files": sorted(os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _open(fd)),
        "threads": threading.active_count(),
        "memory": int(status.partition("VmRSS:")[2].split()[0]),
        "objects": len(gc.get_objects()),
        "mounts": len(Path("/proc/self/mountinfo").read_text().splitlines()),
        "run": sorted(os.listdir("/run")),
    }


def _open(fd: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{fd}")  # the one that listed them is gone


def main(times: str, *words: str) -> None:
    wanted = topology(words[-1])
    rootless.admit_to_change(starting=True)
    looks = []
    for number in range(int(times)):
        lab.up(wanted, "isolated" in words)
        removal.down(wanted.name)
        gc.collect()  # pyroute2's messages are cycles; when Python would look for them depends on all else
        if number + 1 in (EARLY, int(times)):
            looks.append(look())
    print(json.dumps(looks))
    sys.stdout.flush()
    rootless.leave()


if __name__ == "__main__":
    main(*sys.argv[1:])
