"""The picture of docs/architecture.md, enforced: imports point down this table, and only linux/ touches the machine."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "labctl"

# layer   what lives there                                      imports from
PICTURE = """
  cli     : __main__ cli                                      : story view linux fit record plan meaning text nouns base
  story   : lab plug removal                                  : linux fit record plan meaning text nouns base
  linux   : linux                                             : fit record plan nouns base
  view    : view                                              : fit record plan nouns base
  fit     : conflicts doctor interference facts limits        : meaning record nouns base
  meaning : desired etc leases programs publish ruleset       : record nouns base
  record  : record ownership                                  : nouns base
  plan    : plan shell launch                                 : nouns base
  text    : topology shipped checks wiring addressing names dependencies
            publishing sharing edit draft reader notation policies shape document syntax events : nouns base
  nouns   : state status picture written translation          : base
  base    : __init__ digest errors fields progress                   :
"""
PURE = {"view", "fit", "record", "plan", "meaning", "text", "nouns", "base"}
# These act on the machine, or make a result depend on when and where it was computed.
MACHINE = {"pyroute2", "subprocess", "ctypes", "socket", "_socket", "fcntl"}
SURROUNDINGS = {"os", "time", "datetime", "random", "secrets", "threading", "tempfile", "shutil", "signal"}
KERNEL_FILES = ("/proc", "/sys")


@dataclass(frozen=True)
class Layer:
    name: str
    modules: frozenset[str]
    below: frozenset[str]


@dataclass
class Module:
    """What one source file imports and opens, as `module` for another file, with the line where it does."""

    name: str  # linux.netlink
    imports: dict[str, int] = field(default_factory=dict)
    opens: dict[str, int] = field(default_factory=dict)
    at_once: set[str] = field(default_factory=set)  # imported with the module itself, not inside a function

    @property
    def part(self) -> str:
        return self.name.partition(".")[0]


def layers(picture: str) -> dict[str, Layer]:
    """By module: the top-level name of a file or folder of labctl."""
    table: dict[str, Layer] = {}
    names: list[str] = []
    for row in picture.replace("\n            ", " ").strip().splitlines():
        name, modules, below = (part.split() for part in row.split(":"))
        layer = Layer(name[0], frozenset(modules), frozenset(below) | {name[0]})
        names.append(layer.name)
        assert not set(names[:-1]) & set(below), f"{layer.name} imports from above"
        table |= dict.fromkeys(modules, layer)
    return table


def module(name: str, source: str) -> Module:
    found = Module(name)
    tree = ast.parse(source)
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        for imported in _imported(node, name):
            found.imports.setdefault(imported, _line(node))
            if id(node) in top:
                found.at_once.add(imported)
        for path in _opened(node):
            found.opens.setdefault(path, _line(node))
    return found


def violations(found: Module, table: dict[str, Layer]) -> Iterator[str]:
    layer = table.get(found.part)
    if layer is None:
        yield f"{found.name}: has no place in the picture"
        return
    for name, line in found.imports.items():
        outer, _, inner = name.partition(".")
        target = table.get(inner.partition(".")[0], table["__init__"])
        if outer == "labctl" and target.name not in layer.below:
            yield f"{found.name}:{line}: {layer.name} must not import {name}"
        elif outer in MACHINE and layer.name != "linux":
            yield f"{found.name}:{line}: only linux/ may import {outer}"
        elif outer in SURROUNDINGS and layer.name in PURE:
            yield f"{found.name}:{line}: {layer.name} is pure and must not import {outer}"
    for path, line in found.opens.items():
        if layer.name != "linux":
            yield f"{found.name}:{line}: only linux/ may open {path}"


def _imported(node: ast.AST, importer: str) -> Iterator[str]:
    """Dotted names, with the object's own at the end of `from labctl.plan import Op`."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = ["labctl", *importer.split(".")][: -node.level] if node.level else []
        origin = [*above, *([node.module] if node.module else [])]
        yield from (".".join([*origin, alias.name]) for alias in node.names)


def _opened(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Call):
        for argument in node.args:
            first = argument.values[0] if isinstance(argument, ast.JoinedStr) and argument.values else argument
            text = first.value if isinstance(first, ast.Constant) else None
            name = ast.unparse(node.func).rpartition(".")[2]
            if name in {"open", "Path"} and isinstance(text, str) and text.startswith(KERNEL_FILES):
                yield text


def _line(node: ast.AST) -> int:
    return getattr(node, "lineno", 0)


def sources() -> list[Module]:
    files = sorted(PACKAGE.rglob("*.py"))
    names = [".".join(file.relative_to(PACKAGE).with_suffix("").parts) for file in files]
    return [module(name, file.read_text()) for name, file in zip(names, files, strict=True)]


def test_every_import_points_down() -> None:
    table = layers(PICTURE)
    assert [problem for found in sources() for problem in violations(found, table)] == []


def test_no_module_imports_itself_through_others() -> None:
    graph = {f"labctl.{found.name}".removesuffix(".__init__"): found.at_once for found in sources()}
    try:
        # What is no module is an object of the module before the last dot.
        TopologicalSorter(
            {name: {it if it in graph else it.rpartition(".")[0] for it in names} for name, names in graph.items()}
        ).prepare()
    except CycleError as error:
        pytest.fail(f"import cycle: {' <- '.join(error.args[1])}")


def test_picture_shows_nothing_that_is_gone() -> None:
    there = {found.part for found in sources()} | {"view"}  # an empty folder is not in git
    assert set(layers(PICTURE)) <= there


@pytest.mark.parametrize(
    ("name", "source", "complaint"),
    [
        ("plan", "from labctl.desired import desired", "plan:1: plan must not import labctl.desired.desired"),
        ("plan", "from labctl import lab", "plan:1: plan must not import labctl.lab"),
        ("plan", "from . import lab", "plan:1: plan must not import labctl.lab"),
        ("plan", "def f():\n    from labctl.linux.nft import run", "plan:2: plan must not import labctl.linux.nft.run"),
        ("linux.nft", "import labctl.lab", "linux.nft:1: linux must not import labctl.lab"),
        ("linux.nft", "from ..topology import load", "linux.nft:1: linux must not import labctl.topology.load"),
        ("view.table", "from labctl.linux import nft", "view.table:1: view must not import labctl.linux.nft"),
        ("lab", "import pyroute2.netlink", "lab:1: only linux/ may import pyroute2"),
        ("cli.up", "from subprocess import run", "cli.up:1: only linux/ may import subprocess"),
        ("desired", "import time", "desired:1: meaning is pure and must not import time"),
        ("lab", "open(f'/proc/{1}/ns/net')", "lab:1: only linux/ may open /proc/"),
        ("lab", "pathlib.Path('/sys/class/net').iterdir()", "lab:1: only linux/ may open /sys/class/net"),
        ("utils", "", "utils: has no place in the picture"),
    ],
)
def test_checker_sees(name: str, source: str, complaint: str) -> None:
    assert list(violations(module(name, source), layers(PICTURE))) == [complaint]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("linux.nft", "import subprocess, os\nfrom labctl.plan import Op\nopen('/proc/self/ns/net')"),
        ("lab", "import os\nfrom labctl.linux import nft\nfrom labctl.state import State"),
        ("shell", "print('cat /proc/sys/net/ipv4/ip_forward')\nfrom labctl.plan import Op"),
        ("cli.up", "from labctl import __version__, lab"),
    ],
)
def test_checker_accepts(name: str, source: str) -> None:
    assert list(violations(module(name, source), layers(PICTURE))) == []
