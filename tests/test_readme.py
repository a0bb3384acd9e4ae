"""What the documents say exists: verbs, options, make targets, files, headings, and the topology that they show."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from labctl.cli.app import app

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
VERBS: dict[str, Any] = dict(vars(typer.main.get_command(app))["commands"])
HELP = {"-h", "--help"}

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.relative_to(ROOT)))


def options(verb: str) -> set[str]:
    parameters = VERBS[verb].params if verb in VERBS else []
    return HELP | {name for parameter in parameters for name in parameter.opts if name.startswith("-")}


def code(text: str) -> Iterator[str]:
    """The lines of code blocks, fenced or indented, and what stands between backticks in the prose."""
    fenced = before = ""
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = "" if fenced else line
        elif fenced == "```text":
            continue  # a picture or a table
        elif fenced or (line.startswith("    ") and (not before.strip() or before.startswith("    "))):
            yield line
        else:
            yield from re.findall(r"`([^`]+)`", line)
        before = line


def prose(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def command_lines(text: str) -> Iterator[tuple[str, list[str]]]:
    """(verb, its options) of each `labctl …`; what follows a `--` is another program's."""
    for line in code(text):
        for found in re.finditer(r"\blabctl (-?-?[a-z][^`|#&;>)]*)", line):
            verb, *words = found[1].partition(" -- ")[0].split()
            yield verb, [word.rstrip(",.:") for word in words if re.match(r"--?[a-z]", word)]


def wrong_commands(text: str) -> list[str]:
    """What labctl would not understand of the command lines in a text."""
    wrong = []
    for verb, used in command_lines(text):
        if verb not in VERBS and verb not in {"--help", "--version"}:
            wrong.append(f"labctl {verb}")
        wrong += [f"labctl {verb} {option}" for option in used if option not in options(verb)]
    return wrong


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(text: str) -> set[str]:
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)}


def broken_links(document: Path) -> Iterator[str]:
    for link in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", prose(document.read_text())):
        path, _, anchor = link.partition("#")
        target = (document.parent / path) if path else document
        if re.match(r"[a-z]+:", link):
            continue
        if not target.exists():
            yield link
        elif anchor and anchor not in anchors(target.read_text()):
            yield f"{link}: no such heading"


def verb_table() -> dict[str, set[str]]:
    """The README's table: the verbs, each with the options that its row names."""
    rows = re.search(r"\| verb \| what \|\n\|[- |]+\|\n((?:\|.*\n)+)", (ROOT / "README.md").read_text())
    assert rows
    cells = [row.split(" | ", 1) for row in rows[1].splitlines()]
    return {shlex.split(verb.strip("| `"))[0]: set(re.findall(r"`(--[a-z0-9-]+)`", what)) for verb, what in cells}


@each_document
def test_commands_are_what_labctl_takes(document: Path) -> None:
    assert wrong_commands(document.read_text()) == []


@each_document
def test_links_lead_somewhere(document: Path) -> None:
    assert list(broken_links(document)) == []


@each_document
def test_make_targets_exist(document: Path) -> None:
    named = {target for line in code(document.read_text()) for target in re.findall(r"\bmake ([a-z][a-z-]*)", line)}
    assert named <= set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_readme_lists_all_verbs_with_their_options() -> None:
    assert verb_table() == {verb: {name for name in options(verb) - HELP if name.startswith("--")} for verb in VERBS}


def test_readme_shows_the_shipped_topology() -> None:
    shipped = (ROOT / "topologies/two-containers.yaml").read_text()
    shown = re.search(r"^```yaml\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert shown
    assert shown[1] == "".join(line for line in shipped.splitlines(keepends=True) if not line.startswith("#"))


def test_architecture_shows_every_module() -> None:
    table = (ROOT / "docs/architecture.md").read_text().partition("## Who imports whom")[2].partition("| read first")[0]
    modules = {
        path.stem for path in (ROOT / "labctl").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert modules - set(re.findall(r"\w+", table.partition("imports from")[2])) == set()


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("`labctl up FILE` and labctl flies", []),
        ("`labctl fly`", ["labctl fly"]),
        ("`labctl up --isolated x --fast`", ["labctl up --fast"]),
        ("`labctl exec a -- ls --all`", []),
        ("```\n# labctl down --all\n# labctl up -v --all\n```", ["labctl up --all"]),
        ("    labctl ps --jsno | jq .", ["labctl ps --jsno"]),
    ],
)
def test_checker_sees(text: str, wrong: list[str]) -> None:
    assert wrong_commands(text) == wrong


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("The picture", "the-picture"),
        ("Inside: `ifconfig`", "inside-ifconfig"),
        ("[0.1.0] - unreleased", "010---unreleased"),
    ],
)
def test_slugs_are_githubs(heading: str, anchor: str) -> None:
    assert slug(heading) == anchor
