"""The keys of a topology and the types of their values: schema.json, and a sentence for each way to miss it.

Knows the JSON Schema and nothing of what the values mean (draft.py, checks.py). The validator's own words never
reach the user. Its choices between types are lists of types, never `anyOf`, so that every failure has one reason.
"""

from __future__ import annotations

import json
from bisect import bisect
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import islice
from math import isfinite
from posixpath import dirname

from labctl.document import Document, Steps, Value
from labctl.errors import MAX_PROBLEMS, Problem
from labctl.syntax import kind, plain, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from jsonschema_rs import ValidationError

FILE = f"{dirname(__file__)}/schema.json"

Fault = tuple[Steps, Problem]  # the way to what is wrong, and the sentence


def faults(document: Document) -> list[Fault]:
    """Everything in a document that the schema does not allow, or more faults than are told."""
    if fits(document.data, schema()):
        return []
    found = (fault for error in _errors(document.data) for fault in _explain(error, document))
    return list(islice(found, MAX_PROBLEMS + 1))


def did_you_mean(word: str, known: Sequence[str], otherwise: str = "") -> str:
    """A hint to follow a message about an unknown word."""
    some = [name for name in islice(known, 1000) if len(name) <= MOST_LETTERS]
    close = _closest(word, some) or [name for name in some if name.lower() == word.lower()]
    return f"; did you mean {quoted(close[0])}?" if close else otherwise and f"; {otherwise}"


def _closest(word: str, known: Sequence[str]) -> list[str]:
    """The known word most like this one, or none. Of many, only those that begin or end alike: difflib is slow."""
    from difflib import get_close_matches

    if len(known) > 20:
        backwards = _neighbours(word[::-1], [name[::-1] for name in known])
        known = [*_neighbours(word, known), *(name[::-1] for name in backwards)]
    return get_close_matches(word[:MOST_LETTERS], known, n=1)


def _neighbours(word: str, known: Iterable[str]) -> list[str]:
    """The ten words around it in a dictionary."""
    ordered = sorted(known)
    at = bisect(ordered, word)
    return ordered[max(0, at - 5) : at + 5]


MOST_LETTERS = 32  # of words that are compared; difflib's time grows with the square


@cache
def schema() -> dict[str, Any]:
    """The shipped JSON Schema."""
    with open(FILE, encoding="utf-8") as file:
        loaded: dict[str, Any] = json.load(file)
    return loaded


def subschema(path: Sequence[str | int]) -> dict[str, Any]:
    """What the schema says of the value at a path; list indexes are numbers here."""
    found = schema()
    for step in path:
        if isinstance(step, int):
            found = found.get("items", {})
        else:
            found = found.get("properties", {}).get(step) or found.get("additionalProperties") or {}
        if reference := found.get("$ref"):
            found = {**schema()["$defs"][reference.rpartition("/")[2]], **found}
    return found


def fits(value: Any, wanted: dict[str, Any]) -> bool:
    """Whether a value is surely what a part of the schema wants. In doubt it is not, and the validator is asked, whose
    import takes as long as to read a small file and to check all that is in it.
    """
    if reference := wanted.get("$ref"):
        wanted = schema()["$defs"][reference.rpartition("/")[2]] | wanted
    types, own = wanted.get("type", ANYTHING), _type(value)  # a list, or one, in whose name no other is
    if own not in types and not (own == "integer" and "number" in types):
        return False
    if "enum" in wanted and (own != "string" or value not in wanted["enum"]):
        return False
    match value:
        case dict():
            known, others = wanted.get("properties", {}), wanted.get("additionalProperties", {})
            return (
                len(value) >= wanted.get("minProperties", 0)
                and all(key in value for key in wanted.get("required", ()))
                and all(isinstance(key, str) and _allowed(each, known.get(key, others)) for key, each in value.items())
            )
        case list():
            items = wanted.get("items", {})
            enough = wanted.get("minItems", 0) <= len(value) <= wanted.get("maxItems", len(value))
            return enough and all(fits(each, items) for each in value)
        case str():
            return bool(len(value) >= wanted.get("minLength", 0))
        case bool() | None:
            return True
        case _:
            return bool(wanted.get("minimum", value) <= value <= wanted.get("maximum", value))


def _allowed(value: Any, wanted: bool | dict[str, Any]) -> bool:
    return fits(value, wanted) if isinstance(wanted, dict) else bool(wanted)


OWN = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", type(None): "null"}
ANYTHING = frozenset(OWN.values())


def _type(value: Any) -> str:
    """A value's type as the schema calls it; of whole numbers only small ones are surely what they seem."""
    if type(value) is float:
        return "number" if isfinite(value) else "other"
    return OWN.get(type(value), "other") if type(value) is not int or abs(value) < 2**53 else "other"


def _errors(data: Any) -> Iterator[ValidationError]:
    from jsonschema_rs import Draft202012Validator  # 20 ms, and only the verbs that read a file need it

    return Draft202012Validator(schema()).iter_errors(data)


def _explain(error: ValidationError, document: Document) -> Iterator[Fault]:
    from jsonschema_rs import ValidationErrorKind

    path = _steps(error.instance_path, document)
    where, value = _walk(path, document)
    allowed = subschema(where).get("properties", {})
    unknown = (key for key in value.keys if key not in allowed)
    match error.kind:
        case ValidationErrorKind.AdditionalProperties():
            for key in unknown:
                yield path, document.problem_at_key((*path, key), _unknown(key, list(allowed)))
        case ValidationErrorKind.Required(property=key):
            if not any(_close(other, [key]) for other in islice(unknown, 9)):  # then that is the missing one
                yield path, document.problem(path, _missing(key, where))
        case ValidationErrorKind.Type():
            yield path, document.problem(path, _wrong_type(where, value.data))
        case ValidationErrorKind.Enum() if not isinstance(value.data, str):
            return  # its type is wrong too, and that is said already
        case _:
            yield path, document.problem(path, _wrong_value(where, value.data))


def _steps(found: Sequence[str | int], document: Document) -> Steps:
    """The way to a value. To the validator the keys "17" and "017" are the number 17."""
    path: list[str] = []
    value = document.root
    for step in map(str, found):
        alike = (key for key in value.children if key.isdigit() and key.lstrip("0") == step.lstrip("0"))
        path.append(step if step in value.children else next(alike, step))
        value = value.children[path[-1]]
    return tuple(path)


def _walk(path: Steps, document: Document) -> tuple[list[str | int], Value]:
    """The path with numbers for list items only, and what it leads to. (To the validator the key "0" is a number.)"""
    where: list[str | int] = []
    value = document.root
    for step in path:
        where.append(int(step) if isinstance(value.data, list) else step)
        value = value.children[step]
    return where, value


def _unknown(key: str, allowed: Sequence[str]) -> str:
    close = _close(key, allowed)
    hint = f"did you mean '{close}'?" if close else f"the keys here are {', '.join(allowed)}"
    return f"unknown key {quoted(key)}; {hint}"


def _close(key: str, allowed: Sequence[str]) -> str:
    """The allowed key that was probably meant."""
    ours = OTHER_WORDS.get(key, "")
    return ours if ours in allowed else next(iter(_closest(key, allowed)), "")


OTHER_WORDS = {
    "services": "namespaces",
    "containers": "namespaces",
    "nodes": "namespaces",
    "networks": "bridges",
    "cables": "links",
    "command": "run",
    "exec": "run",
    "env": "environment",
    "ipv4_address": "ip",
    "ipv6_address": "ip6",
    "mac_address": "mac",
    "scale": "count",
    "replicas": "count",
    "cwd": "working_dir",
    "healthcheck": "ready",
}
"""What the same thing is called in Docker Compose and containerlab, where difflib would not guess it."""


def _missing(key: str, where: Sequence[str | int]) -> str:
    return f"{_called(where)} has no '{key}'; add one, for example {_example([*where, key])}"


def _wrong_type(where: Sequence[str | int], data: Any) -> str:
    wanted = subschema(where)["type"]
    words = [TYPES[name] for name in ([wanted] if isinstance(wanted, str) else wanted) if name != "null"]
    choice = " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
    if data is None:
        return f"{_called(where)} is empty; give it {choice}, for example {_example(where)}"
    if wanted == "boolean" and (ours := YES_OR_NO.get(str(data).lower())):
        return f"{_called(where)} must be {choice}, not {kind(data)}; write {where[-1]}: {ours}"
    return f"{_called(where)} must be {choice}, not {kind(data)}; write for example {_example(where)}"


TYPES = {
    "string": "a text",
    "array": "a list",
    "object": "a mapping",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}
YES_OR_NO = {"yes": "true", "on": "true", "1": "true", "no": "false", "off": "false", "0": "false"}


def _wrong_value(where: Sequence[str | int], data: Any) -> str:
    rule = subschema(where)
    if not isinstance(data, int | float) and not data:
        return f"{_called(where)} is empty; write for example {_example(where)}"
    if isinstance(data, int | float):
        return f"{_called(where)} must be from {rule['minimum']} to {rule['maximum']}, not {data}; change it"
    if isinstance(data, list):
        least, most = rule["minItems"], rule["maxItems"]
        number = str(most) if least == most else f"{least} or {most}"
        return f"{_called(where)} must have {number} items, not {len(data)}; write for example {_example(where)}"
    choice = " or ".join(map(quoted, rule["enum"]))
    return f"{_called(where)} must be {choice}, not {kind(data)}; change it, or remove the key"


def _called(where: Sequence[str | int]) -> str:
    """The value at a path, in words: 'mtu', bridge 'docker0', an item of 'routes'."""
    if not where:
        return "the topology"
    last = where[-1]
    if isinstance(last, int):
        return f"item {last + 1} of {quoted(str(where[-2]))}"
    if last in subschema(where[:-1]).get("properties", {}):
        return f"'{last}'"
    return f"{subschema(where).get('title', 'the value of')} {quoted(last)}"


def _example(where: Sequence[str | int]) -> str:
    """How to write the value at a path, as a line of YAML."""
    example = _flow(subschema(where)["examples"][0])
    return f"- {example}" if isinstance(where[-1], int) else f"{plain(where[-1])}: {example}"


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)
