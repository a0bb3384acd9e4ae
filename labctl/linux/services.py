"""Entering a node as `docker exec` does, and which services of `run:` there are. How they start is supervision.py."""

from __future__ import annotations

import os
import time
from contextlib import suppress

from labctl.fields import replace
from labctl.linux import inside, libc, statuses
from labctl.linux.place import Place, exists
from labctl.linux.processes import (
    DIGEST,
    MARK,
    environ,
    mark,
    marked,
    mounts,
    namespace,
    own_mounts,
    processes,
)
from labctl.state import UNREADY, UNWATCHED, Service, State
from labctl.status import Report

SETTLING = 5.0  # seconds for a supervisor to notice that nobody waits any more


def enter(place: Place, node: str) -> None:
    """Moves this process into a node: its network, its /sys, /etc/hosts, /etc/resolv.conf and hostname.

    Only in a process with one thread that ends or execs afterwards. Raises OSError.
    """
    if not place.on_machine(node):
        inside.enter(place.netns(node), place.etc(node))


def running(place: Place, expected: State) -> set[Service]:
    """The expected services that are there: living, or about to be started again. What is not as it should be about
    one comes otherwise: without its command (it was started as something else, or was being ended), not ready, or with
    no policy (nobody starts it again)."""
    services = [item for item in expected.items if isinstance(item, Service)]
    if not services:
        return set()
    nodes = {service.node for service in services}
    pids = {pid for pids in processes(place, nodes).values() for pid in pids}
    if not all(exists(place, node) for node in nodes):
        pids |= set(marked(place.lab))
    words = {pid: environ(pid) for pid in pids}
    marked_so: dict[bytes, set[int]] = {}
    within: dict[str, set[int]] = {}
    for pid, own in words.items():
        within.setdefault(namespace(pid, "mnt"), set()).add(pid)
        for word in own:
            marked_so.setdefault(word, set()).add(pid)
    found: set[Service] = set()
    for service in services:
        report = statuses.read(place, service.node, service.name)
        known = mounts(report)
        living = marked_so.get(mark(service), set()) | (within.get(known, set()) if known else set())
        if living or (report and report.watched and report.state in ("waiting", "restarting")):
            found.add(_true(service, report, [words[pid] for pid in living], exists(place, service.node)))
    return found


def _true(service: Service, report: Report | None, environments: list[list[bytes]], reachable: bool) -> Service:
    """A service that is there, as it is."""
    digests = {word for words in environments for word in words if word.startswith(f"{DIGEST}=".encode())}
    told = report.digest if report and report.digest else service.digest
    same = digests <= {f"{DIGEST}={service.digest}".encode()} and told == service.digest
    if not same or not reachable or (report and report.state == "ending"):
        return replace(service, command=())
    if report and report.ready == "late":
        return replace(service, ready=UNREADY)
    lost = service.restart != "no" and not (report and report.watched)
    return replace(service, restart=UNWATCHED) if lost else service


def settle(place: Place, state: State) -> None:
    """Waits until nothing is pending that an earlier `up`, which is gone, had a supervisor start."""
    deadline = time.monotonic() + SETTLING
    for service in (item for item in state.items if isinstance(item, Service)):
        while (report := statuses.read(place, service.node, service.name)) and report.pending:
            if time.monotonic() > deadline:
                return
            time.sleep(0.02)


def rename(place: Place, node: str, hostname: str) -> None:
    """Gives what labctl started in a node another hostname. Call it from a thread that ends afterwards.

    Whoever came by other ways, as with `ip netns exec`, has a hostname of somebody else's.
    """
    mine = namespace(os.getpid(), "uts")
    nodes = [name for name in os.listdir(place.mounts) if place.owner(name) == node]
    own = {known for name in nodes for known in own_mounts(place, name)}
    by_run = tuple(f"{MARK}={place.lab}/{name}/".encode() for name in nodes)
    by_exec = {f"LABCTL_NODE={name}".encode() for name in nodes}
    for pid in processes(place, [node]).get(node, []):
        words = environ(pid)
        started = namespace(pid, "mnt") in own or any(w in by_exec or w.startswith(by_run) for w in words)
        if started and namespace(pid, "uts") not in ("", mine):
            with suppress(FileNotFoundError), open(f"/proc/{pid}/ns/uts") as uts:
                libc.setns(uts.fileno(), libc.CLONE_NEWUTS)
                libc.sethostname(hostname)
