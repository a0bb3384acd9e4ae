"""docs/topology.md says what the schema says, key for key, and its examples are what labctl reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labctl.document import parse
from labctl.errors import TopologyError
from labctl.shape import TYPES, schema
from labctl.topology import load

PAGE = (Path(__file__).parents[1] / "docs" / "topology.md").read_text()
SECTIONS = {
    "Top level": "",
    "bridges": "bridge",
    "gateway modes": "modes",
    "namespaces": "namespace",
    "networks": "attachment",
    "run": "process",
    "ports": "publish",
    "routes": "route",
    "links": "link",
    "endpoints": "endpoint",
}
"""Heading on the page to definition in the schema."""

EXAMPLES = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
WRONG = re.findall(r"^```yaml wrong\n(.*?)^```\n+```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def definition(name: str) -> dict[str, Any]:
    found: dict[str, Any] = schema()["$defs"][name] if name else schema()
    return found


def resolved(rule: dict[str, Any]) -> dict[str, Any]:
    return {**definition(rule["$ref"].rpartition("/")[2]), **rule} if "$ref" in rule else rule


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading."""
    section = re.split(r"^#+ ", PAGE.partition(f"# {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


@pytest.mark.parametrize(("heading", "name"), SECTIONS.items())
def test_table_has_the_keys_of_the_schema(heading: str, name: str) -> None:
    assert [key.strip("`") for key, *_ in rows(heading)] == list(definition(name)["properties"])


@pytest.mark.parametrize(("heading", "name"), SECTIONS.items())
def test_table_says_what_the_schema_says(heading: str, name: str) -> None:
    rules = definition(name)
    for quoted, kind, default, meaning in rows(heading):
        key = quoted.strip("`")
        rule = resolved(rules["properties"][key])
        types = [rule["type"]] if isinstance(rule["type"], str) else rule["type"]
        words = [TYPES[one].removeprefix("a ") for one in types]
        assert re.split(", | or (?!false)", kind) == words, key
        assert (default == "**required**") == (key in rules.get("required", [])), key
        if "default" in rule:
            assert default == f"`{str(rule['default']).lower()}`", key
        assert default
        assert meaning.endswith("."), key


def descriptions(rule: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every property and definition of the schema, with what it says of itself."""
    if isinstance(rule, dict):
        for group in ("properties", "$defs"):
            for key, inner in rule.get(group, {}).items():
                yield f"{path}/{key}", inner.get("description", "")
                yield from descriptions(inner, f"{path}/{key}")


def test_schema_describes_everything() -> None:
    assert [path for path, text in descriptions(schema()) if not re.fullmatch(r"['A-Z].{10,}\.", text)] == []


def test_all_tables_are_looked_at() -> None:
    tables = PAGE.count("| key | type | default | meaning |")
    assert tables == len(SECTIONS)
    objects = {name for name, rule in schema()["$defs"].items() if "properties" in rule}
    assert objects | {""} == set(SECTIONS.values())


@pytest.mark.parametrize("example", EXAMPLES, ids=[f"{number}" for number in range(len(EXAMPLES))])
def test_example_loads(example: str) -> None:
    assert load(example.encode(), "example.yaml").nodes


def used(data: Any, rule: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Definition and key of everything that data makes use of."""
    name = rule.get("$ref", "").rpartition("/")[2]
    rule = resolved(rule)
    if isinstance(data, list):
        for item in data:
            yield from used(item, rule["items"])
    elif isinstance(data, dict):
        for key, value in data.items():
            inner = rule.get("properties", {}).get(key)
            if inner:
                yield name, key
            yield from used(value, inner or rule["additionalProperties"])


def test_examples_show_every_key() -> None:
    shown = {pair for text in EXAMPLES for pair in used(parse(text.encode(), "").data, schema())}
    wanted = {(name, key) for name in SECTIONS.values() for key in definition(name)["properties"]}
    assert wanted - shown == set()


def test_wrong_example_is_what_labctl_says() -> None:
    [(example, screen)] = WRONG
    with pytest.raises(TopologyError) as raised:
        load(example.encode(), "lab.yaml")
    assert str(raised.value).splitlines() == screen.splitlines()


@pytest.mark.parametrize("target", re.findall(r"\]\(#([^)]*)\)", PAGE))
def test_link_leads_to_a_heading(target: str) -> None:
    headings = re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)
    assert [heading.lower().replace(" ", "-") for heading in headings].count(target) == 1
