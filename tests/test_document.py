"""YAML as data with positions: where values are, of which type, and that no text at all does harm."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labctl.document import MAX_DEPTH, MAX_VALUES, Document, parse
from labctl.errors import MAX_PROBLEMS, LabError, TopologyError
from labctl.syntax import typed
from labctl.topology import load


def document(text: str) -> Document:
    return parse(text.encode(), "lab.yaml")


def problems(text: str) -> list[str]:
    with pytest.raises(TopologyError) as raised:
        document(text)
    return [str(problem).removeprefix("lab.yaml:") for problem in raised.value.problems]


# --- positions -----------------------------------------------------------------------------------------------------


def test_every_value_has_its_place() -> None:
    text = "# a comment\nbridges:\n  net:\n    subnet: [10.0.0.0/24, 'fd00::/64']\nlist:\n- one\n- {two: 2}\n"
    assert document(text).positions() == {
        (): (2, 1),
        ("bridges",): (3, 3),
        ("bridges", "net"): (4, 5),
        ("bridges", "net", "subnet"): (4, 13),
        ("bridges", "net", "subnet", "0"): (4, 14),
        ("bridges", "net", "subnet", "1"): (4, 27),
        ("list",): (6, 1),
        ("list", "0"): (6, 3),
        ("list", "1"): (7, 3),
        ("list", "1", "two"): (7, 9),
    }


def test_a_problem_is_with_a_value_or_with_its_name() -> None:
    found = document("bridges:\n  net: {mtu: 9}\nlist: [a, b]\n")
    assert str(found.problem(("bridges", "net", "mtu"), "small")) == "lab.yaml:2:14: small"
    assert str(found.problem_at_key(("bridges", "net", "mtu"), "odd")) == "lab.yaml:2:9: odd"
    assert str(found.problem_at_key(("list", "1"), "odd")) == "lab.yaml:3:11: odd"
    assert str(found.problem_at_key((), "odd")) == "lab.yaml:1:1: odd"


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_lines_end_and_files_begin_in_many_ways(ending: str, mark: str) -> None:
    found = document(mark + ending.join(["a: 1", "ä: {ö: 2}", ""]))
    assert found.positions() == {(): (1, 1), ("a",): (1, 4), ("ä",): (2, 4), ("ä", "ö"): (2, 8)}


def test_an_alias_is_where_its_anchor_is() -> None:
    found = document("a: &x {k: [1]}\nb: *x\n")
    assert found.data == {"a": {"k": [1]}, "b": {"k": [1]}}
    assert found.positions()["b", "k", "0"] == found.positions()["a", "k", "0"] == (1, 12)


# --- types ---------------------------------------------------------------------------------------------------------

CORE: list[tuple[str, Any]] = [
    *[(text, None) for text in ("", "~", "null", "Null", "NULL")],
    *[(text, True) for text in ("true", "True", "TRUE")],
    *[(text, False) for text in ("false", "False", "FALSE")],
    *[("0", 0), ("017", 17), ("+1", 1), ("-19", -19), ("0o17", 15), ("0x1F", 31)],
    *[("0.", 0.0), ("-.5", -0.5), ("+12e03", 12000.0), ("-2E+05", -200000.0), ("1.10", 1.1), ("9" * 19, 1e19)],
    *[(text, text) for text in ("no", "No", "off", "y", "yes", "on", "nUll", "tRUE")],
    *[(text, text) for text in ("22:22", "1:2:3", "12:34:56:78:9a:bc", "190:20:30.15")],
    *[
        (text, text)
        for text in ("2024-01-01", "1_000", "0b11", "0o8", "0xg", "+0x1", "1e", ".", "-", "+", "e5", "1.2.3")
    ],
    *[(text, text) for text in ("10.0.0.0/8", "fd00::1", "=", "<<", "１", "1e999", ".inf", "-.Inf", ".nan")],
]


@pytest.mark.parametrize(("text", "value"), CORE)
def test_core_types(text: str, value: Any) -> None:
    assert typed(text) == value
    assert type(typed(text)) is type(value)


@pytest.mark.parametrize("text", ["1", "true", "null", "~", ""])
@pytest.mark.parametrize("form", ["k: '{}'", 'k: "{}"', "k: |-\n  {}\n", "k: >-\n  {}\n"])
def test_quoted_is_text(text: str, form: str) -> None:
    assert document(form.format(text)).data == {"k": text}


def test_keys_are_text() -> None:
    assert document("{1: a, true: b, null: c, 017: d, 1.0: e}").data == {
        "1": "a",
        "true": "b",
        "null": "c",
        "017": "d",
        "1.0": "e",
    }


def test_a_scalar_remembers_how_it_is_written() -> None:
    found = document("a: 1.10\nb: 0x10\nc: True\n")
    assert [found.find((key,)).text for key in "abc"] == ["1.10", "0x10", "True"]


# --- anchors and merge keys ----------------------------------------------------------------------------------------


def test_merge() -> None:
    text = "x: &x {a: 1, b: 2}\ny: &y {b: 3, c: 4}\nz:\n  c: 5\n  <<: [*x, *y]\n  d: 6\n"
    merged = document(text)
    assert merged.data["z"] == {"a": 1, "b": 2, "c": 5, "d": 6}
    assert merged.positions()["z", "b"] == (1, 17)
    assert str(merged.problem_at_key(("z", "c"), "odd")) == "lab.yaml:4:3: odd"
    assert merged.data["x"] == {"a": 1, "b": 2}  # what is merged stays as it was


def test_merge_in_a_merge() -> None:
    assert document("a: &a {k: 1}\nb: &b {<<: *a, l: 2}\nc: {<<: *b, l: 3}\n").data["c"] == {"k": 1, "l": 3}


def test_an_anchor_may_be_given_again() -> None:
    assert document("a: &x 1\nb: *x\nc: &x 2\nd: *x\n").data == {"a": 1, "b": 1, "c": 2, "d": 2}


def test_a_merge_cannot_hide_a_duplicate() -> None:
    assert problems("a: &a {k: 1}\nb: {<<: *a, <<: *a}\n") == [
        "2:13: duplicate key '<<', first at 2:5; remove one of the two"
    ]


def test_an_anchor_bomb_is_counted_not_built() -> None:
    levels = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    [problem] = problems("\n".join(["a0: &a0 [x]", *levels]))
    assert problem.endswith("more than 25000 values, aliases counted; use 'count', or several topologies")


@pytest.mark.parametrize("value", [f'"{"x" * 900_000}"', f'{{? "{"x" * 900_000}" : 1}}', "[" + "x," * 900 + "]"])
def test_an_alias_of_much_is_much(value: str) -> None:
    """A long text, a long key, a long list: what is short in the file would fill the memory."""
    [problem] = problems(f"a: &a {value}\nb: [{'*a,' * 3000}]\n")
    assert problem.endswith("more than 25000 values, aliases counted; use 'count', or several topologies")


def test_depth_counts_what_an_alias_stands_for() -> None:
    levels = [f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, MAX_DEPTH + 5)]
    [problem] = problems("\n".join(["a0: &a0 [x]", *levels]))
    assert problem.endswith(f"nested more than {MAX_DEPTH} levels deep; a topology is never that deep")


# --- limits --------------------------------------------------------------------------------------------------------


def test_as_deep_as_allowed() -> None:
    deepest = MAX_DEPTH - 1  # the mapping around it is the first level
    assert document("a: " + "[" * deepest + "]" * deepest).data["a"] is not None
    assert len(problems("a: " + "[" * (deepest + 1) + "]" * (deepest + 1))) == 1


def test_as_many_values_as_allowed() -> None:
    items = MAX_VALUES - 2  # the list is one, the mapping another
    assert len(document(f"a: [{'x,' * items}]").data["a"]) == items
    assert len(problems(f"a: [{'x,' * (items + 2)}]")) == 1


def test_so_many_problems_and_no_more() -> None:
    assert len(problems("a: x\n" * 1000)) == MAX_PROBLEMS + 1  # the last line speaks of the rest


# --- any text at all -----------------------------------------------------------------------------------------------

KEYS = re.findall(
    r"\S+",
    """name prefix bridges namespaces links subnet gateway ip_range internal mtu mac networks run environment hostname
    extra_hosts dns sysctls routes forward network_mode count ip ip6 interface aliases command to via dev metric
    table endpoints node <<""",
)
WORDS = re.findall(
    r"\S+",
    """net a b 10.0.0.0/24 10.0.0.0/30 10.0.0.2 10.0.0.2/24 fd00::/64 fd00::1/64 fd00::1 none default true 0 1 -1 9999
    1e3 1500.0 A=b a:eth0 b:eth1 eth0 lo host 02:42:0a:00:00:02 net.ipv4.ip_forward x:1.2.3.4 null ~""",
)
INDENTS = ["", " ", "  ", "    ", "- ", "  - ", "\t"]
MARKS = [": ", ":\n", "\n", " ", ", ", "[", "]", "{", "}", "&a ", "*a", "!", "|", ">", "'", '"', "%", "#", "---", "\\x"]

STRANGE = ["\x1b[2J", "a\nb", "'", "\x1b/1", "a=\x1b", "\x1b:e", "x" * 5000, "é", "\u202e"]
NAMES = [*WORDS, *STRANGE]
ANY = settings(deadline=None, max_examples=200, database=None, suppress_health_check=[HealthCheck.too_slow])

values = st.recursive(
    st.sampled_from([*WORDS, *STRANGE, None, True, 1, -1, 1.5, 2**70]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*KEYS, *NAMES]), inner, max_size=5),
    max_leaves=30,
)


def is_explained(text: bytes) -> None:
    """It is a topology, or it is said what is wrong with it, in one printable line each."""
    try:
        load(text, "lab.yaml")
    except LabError as error:
        lines = str(error).split("\n")
        assert all(line.startswith("lab.yaml:") and line.isprintable() for line in lines)
        assert 1 <= len(lines) <= MAX_PROBLEMS + 1
        assert len(set(lines)) == len(lines)
        assert max(map(len, lines)) < 600


@given(st.binary(max_size=200))
@ANY
def test_any_bytes(text: bytes) -> None:
    is_explained(text)


@given(st.text(alphabet=string.printable + "äß€\u2028\ufeff\U0001f600", max_size=100))
@ANY
def test_any_text(text: str) -> None:
    is_explained(text.encode())


@given(st.lists(st.sampled_from([*KEYS, *WORDS, *INDENTS, *MARKS, *MARKS]), max_size=40))
@ANY
def test_any_yaml_ish_text(words: Sequence[str]) -> None:
    is_explained("".join(words).encode())


@given(st.dictionaries(st.sampled_from(KEYS), values, max_size=5))
@ANY
def test_any_data(data: dict[str, Any]) -> None:
    is_explained(json.dumps(data).encode())


def topologies() -> st.SearchStrategy[dict[str, Any]]:
    """Data whose upper levels are right, so that the lower ones are looked at."""
    some = st.dictionaries(st.sampled_from(KEYS), values, max_size=4)
    bridge = some.map(lambda more: {"subnet": "10.0.0.0/29"} | more)
    node = some.map(lambda more: {"networks": ["net"]} | more)
    named = st.sampled_from(["net", "a", "b", *STRANGE])
    end = st.sampled_from(["a:eth0", "b:eth0", "a:eth1", *STRANGE]) | some.map(
        lambda more: {"node": "a", "interface": "e"} | more
    )
    link = st.lists(end, min_size=2, max_size=2).map(lambda ends: {"endpoints": ends})
    return st.fixed_dictionaries(
        {
            "bridges": st.dictionaries(named, bridge, max_size=2),
            "namespaces": st.dictionaries(named, node, min_size=1, max_size=3),
            "links": st.lists(link, max_size=2),
        }
    )


@given(topologies())
@ANY
def test_any_topology(data: dict[str, Any]) -> None:
    is_explained(json.dumps(data).encode())


def test_every_word_under_every_key() -> None:
    """Whatever one puts where: each key of a bridge, an attachment, a namespace, a route and a cable's end."""
    forms = [
        "bridges: {{net: {{subnet: 10.0.0.0/24, {}: {}}}}}\nnamespaces: {{a: {{networks: [net]}}}}",
        "bridges: {{net: {{subnet: 10.0.0.0/24}}}}\nnamespaces: {{a: {{networks: {{net: {{{}: {}}}}}}}}}",
        "bridges: {{net: {{subnet: 10.0.0.0/24}}}}\nnamespaces: {{a: {{networks: [net], {}: {}}}}}",
        "namespaces: {{a: {{network_mode: none, routes: [{{to: default, {}: {}}}]}}}}",
        "namespaces: {{a: , b: }}\nlinks: [{{endpoints: ['b:eth0', {{node: a, interface: e, {}: {}}}]}}]",
    ]
    for form, key, word in product(
        forms, KEYS, [*map(repr, WORDS[::3]), "1", "[]", "['a']", "{}", "{'a': 'b'}", "null", "true"]
    ):
        is_explained(form.format(key, word).encode())
