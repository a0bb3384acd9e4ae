"""Namespaces of random topologies that share the network of another, or the host's."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Data = dict[str, Any]


def modes(names: list[str]) -> st.SearchStrategy[Data]:
    return st.sampled_from(["host", *(f"namespace:{name}" for name in names)]).map(lambda mode: {"network_mode": mode})


def settled(nodes: Data) -> Data:
    """Those that have a network of their own; the others lose what goes with one."""
    for name, node in nodes.items():
        if not _shares(node, nodes):
            node.pop("network_mode", None)
        else:
            nodes[name] = {key: node[key] for key in ("network_mode", "count", "run", "environment") if key in node}
    return {name: node for name, node in nodes.items() if "network_mode" not in node}


def _shares(node: Data, nodes: Data) -> bool:
    """Whether there is one to share: the host's, or that of a single node with one of its own."""
    owner = nodes.get(_mode(node).removeprefix("namespace:"))
    return _mode(node) == "host" or bool(owner is not None and not _mode(owner) and owner.get("count", 1) == 1)


def _mode(node: Data) -> str:
    return str(node.get("network_mode", "none")).removeprefix("none")
