"""Whether the names in a topology can be names: of the lab, bridges, namespaces, interfaces, hosts and settings.

Knows what the kernel, DNS and the command line take for a name. Knows nothing of what the names refer to (wiring.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from posixpath import basename, splitext

from labctl.document import Document, Steps, Value
from labctl.draft import Draft, Entry
from labctl.errors import Problem
from labctl.state import LAB
from labctl.syntax import quoted

MAX_NODES = 10_000
MAX_NAME = 63  # of a DNS label
MAX_INTERFACE_NAME = 15  # IFNAMSIZ, less the NUL

PREFIX = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,31})?")
WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
WORD_RULE = "use letters, digits, '-', '_' and '.', starting with a letter or digit"
HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9])?)*")
# An interface's own dots are slashes; possessive, so that nothing is remembered of each part of a long text.
SYSCTL = re.compile(r"net(\.[A-Za-z0-9_-]++(/[A-Za-z0-9_-]++)*+)++")

SEPARATORS = {"extra_hosts": "[:=]", "sysctls": "="}  # what follows a name where these are lists of texts
RESERVED_NODES = {"host": "the lab's host", "all": "all namespaces"}
RESERVED_INTERFACES = {"lo", "all", "default"}  # the kernel's: the loopback, and two directories of sysctls


def names(draft: Draft) -> Iterator[Problem]:
    """Every problem with a name."""
    yield from _lab(draft)
    yield from _bridge_names(draft)
    yield from _node_names(draft)
    yield from _contents(draft)


def lab_name(document: Document) -> str:
    """As written, else from the file's name."""
    return str(document.data.get("name", splitext(basename(document.file))[0]))


def _lab(draft: Draft) -> Iterator[Problem]:
    document, name = draft.document, lab_name(draft.document)
    rule = "use at most 32 of a-z, 0-9, '-', '_' and '.', starting with a letter or digit"
    if "name" in document.data and not LAB.fullmatch(name):
        yield document.problem(("name",), f"{quoted(name)} cannot be a lab's name; {rule}")
    elif not LAB.fullmatch(name):
        yield document.problem((), f"the file's name makes no lab name; add a line such as 'name: {_lab_like(name)}'")
    prefix = document.data.get("prefix", "")
    if not PREFIX.fullmatch(prefix):
        yield document.problem(("prefix",), f"{quoted(prefix)} cannot start a namespace's name; {WORD_RULE}")


def _lab_like(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:32].strip("-") or "my-lab"


def _bridge_names(draft: Draft) -> Iterator[Problem]:
    for name in draft.bridges:
        wrong = interface_name(name)
        if re.fullmatch(r"veth[0-9a-f]{7}", name):
            wrong = f"{quoted(name)} looks like the host's end of a veth pair; choose another name"
        if wrong:
            yield draft.document.problem_at_key(("bridges", name), wrong)


def interface_name(name: str) -> str:
    """Why the kernel, or a person reading its tools' output, would not take it; empty for a good name."""
    if len(name) > MAX_INTERFACE_NAME:
        return f"{quoted(name)} is longer than {MAX_INTERFACE_NAME} characters, the kernel's limit; shorten it"
    if name in RESERVED_INTERFACES:
        return f"'{name}' has a meaning to the kernel; choose another name"
    if not WORD.fullmatch(name):
        return f"{quoted(name)} cannot be an interface's name; {WORD_RULE}"
    return ""


def _node_names(draft: Draft) -> Iterator[Problem]:
    total, owners = 0, dict[str, str]()
    for written, entry in draft.entries.items():
        path = ("namespaces", written)
        total += entry.copies
        if total > MAX_NODES:
            message = f"more than {MAX_NODES} namespaces; lower 'count', or make several topologies"
            yield draft.document.problem_at_key(path, message)
            return
        if wrong := _node_name(written, entry.nodes[-1]):
            yield draft.document.problem_at_key(path, wrong)
        if twice := next((name for name in entry.nodes if name in owners), None):
            message = f"{quoted(twice)} is also made by {quoted(owners[twice])} and its 'count'; rename one of them"
            yield draft.document.problem_at_key(path, message)
        owners.update(dict.fromkeys(entry.nodes, written))


def _node_name(written: str, longest: str) -> str:
    if written in RESERVED_NODES:
        return f"'{written}' means {RESERVED_NODES[written]}; choose another name"
    if not WORD.fullmatch(written):
        return f"{quoted(written)} cannot be a namespace's name; {WORD_RULE}"
    if len(longest) > MAX_NAME:
        return f"{quoted(longest)} is longer than {MAX_NAME} characters; shorten the name"
    return ""


def _contents(draft: Draft) -> Iterator[Problem]:
    """Texts inside one namespace that only look right."""
    for name, entry in draft.entries.items():
        items: dict[str, dict[str, str]] = {}
        for where, wrong in chain(_host_names(entry), _settings(entry), _commands(entry)):
            path = ("namespaces", name, *where)
            found = _existing(draft, path, items)
            place = draft.document.problem_at_key if found == path else draft.document.problem
            yield place(found, wrong)


def _existing(draft: Draft, path: Steps, items: dict[str, dict[str, str]]) -> Steps:
    """The way to what a path means in the form that the file uses: a list item, or the value of a short form."""
    value, found = draft.document.root, list[str]()
    for step in path:
        if isinstance(value.data, list) and (key := found[-1]) in SEPARATORS:
            if key not in items:
                items[key] = _named(value, SEPARATORS[key])
            step = items[key][step]
        if step not in value.children:
            break
        found.append(step)
        value = value.children[step]
    return tuple(found)


def _named(texts: Value, separator: str) -> dict[str, str]:
    """The items of a list by name; a name that is wrong twice is wrong the first time."""
    return {re.split(separator, item.text, maxsplit=1)[0]: i for i, item in reversed(texts.children.items())}


def _host_names(entry: Entry) -> Iterator[tuple[Steps, str]]:
    node = entry.node
    names: list[tuple[Steps, str]] = [(("hostname", ""), node.hostname)] if node.hostname is not None else []
    names += [(("domainname", ""), node.domainname)] if node.domainname is not None else []
    names += [(("extra_hosts", name), name) for name, _ in node.extra_hosts]
    names += [(("dns_search", str(i)), name) for i, name in enumerate(node.dns_search) if name != "."]
    for plug in node.networks:
        names += [(("networks", plug.bridge, "aliases", str(i)), alias) for i, alias in enumerate(plug.aliases)]
    for where, name in names:
        if len(name) > MAX_NAME + 1 or not HOST_NAME.fullmatch(name):
            yield where, f"{quoted(name)} cannot be a host's name; use at most 64 letters, digits, '-' and '.'"


def _settings(entry: Entry) -> Iterator[tuple[Steps, str]]:
    node = entry.node
    for key, value in node.sysctls:
        if not SYSCTL.fullmatch(key):
            yield ("sysctls", key), f"{quoted(key)} is no setting of a network; only those under 'net.' can be given"
        elif "\n" in value:
            yield ("sysctls", key), f"the value of '{key}' has several lines; write one"
    for key, _ in node.environment:
        if "=" in key:
            yield ("environment", key), f"{quoted(key)} cannot be a variable's name; remove the '='"
    for run in node.run:
        for key, _ in run.environment:
            if "=" in key:
                where = ("run", run.name, "environment", key)
                yield where, f"{quoted(key)} cannot be a variable's name; remove the '='"


def _commands(entry: Entry) -> Iterator[tuple[Steps, str]]:
    for run in entry.node.run:
        where = ("run", run.name)
        if not WORD.fullmatch(run.name) or len(run.name) > MAX_NAME:
            yield where, f"{quoted(run.name)} cannot be a process's name; {WORD_RULE}"
        first = run.command if isinstance(run.command, str) else run.command[0]
        if not first.strip():
            yield where, "the command is empty; write what to run, or remove it"
        if run.ready and not run.ready[0].strip():
            yield (*where, "ready"), "the command is empty; write what to run, or remove it"
