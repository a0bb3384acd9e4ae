"""YAML text as plain data in which every value knows its line and column.

Knows the structure of YAML: lists, mappings, anchors, merge keys. Knows nothing about topologies. Nothing here
recurses and every size has a limit, for the text may be hostile.
"""

from __future__ import annotations

import errno
import sys

from labctl.errors import MAX_PROBLEMS, Problem, TopologyError, UsageError
from labctl.events import events, yaml
from labctl.fields import dataclass
from labctl.syntax import complaint, decode, kind, leftover, place, quoted, refuse_directives, typed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

MAX_BYTES = 1 << 20
MAX_VALUES = 25_000  # each alias counted as all that it stands for
LONG = 100  # characters of a text that count as one more value: a long one can have an alias, too
MAX_DEPTH = 32

Place = tuple[int, int]  # line and column, from 1
Steps = tuple[str, ...]  # the way to a value: ("bridges", "docker0", "subnet") or ("links", "0")


def read(file: str) -> bytes:
    """The file's bytes; '-' is standard input."""
    try:
        if file == "-":
            text = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with open(file, "rb") as stream:
                text = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: {_why_unreadable(file, error)}") from None
    if len(text) > MAX_BYTES:
        raise UsageError(f"{file}: larger than 1 MiB; a topology is some pages of text: check the file's name")
    return text


def parse(text: bytes, file: str) -> Document:
    """The mapping that a YAML text is, or a TopologyError with every problem on the way."""
    source = decode(text, file)
    refuse_directives(source, file)
    composer = _Composer(file)
    try:
        for event in events(source):
            composer.feed(event)
            if isinstance(event, yaml.DocumentEndEvent):
                composer.problems += leftover(source, event.end_mark, file)
                break
    except yaml.MarkedYAMLError as error:
        composer.problems.append(complaint(error, source, file))
    except _EnoughError:
        pass
    return composer.document()


class Value:
    """A scalar, list or mapping, and where it is written. An alias is its anchor's Value, not a copy.

    `text` is a scalar as written, before its type was found: 1.10 is "1.10". `keys` tells where a mapping's keys are
    written, `size` how many values this counts as, aliases written out.
    """

    __slots__ = ("children", "column", "data", "height", "keys", "line", "size", "text")

    def __init__(self, data: Any, line: int, column: int, text: str = "", size: int = 1) -> None:
        self.data = data
        self.line = line
        self.column = column
        self.text = text
        self.children: dict[str, Value] = _NO_CHILDREN
        self.keys: dict[str, Place] = _NO_KEYS
        self.size = size
        self.height = 1


_NO_CHILDREN: dict[str, Value] = {}  # shared by all scalars: they are many
_NO_KEYS: dict[str, Place] = {}


@dataclass(frozen=True)
class Document:
    """A parsed file: plain data, and a place for everything in it."""

    file: str
    root: Value

    @property
    def data(self) -> Any:
        return self.root.data

    def find(self, path: Steps) -> Value:
        value = self.root
        for step in path:
            value = value.children[step]
        return value

    def problem(self, path: Steps, message: str) -> Problem:
        """A problem with a value."""
        value = self.find(path)
        return Problem(self.file, value.line, value.column, message)

    def problem_at_key(self, path: Steps, message: str) -> Problem:
        """A problem with a name; in a list, where items have no names, with the item."""
        place = self.find(path[:-1]).keys.get(path[-1]) if path else None
        return Problem(self.file, *place, message) if place else self.problem(path, message)

    def positions(self) -> dict[Steps, Place]:
        """Line and column of every value."""
        found: dict[Steps, Place] = {}
        waiting: list[tuple[Steps, Value]] = [((), self.root)]
        while waiting:
            path, value = waiting.pop()
            found[path] = (value.line, value.column)
            waiting.extend(((*path, step), child) for step, child in value.children.items())
        return found


def _why_unreadable(file: str, error: OSError | ValueError) -> str:
    match getattr(error, "errno", None):
        case errno.ENOENT | errno.ENOTDIR:
            return "no such file; check the path, or start one with 'labctl init'"
        case errno.EISDIR:
            return f"is a directory; name the file in it, such as {file.rstrip('/')}/topology.yaml"
        case errno.EACCES | errno.EPERM:
            return "no permission to read it; change its mode (chmod +r) or run as its owner"
        case _:
            return f"cannot be read ({getattr(error, 'strerror', None) or error}); name another file"


class _EnoughError(Exception):
    """Reading on would tell the user nothing more."""


class _Open:
    """A list or mapping that has not ended: `key` was read, and its value is next; `merged` is what `<<` brings in."""

    __slots__ = ("anchor", "key", "merged", "value")

    def __init__(self, value: Value, anchor: str | None) -> None:
        self.value = value
        self.anchor = anchor
        self.key: str | None = None
        self.merged: list[Value] = []


class _Composer:
    """Makes one Value of a stream of events. The stack is a list, so no text can exhaust Python's."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.root: Value | None = None
        self.stack: list[_Open] = []
        self.anchors: dict[str, Value | None] = {}  # None: its end is not yet read
        self.values = 0

    def feed(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._open(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._close()
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)

    def document(self) -> Document:
        root = self.root
        if not self.problems and (root is None or (root.data is None and not root.text)):
            self._problem((1, 1), "the file is empty; describe a network, or start with 'labctl init'")
        elif not self.problems and root and not isinstance(root.data, dict):
            what = f"the file holds {kind(root.data)}; a topology is made of keys such as 'namespaces:'"
            self._problem((root.line, root.column), what)
        if self.problems or root is None:
            raise TopologyError(self.problems)
        return Document(self.file, root)

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        at = place(event.start_mark)
        text = str(event.value)
        plain = not event.style and event.implicit[0]
        self._refuse_tag(event.tag, at)
        if "\0" in text:
            self._problem(at, "a NUL character cannot be part of a text; remove the '\\0'")
        if self._key_is_next():
            self._key(event, text)
        else:
            value = Value(typed(text) if plain else text, *at, text, size=1 + len(text) // LONG)
            if event.anchor:
                self.anchors[event.anchor] = value
            self._add(value, at)

    def _open(self, event: yaml.CollectionStartEvent) -> None:
        at = place(event.start_mark)
        self._refuse_tag(event.tag, at)
        if self._key_is_next():
            self._give_up(at, "a key must be a plain name; quote it if it starts with '[' or '{'")
        if len(self.stack) >= MAX_DEPTH:
            self._give_up(at, f"nested more than {MAX_DEPTH} levels deep; a topology is never that deep")
        empty: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
        value = Value(empty, *at)
        value.children, value.keys = {}, {}
        self.stack.append(_Open(value, event.anchor))
        if event.anchor:
            self.anchors[event.anchor] = None

    def _close(self) -> None:
        done = self.stack.pop()
        if done.merged:
            _merge(done.value, done.merged)
        if done.anchor:
            self.anchors[done.anchor] = done.value
        self._add(done.value, (done.value.line, done.value.column))

    def _alias(self, event: yaml.AliasEvent) -> None:
        at, name = place(event.start_mark), quoted(f"*{event.anchor}")
        if self._key_is_next():
            self._give_up(at, f"the alias {name} cannot be a key; write the name itself")
        if event.anchor not in self.anchors:
            self._give_up(at, f"unknown alias {name}; quote it, or mark a value above with '&' and this name")
        value = self.anchors[event.anchor]
        if value is None:
            self._give_up(at, f"{name} stands inside the value it repeats; write that value out")
        self._add(value, at)

    def _key_is_next(self) -> bool:
        return bool(self.stack) and isinstance(self.stack[-1].value.data, dict) and self.stack[-1].key is None

    def _key(self, event: yaml.ScalarEvent, key: str) -> None:
        parent, at = self.stack[-1], place(event.start_mark)
        if event.anchor:
            self._problem(at, f"the anchor {quoted(f'&{event.anchor}')} stands before a key; put it after the ':'")
        if not key:
            self._problem(at, "there is no key before the ':'; write one")
        if first := parent.value.keys.get(key):
            self._problem(at, f"duplicate key {quoted(key)}, first at {first[0]}:{first[1]}; remove one of the two")
        parent.key = key
        parent.value.keys.setdefault(key, at)

    def _add(self, value: Value, at: Place) -> None:
        if not self.stack:
            self.root = value
            return
        parent = self.stack[-1]
        self._grow(parent, value, at)
        if isinstance(parent.value.data, list):
            parent.value.children[str(len(parent.value.data))] = value
            parent.value.data.append(value.data)
        elif parent.key == "<<":
            parent.merged.extend(self._mappings(value, at))
        elif parent.key is not None:
            parent.value.children[parent.key] = value
            parent.value.data[parent.key] = value.data
        parent.key = None

    def _grow(self, parent: _Open, child: Value, at: Place) -> None:
        self.values += 1
        grown = parent.value
        grown.size += child.size + len(parent.key or "") // LONG
        grown.height = max(grown.height, child.height + 1)
        if max(grown.size, self.values) > MAX_VALUES:
            self._give_up(at, f"more than {MAX_VALUES} values, aliases counted; use 'count', or several topologies")
        if len(self.stack) + child.height > MAX_DEPTH:
            self._give_up(at, f"nested more than {MAX_DEPTH} levels deep; a topology is never that deep")

    def _mappings(self, value: Value, at: Place) -> list[Value]:
        sources = list(value.children.values()) if isinstance(value.data, list) else [value]
        if not all(isinstance(source.data, dict) for source in sources):
            self._problem(at, "'<<' merges mappings; give it an alias of one, such as '<<: *defaults'")
        return [source for source in sources if isinstance(source.data, dict)]

    def _refuse_tag(self, tag: str | None, at: Place) -> None:
        if tag:
            written = tag.replace("tag:yaml.org,2002:", "!!")
            self._problem(at, f"tags such as {quoted(written)} are not used in topologies; remove it")

    def _problem(self, at: Place, message: str) -> None:
        self.problems.append(Problem(self.file, *at, message))
        if len(self.problems) > MAX_PROBLEMS:
            raise _EnoughError

    def _give_up(self, at: Place, message: str) -> NoReturn:
        self.problems.append(Problem(self.file, *at, message))
        raise _EnoughError


def _merge(into: Value, sources: list[Value]) -> None:
    """YAML's merge key: what is written out wins, then the source named first; merged keys come first in order."""
    ranked = [*reversed(sources), into]
    into.children = {key: child for source in ranked for key, child in source.children.items()}
    into.keys = {key: at for source in ranked for key, at in source.keys.items()}
    into.data = {key: child.data for key, child in into.children.items()}
