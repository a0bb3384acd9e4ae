"""A topology's text with a namespace plugged into one more bridge, or into one less: `connect` and `disconnect`.

Pure. What is not asked for is written as it was, numbers digit for digit. Comments and anchors go, and an entry with
`count` whose copies differ from now on is written out. Whether the result is a good topology is for topology.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from labctl.document import Value, parse
from labctl.errors import UsageError
from labctl.shape import did_you_mean
from labctl.state import HOST

Data = dict[str, Any]


class _Plain(str):
    """A scalar that is no text, as written."""


def connected(text: str, node: str, bridge: str, settings: Mapping[str, Any], interfaces: Mapping[str, str]) -> str:
    """With a node on a bridge. `interfaces`, its present ones by bridge, keep their names. Raises UsageError."""
    data = _data(text)
    entry = _entry(data, node)
    mode = str(entry.get("network_mode", ""))
    if bridge not in data.get("bridges", {}):
        raise UsageError(f"the lab has no bridge '{bridge}'" + did_you_mean(bridge, list(data.get("bridges", {}))))
    _has_own(node, mode)
    if mode == "none" and "networks" not in entry:
        raise UsageError(f"{node} has 'network_mode: none', and can be connected to no network", "Change its file.")
    networks = _pinned(entry, interfaces)
    if bridge in networks:
        raise UsageError(f"{node} is already connected to {bridge}", f"See 'labctl exec {node} -- ip address'.")
    entry["networks"] = networks | {bridge: {k: _Plain(v) if isinstance(v, int) else v for k, v in settings.items()}}
    entry.pop("network_mode", None)
    return _text(data)


def disconnected(text: str, node: str, bridge: str, interfaces: Mapping[str, str], cabled: bool) -> str:
    """With a node on a bridge no more; `cabled` tells whether something else connects it. Raises UsageError."""
    data = _data(text)
    entry = _entry(data, node)
    _has_own(node, str(entry.get("network_mode", "")))
    networks = _pinned(entry, interfaces)
    if bridge not in networks:
        known = ", ".join(networks) or "none"
        raise UsageError(f"{node} is not connected to {bridge}", f"Its networks: {known}.")
    del networks[bridge]
    entry["networks"] = networks  # empty, it tells from a namespace that never had one
    if not networks and not cabled:
        entry["network_mode"] = "none"
    return _text(data)


def _has_own(node: str, mode: str) -> None:
    """Raises UsageError where a node shares the network of another."""
    if mode not in ("", "none"):
        owner = mode.removeprefix("namespace:")
        hint = "The host is on every bridge of its lab." if owner == HOST else f"Name {owner} instead."
        whose = "the host" if owner == HOST else owner
        raise UsageError(f"{node} shares the network of {whose}, and has none of its own to change", hint)


def _pinned(entry: Data, interfaces: Mapping[str, str]) -> Data:
    """Its networks as a mapping, each with the name of its interface."""
    written = entry.get("networks") or {}
    written = written if isinstance(written, dict) else dict.fromkeys(written)
    return {bridge: (plug or {}) | {"interface": interfaces[bridge]} for bridge, plug in written.items()}


def _entry(data: Data, node: str) -> Data:
    """The entry that makes this node, and no other."""
    nodes: Data = data["namespaces"]
    if node not in nodes or "count" in (nodes[node] or {}):
        data["namespaces"] = nodes = _written_out(nodes)
    nodes[node] = nodes[node] or {}
    found: Data = nodes[node]
    return found


def _written_out(nodes: Data) -> Data:
    """Without `count`: each copy as an entry of its own."""
    copies = {name: int(float(entry["count"])) for name, entry in nodes.items() if entry and "count" in entry}
    found: Data = {}
    for name, entry in nodes.items():
        if name not in copies:
            found[name] = _alone(entry, copies, 1)
        for number in range(1, copies.get(name, 0) + 1):
            found[f"{name}-{number}"] = {k: v for k, v in _alone(entry, copies, number).items() if k != "count"}
    return found


def _alone(entry: Data | None, copies: Mapping[str, int], number: int) -> Data:
    """A copy of an entry; of what it shares with copies, it shares one."""
    entry = dict(entry or {})
    owner = str(entry.get("network_mode", "")).removeprefix("namespace:")
    if owner in copies:
        entry["network_mode"] = f"namespace:{owner}-{number if copies[owner] > 1 else 1}"
    if isinstance(entry.get("run"), dict):
        entry["run"] = {
            name: _waiting(run, copies) if isinstance(run, dict) else run for name, run in entry["run"].items()
        }
    return _waiting(entry, copies)


def _waiting(entry: Data, copies: Mapping[str, int]) -> Data:
    """With `depends_on` written out: who waits for copies waits for each."""
    if "depends_on" not in entry:
        return entry
    written = entry["depends_on"]
    found: list[str] = []
    for text in written if isinstance(written, list) else [written]:
        node, slash, process = str(text).partition("/")
        names = [f"{node}-{number}" for number in range(1, copies[node] + 1)] if node in copies else [node]
        found += [f"{name}{slash}{process}" for name in names]
    return entry | {"depends_on": found}


def _data(text: str) -> Data:
    found: Data = _plain(parse(text.encode(), "").root)
    return found


def _plain(value: Value) -> Any:
    if isinstance(value.data, dict):
        return {key: _plain(child) for key, child in value.children.items()}
    if isinstance(value.data, list):
        return [_plain(child) for child in value.children.values()]
    if value.data is None:
        return None
    return value.data if isinstance(value.data, str) else _Plain(value.text)


def _text(data: Data) -> str:
    """Flow style, a line for each entry: as JSON, which is YAML too."""
    lines = []
    for key, value in data.items():
        if isinstance(value, dict) and value:
            lines += [f"{key}:", *(f"  {_flow(name)}: {_flow(entry)}" for name, entry in value.items())]
        else:
            lines.append(f"{key}: {_flow(value)}")
    return "\n".join(lines) + "\n"


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_flow(key)}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if value is None:
        return "null"
    return str(value) if isinstance(value, _Plain) else _quoted(str(value))


def _quoted(text: str) -> str:
    """In double quotes. JSON writes a character above U+FFFF as two, which to YAML are none."""
    parts = (json.dumps(c) if ord(c) < 0x10000 else f'"\\U{ord(c):08x}"' for c in text)
    return '"' + "".join(part[1:-1] for part in parts) + '"'
