"""`labctl up` and `labctl plan`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence

from labctl import lab
from labctl.cli.bar import Bar
from labctl.cli.files import topology
from labctl.lab import Draft
from labctl.limits import needs, warnings
from labctl.linux.capacity import limits, tables
from labctl.linux.nft import others_forward
from labctl.linux.rootless import admit, admit_to_change
from labctl.plan import Op, Plan
from labctl.shell import script, shell
from labctl.state import HOST, Address, Link, Names, Published, Service, State

SHORT = 16  # lines of a list that still fits a screen with what is around it


def run(file: str, isolated: bool = False, dry_run: bool = False, verbose: bool = False) -> None:
    """Brings up the lab of a file. The story goes to stderr; with `dry_run` the plan to stdout and nothing is done."""
    if dry_run:
        return plan(file, isolated)
    wanted = topology(file)
    tables()
    admit_to_change(starting=True)
    begun = time.monotonic()
    name = wanted.name
    with Bar(name, wanted=not verbose) as bar:
        tell_unready = unready(name, bar)
        done = lab.up(wanted, isolated or None, _tell(verbose), lambda: waiting_for(name), tell_unready, bar.progress)
    finish(done, time.monotonic() - begun, verbose)
    _warn(done)


def plan(file: str, isolated: bool = False, as_json: bool = False, exit_code: bool = False) -> None:
    """Prints what `up` would do, as a shell script for `sh -e` or as JSON; exits 1 for a difference if asked to."""
    wanted = topology(file)
    admit()
    draft = lab.draft(wanted, isolated or None)
    if as_json:
        print(json.dumps([_as_json(op, draft.record.names) for op in draft.plan], indent=2))
    elif draft.plan:
        print(script(draft.plan, draft.record.names), end="")
    else:
        print(f"{draft.record.lab}: already as the file says", file=sys.stderr)
    if exit_code and draft.plan:
        sys.exit(1)


def _as_json(op: Op, names: Names) -> dict[str, object]:
    return {
        "op": type(op).__name__.lower(),
        "kind": type(op.item).__name__.lower(),
        "node": op.item.node,
        "key": list(op.item.key),
        "reason": op.reason,
        "shell": shell(op, names),
    }


def _tell(verbose: bool) -> lab.Report:
    return (lambda op, names: print(shell(op, names), file=sys.stderr)) if verbose else silently


def silently(_op: Op, _names: Names) -> None:
    """Reports nothing."""


def waiting_for(name: str) -> None:
    print(f"{name}: waiting for another labctl that works on this lab …", file=sys.stderr)


def unready(name: str, bar: Bar) -> Callable[[Sequence[Service]], None]:
    def tell(services: Sequence[Service]) -> None:
        bar.erase()
        names = [f"{service.node}/{service.name}" for service in services]
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        verb = "is" if len(names) == 1 else "are"
        print(f"{name}: waiting until {', '.join(names[:5])}{more} {verb} ready …", file=sys.stderr)

    return tell


def finish(done: Draft, seconds: float, verbose: bool = False) -> None:
    """What was done and what to try next."""
    name, plan = done.record.lab, done.plan
    if not plan:
        return _say(f"{name}: already as the file says")
    where = "in its own host namespace" if done.record.isolated else "on this machine's host namespace"
    if not done.new:
        _say(f"{name}: changed in {seconds:.2f} s, {_operations(plan)}")
        more = [f"  … {len(plan) - SHORT} more"] if len(plan) > SHORT else []
        return None if verbose else _say(*(_line(op, done.record.names) for op in plan[:SHORT]), *more)
    _say(f"{name}: up {where} in {seconds:.2f} s, {_operations(plan)}")
    _say(*_members(done.wanted))
    nodes = done.wanted.nodes
    _say("try", "  labctl show", *([f"  labctl exec {nodes[0]} -- ip route"] if nodes else []), f"  labctl down {name}")


def _warn(done: Draft) -> None:
    """What nothing of the lab's own can change: limits of the machine, and somebody else's firewall."""
    found = [*(warnings(limits(), needs(done.wanted)) if done.plan else ()), *_blocked(done)]
    for what, remedy in found:
        _say(f"warning: {what}", *(f"  {line}" for line in remedy.splitlines()))


def _blocked(done: Draft) -> Iterable[tuple[str, str]]:
    bridges = [item.ends[0].name for item in done.wanted.items if isinstance(item, Link) and item.kind == "bridge"]
    if done.record.isolated or not bridges or not others_forward():
        return ()
    from labctl.interference import blocked  # for few machines only
    from labctl.linux.surroundings import blocking

    found = blocked(blocking(sorted(bridges)), sorted(bridges))
    return [(finding.what, finding.remedy) for finding in found]


def _operations(plan: Plan) -> str:
    return "1 operation" if len(plan) == 1 else f"{len(plan)} operations"


def _line(op: Op, names: Names) -> str:
    first = shell(op, names).splitlines()[0].removesuffix(" \\")
    return f"  {first}    # {op.reason}" if op.reason else f"  {first}"


def _members(state: State) -> list[str]:
    """A line for each bridge and node with its addresses; the middle of a long list is left out."""
    addresses: dict[tuple[str, str], list[str]] = {}
    for item in state.items:
        if isinstance(item, Address) and not item.interface.is_loopback:
            place = ("", item.dev) if item.node == HOST else (item.node, item.dev)
            addresses.setdefault(place, []).append(str(item.interface if item.node == HOST else item.interface.ip))
    rows: dict[str, list[str]] = {node: [] for node in state.nodes}
    ports = {(p.node, f"{_outside(p)}{p.host_port}->{p.port}/{p.protocol}"): None for p in state.published}
    bridges = {dev: sorted(found) for (node, dev), found in addresses.items() if not node}
    for (node, dev), found in sorted(addresses.items()):
        if node:
            rows[node].append(f"{dev} {' '.join(sorted(found))}")
    for node, owner in state.shared().items():
        rows[node].append(f"as {owner}")
    for node, port in ports:
        rows[node].append(port)
    width = max(map(len, [*bridges, *rows]), default=0)
    lines = [f"  {name:{width}}  {' '.join(found)}" for name, found in sorted(bridges.items())]
    lines += [f"  {name:{width}}  {', '.join(found)}".rstrip() for name, found in rows.items()]
    return lines if len(lines) <= SHORT else [*lines[: SHORT - 2], f"  … {len(lines) - SHORT + 1} more", lines[-1]]


def _outside(port: Published) -> str:
    """The address of the host, where it is a certain one; as `docker ps` writes it."""
    host_ip = f"[{port.host_ip}]" if port.host_ip.version == 6 else port.host_ip
    return "" if port.host_ip.is_unspecified else f"{host_ip}:"


def _say(*lines: str) -> None:
    for line in lines:
        print(line, file=sys.stderr)
