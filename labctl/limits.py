"""What a large lab meets first: limits that all network namespaces of a machine share. Pure.

None stands for a limit that is not to be seen: some are told in the machine's own network namespace only.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from labctl.fields import dataclass, field
from labctl.state import HOST, Address, File, Link, Namespace, Service, State

FILES, MORE_FILES = 2, 100  # open files: for each node, and for all else
PROCESSES = 2  # of a service, at least: a shell and its program
NEIGHBOURS, BACKLOG, NAMESPACES = 65536, 16384, 60000  # that are enough for any lab
MUCH = 1 << 20  # bytes of files; less is not worth a word of its own
FREE = 16  # megabytes that should be left in /run


@dataclass(frozen=True)
class Limits:
    """A machine's, as labctl finds them."""

    neighbours: dict[int, int | None] = field(default_factory=dict)  # by IP version, neigh.default.gc_thresh3
    backlog: int | None = None  # net.core.netdev_max_backlog: packets that wait for a CPU
    files: int | None = None  # RLIMIT_NOFILE, the hard limit
    namespaces: int | None = None  # user.max_net_namespaces
    room: tuple[int, int] | None = None  # bytes left where labs are kept, and in all
    processes: int | None = None  # that can still be started


@dataclass(frozen=True)
class Needs:
    """A lab's, when every node talks to one neighbour: its gateway, or the other end of its cable."""

    nodes: int
    neighbours: dict[int, int]  # entries, by IP version
    widest: tuple[str, int]  # the bridge with most ports, and how many
    services: int
    bytes: int  # of the nodes' files


@lru_cache(maxsize=1)  # asked before an `up` for what cannot be, and behind it for what is tight
def needs(state: State) -> Needs:
    addressed = {(i.node, i.dev, i.interface.version) for i in state.items if isinstance(i, Address)}
    pairs = [item.ends for item in state.items if isinstance(item, Link) and item.kind == "veth"]
    ports: dict[str, int] = {}
    for near, _ in pairs:
        if near.master:
            ports[near.master] = ports.get(near.master, 0) + 1
    return Needs(
        sum(isinstance(item, Namespace) and item.node != HOST and not item.same_as for item in state.items),
        {v: 2 * sum((far.node, far.name, v) in addressed for _, far in pairs) for v in (4, 6)},
        max(ports.items(), key=lambda port: port[1], default=("", 0)),
        sum(isinstance(item, Service) for item in state.items),
        sum(len(item.text) for item in state.items if isinstance(item, File)),
    )


def refusals(limits: Limits, needs: Needs) -> Iterator[tuple[str, str]]:
    """Why a lab cannot be built at all, and what helps."""
    lab, files = f"a lab of {needs.nodes} nodes", FILES * needs.nodes + MORE_FILES
    if limits.files is not None and files > limits.files:
        what = f"{lab} takes {files} open files, and labctl may have {limits.files} (ulimit -Hn)"
        yield what, f"As root, in this shell: ulimit -n {_power(files)}; for all: DefaultLimitNOFILE= of systemd."
    if limits.namespaces is not None and needs.nodes > limits.namespaces:
        what = f"{lab} is as many network namespaces, and there may be {limits.namespaces} (user.max_net_namespaces)"
        yield what, f"sysctl -w user.max_net_namespaces={NAMESPACES}"
    if limits.room is not None and needs.bytes > max(limits.room[0], MUCH):
        free, size = limits.room
        what = f"the hosts files of {needs.nodes} nodes take {_megabytes(needs.bytes)}, "
        what += f"and /run has {_megabytes(free)} left"
        yield what, f"mount -o remount,size={(size - free + needs.bytes >> 20) + FREE}M /run"


def warnings(limits: Limits, needs: Needs) -> Iterator[tuple[str, str]]:
    """What a lab of this size will suffer from once it is up, and what helps."""
    for version, entries in needs.neighbours.items():
        limit = limits.neighbours.get(version)
        if limit is not None and entries > limit:
            setting = f"net.ipv{version}.neigh.default.gc_thresh"
            what = f"Nodes lose packets when all talk: that takes {entries} neighbour entries (IPv{version}), and all "
            what += f"namespaces of this machine share {limit} ({setting}3)."
            yield what, f"sysctl -w {setting}2={NEIGHBOURS // 2} {setting}3={NEIGHBOURS}"
    bridge, ports = needs.widest
    if limits.backlog is not None and ports - 1 > limits.backlog:
        what = f"Some nodes on {bridge} never get a broadcast (ARP): it is for {ports - 1} at once, and a CPU has room "
        what += f"for {limits.backlog} packets (net.core.netdev_max_backlog)."
        yield what, f"sysctl -w net.core.netdev_max_backlog={BACKLOG}"
    if limits.processes is not None and PROCESSES * needs.services > limits.processes:
        what = f"Some services may not start: {needs.services} are {PROCESSES * needs.services} processes or more, and "
        what += f"there is room for {limits.processes} (kernel.pid_max, kernel.threads-max, pids.max of the cgroup)."
        yield what, "sysctl -w kernel.pid_max=4194304 kernel.threads-max=4194304"


def _power(number: int) -> int:
    """The next power of two."""
    return 1 << (number - 1).bit_length()


def _megabytes(number: int) -> str:
    return f"{number / (1 << 20):.0f} MiB"
