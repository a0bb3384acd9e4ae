"""YAML 1.2 as text: its characters, its core types, and plain words for what libyaml says of text that is not YAML.

Knows nothing of values and their structure (document.py) or of topologies.
"""

from __future__ import annotations

import math
import re

from labctl.errors import Problem, TopologyError
from labctl.events import yaml

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

Scalar = str | int | float | bool | None

TABLE = {
    "mapping values are not allowed": "a ':' cannot stand here; check the indentation, or quote the text",
    "did not find expected key": "expected 'key: value' here; check the indentation and the quotes above",
    "could not find expected ':'": "expected a ':' after the key; write 'key: value'",
    "did not find expected '-'": "expected a list item here; start it with '- ', indented as the items above",
    "did not find expected ',' or ']'": "the list that '[' opens does not end; add a ',' or the closing ']'",
    "did not find expected ',' or '}'": "the mapping that '{' opens does not end; add a ',' or the closing '}'",
    "did not find expected node": "expected a value here; write one, or remove what stands before it",
    "found unexpected end of stream": "a quoted text does not end; add the closing quote",
    "found unexpected document indicator": "a quoted text does not end; add the closing quote",
    "found unknown escape character": "unknown escape after '\\'; write '\\\\' for a backslash, or use single quotes",
    "did not find expected hexdecimal": "'\\x' and '\\u' need hexadecimal digits; write '\\\\' for a backslash",
    "found invalid Unicode": "this escape is no character; write the character itself",
    "found invalid simple key": "expected a ':' after the key; write 'key: value'",
    "block sequence entries are not allowed": "a list item ('- ') cannot start here; put it on a line of its own",
    "block collections are not allowed": "this cannot start here; put it on a line of its own, indented",
    "mapping keys are not allowed": "a key cannot start here; put it on a line of its own",
    "did not find expected alphabetic": "'&' and '*' mean anchor and alias in YAML; quote the text",
    "did not find expected comment or line break": "only a comment can follow here; put the text on the next line",
    "found an indentation indicator": "indentation after '|' or '>' is a digit from 1 to 9; most texts need none",
    "found a tab character": "a tab cannot indent YAML; use spaces",
    "tag": "tags ('!…') are not used in topologies; remove it, or quote the text",
}
"""What libyaml says (the beginning of it) and what we say."""


def decode(text: bytes, file: str) -> str:
    """UTF-8, with or without a byte order mark, and only characters that YAML allows."""
    try:
        source = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        bad = error.start + len(text) - len(error.object)  # the codec does not count the mark
        message = f"not UTF-8 text (byte {bad} is 0x{text[bad]:02x}); save the file as UTF-8"
        raise TopologyError([problem_at(text[:bad].decode("utf-8-sig", "replace"), file, message)]) from None
    if not _is_printable(source) and (strange := re.search(UNPRINTABLE, source)):
        message = f"a control character (U+{ord(strange[0]):04X}) cannot be in YAML; remove it"
        raise TopologyError([problem_at(source[: strange.start()], file, message)])
    return source


def _is_printable(source: str) -> bool:
    return source.replace("\n", "").replace("\r", "").replace("\t", "").isprintable()


def refuse_directives(source: str, file: str) -> None:
    """No '%' line before the document: libyaml compares every %TAG with every other, for minutes if need be."""
    found = re.search(CONTENT, source) if "%" in source else None
    if found and found[1] == "%":
        message = "a line that starts with '%' is a YAML directive; remove it, topologies need none"
        raise TopologyError([problem_at(source[: found.start(1)], file, message)])


def leftover(source: str, end: Any, file: str) -> list[Problem]:
    """The problem with anything but comments after the document, which ends at the mark `end`."""
    rest = source[end.index :]
    found = re.search(AFTERWARDS, rest) if rest.strip(" \t\n\r") else None
    if not found:
        return []
    before = source[: end.index + found.start(1)]
    if source.startswith("---", len(before)):
        message = "a second document starts here; a file holds one topology: move this one to its own file"
    else:
        message = "text after the end of the topology; remove it, or check the brackets and indentation above"
    return [problem_at(before, file, message)]


def complaint(error: yaml.MarkedYAMLError, source: str, file: str) -> Problem:
    """What libyaml found wrong, as a sentence about what to do."""
    mark: Any = error.problem_mark or error.context_mark
    said = str(error.problem or error.context or error)
    character = source[mark.index : mark.index + 1] if mark else ""
    if "cannot start any token" in said:
        message = "a tab cannot indent YAML; use spaces"
        if character != "\t":
            message = f"a plain text cannot start with {quoted(character)}; put the text in quotes"
    else:
        message = next((ours for theirs, ours in TABLE.items() if theirs in said), f"not YAML: {said}; check this line")
    if error.context_mark and "does not end" in message:
        mark = error.context_mark  # where it was opened is more useful than the end of the file
    if mark and mark.index >= len(source):
        return problem_at(source, file, message)  # to libyaml the text ends on a line of its own
    return Problem(file, *place(mark), message)


def typed(text: str) -> Scalar:
    """A plain scalar's value by the YAML 1.2 core schema: 22:22, no, on and dates are text."""
    if text in WORDS:
        return WORDS[text]
    if not text[0].isascii() or text[0] not in "+-.0123456789":
        return text
    if INTEGER.fullmatch(text):
        return int(text)
    if BASED.fullmatch(text):
        return int(text, 0)
    if FLOAT.fullmatch(text) and math.isfinite(number := float(text)):
        return number
    return text


def place(mark: Any) -> tuple[int, int]:
    """Line and column of a mark, from 1. (The two parsers have no type of mark in common.)"""
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


def kind(data: object) -> str:
    """What a value is, in words."""
    match data:
        case None:
            return "nothing"
        case bool():
            return f"the word {str(data).lower()}"
        case int() | float():
            return f"the number {data}"
        case str():
            return f"the text {quoted(data)}"
        case list():
            return "a list"
        case _:
            return "a mapping"


def quoted(text: str) -> str:
    return f"'{plain(text)}'"


def plain(text: str, most: int = 40) -> str:
    """A text from the file, fit for one line of a message: shortened, and nothing for a terminal to obey."""
    cut = text if len(text) <= most else text[: most - 3] + "..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)


def problem_at(before: str, file: str, message: str) -> Problem:
    """A problem with what follows the text `before`."""
    lines = re.split(BREAK, before)
    return Problem(file, len(lines), len(lines[-1]) + 1, message)


# Compiled when they are used: a file that is all right needs none of them.
UNPRINTABLE = "[\0-\x08\v\f\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]"
BREAK = "\r\n|[\n\r\x85\u2028\u2029]"  # what ends a line to libyaml
START = "(?:^|(?<=[\n\r\x85\u2028\u2029]))[ \t]*"
CONTENT = START + "([^ \t\n\r\x85\u2028\u2029#])"
AFTERWARDS = START + r"(?!\.\.\.\s)([^ \t\n\r\x85\u2028\u2029#])"

WORDS: dict[str, Scalar] = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
WORDS |= {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
INTEGER = re.compile(r"[-+]?[0-9]{1,18}")  # a longer one is no number in a network, and slow to convert
BASED = re.compile(r"0o[0-7]{1,18}|0x[0-9a-fA-F]{1,15}")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
