"""Run inside a private machine: labctl's verbs and what the kernel says afterwards, many times in one process.

Reads a line of JSON for each verb, `[verb, argument, …]`, and answers one: its result, or `{"error": …}`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from kernel.view import network
from labctl import lab, removal
from labctl.fields import replace
from labctl.linux import libc, machine, processes, services, store
from labctl.linux.entrance import RUN
from labctl.linux.place import Namespaces, Place
from labctl.linux.thread import in_thread
from labctl.record import Record, loads
from labctl.shell import shell
from labctl.state import HOST, File, Service, State
from labctl.topology import load
from labctl.written import Topology

NAME = "lab"
PATIENCE = 10.0
SETTINGS = ("ipv4/conf", "ipv4/neigh", "ipv6/conf", "ipv6/neigh")  # below /proc/sys/net: all of an interface's
ETC = ("hosts", "hostname", "resolv.conf")


def topology(text: str) -> Topology:
    return replace(load(text.encode(), f"{NAME}.yaml"), file=f"/run/scratch/{NAME}.yaml")


def up(text: str, isolated: bool) -> list[str]:
    """Brings the lab up; answers its plan, as shell."""
    done = lab.up(topology(text), isolated or None)
    _started(done.wanted)
    return [shell(op, done.record.names) for op in done.plan]


def _started(wanted: State) -> None:
    """A service is one when it has become its command, a moment after the fork."""
    expected = {item for item in wanted.items if isinstance(item, Service)}
    deadline = time.monotonic() + PATIENCE
    while services.running(_record_place(), State.of(expected)) != expected and time.monotonic() < deadline:
        os.sched_yield()


def _record() -> Record:
    record = store.load(NAME)
    assert record, "the lab is not up"
    return record


def _record_place() -> Place:
    return Place(NAME, _record().isolated)


def seen(text: str) -> dict[str, Any]:
    """What is meant, what labctl observes, and what it would still do."""
    draft = lab.draft(topology(text), None)
    record = _record()
    observed = machine.observe(draft.wanted, Place(NAME, record.isolated), record.rules_as_listed)
    plan = [shell(op, record.names) for op in draft.plan]
    files = State.of(item for item in draft.wanted.items if isinstance(item, File))  # a record has none
    recorded = record.state.over(files)
    return {"desired": rows(draft.wanted), "observed": rows(observed), "recorded": rows(recorded), "plan": plan}


def rows(state: State) -> dict[str, str]:
    return {"/".join(item.key): repr(item) for item in state.items}


def again(text: str, isolated: bool, numbers: str) -> list[str]:
    """A lab built from nothing with numbers that were given out before: those of the record `numbers`."""
    record = replace(loads(numbers, NAME), state=State(), rules_as_listed="", found={})
    for folder in (Path(RUN), Path(RUN, NAME)):
        folder.mkdir(mode=0o700)
    store.save(record)
    return up(text, isolated)


def record() -> str:
    """The running lab's record, as it is written."""
    return Path(RUN, NAME, "lab.json").read_text()


def down() -> bool:
    return removal.down(NAME)


def view(settings: list[str]) -> dict[str, Any]:
    """The kernel's own view of everything; `settings` are sysctls to look at beside those of the interfaces."""
    found = store.load(NAME)
    place = Place(NAME, bool(found and found.isolated))
    nodes = found.state.nodes if found else []
    sysctls = in_thread(lambda: dict(_sysctls(place, [HOST, *nodes], settings)))
    return {
        "network": network(),
        "sysctls": sysctls,
        "rules": in_thread(lambda: _rules(place)),
        "files": sorted(_files()),
        "hostname": os.uname().nodename,
        "mounts": sorted(line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()),
        "services": _services(place, nodes),
    }


def _rules(place: Place) -> str:
    with Namespaces(place) as namespaces:
        namespaces.enter(HOST)
        return subprocess.run(["nft", "-s", "list", "ruleset"], capture_output=True, text=True, check=True).stdout


def _sysctls(place: Place, nodes: list[str], settings: list[str]) -> Iterator[tuple[str, dict[str, str]]]:
    with Namespaces(place) as namespaces:
        for node in nodes:
            namespaces.enter(node)
            named = [Path("/proc/sys", name.translate(str.maketrans("./", "/."))) for name in settings]
            paths = [*named, *(path for part in SETTINGS for path in Path("/proc/sys/net", part).glob("*/*"))]
            yield node, {str(path)[14:]: _read(path) for path in paths}


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        return error.strerror or ""  # stable_secret: nothing is set


def _files() -> Iterator[str]:
    """What there is below /run, and what is in the lab's own files."""
    for folder, folders, files in os.walk("/run"):
        if folder == "/run":
            folders[:] = [name for name in folders if name not in ("scratch", "etc")]
        for path in (Path(folder, name) for name in (*folders, *files)):
            content = path.read_text() if path.parent.parent == Path(RUN, NAME, "etc") else ""
            target = os.readlink(path) if path.is_symlink() else ""
            yield f"{path} {path.lstat().st_mode:o} {target or content}"


def _services(place: Place, nodes: Sequence[str]) -> list[Any]:
    pids = [(node, pid) for node, pids in processes.processes(place, nodes).items() for pid in pids]
    return sorted((in_thread(lambda node=node, pid=pid: _process(node, pid)) for node, pid in pids), key=repr)  # type: ignore[misc]


def _process(node: str, pid: int) -> list[Any]:
    """A process and what it finds: its environment, folder, host name and files."""
    proc = Path("/proc", str(pid))
    fd = os.open(proc / "ns/uts", os.O_RDONLY | os.O_CLOEXEC)
    libc.setns(fd, libc.CLONE_NEWUTS)
    os.close(fd)
    words = [proc.joinpath(name).read_bytes().decode().split("\0") for name in ("cmdline", "environ")]
    words[1] = [word for word in words[1] if not word.startswith((f"{processes.MACHINE}=", f"{processes.NETNS}="))]
    files = [proc.joinpath("root/etc", name).read_text() for name in ETC]
    return [node, *map(sorted, words), os.readlink(proc / "cwd"), os.uname().nodename, *files]


VERBS: dict[str, Callable[..., Any]] = {verb.__name__: verb for verb in (up, seen, again, record, down, view)}

if __name__ == "__main__":
    for line in sys.stdin:
        verb, *arguments = json.loads(line)
        try:
            answer = {"result": VERBS[verb](*arguments)}
        except Exception as error:  # whatever it is, it is the test's to judge
            answer = {"error": "".join(traceback.format_exception(error))}
        print(json.dumps(answer), flush=True)
