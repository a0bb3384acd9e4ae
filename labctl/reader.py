"""A place in a document, to read values from: what cannot be read becomes a problem. Used by draft.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from labctl.document import Document, Steps, Value
from labctl.errors import MAX_PROBLEMS, Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    T = TypeVar("T")


class EnoughError(Exception):
    """There are more problems than are told."""


class At:
    """A place in a document, to read from."""

    __slots__ = ("document", "path", "problems", "value")

    def __init__(self, document: Document, path: Steps, value: Value, problems: list[Problem]) -> None:
        self.document = document
        self.path = path
        self.value = value
        self.problems = problems

    @property
    def name(self) -> str:
        return self.path[-1]

    @property
    def data(self) -> Any:
        return self.value.data

    @property
    def text(self) -> str:
        """A scalar as written: 1.10 in an environment is not 1.1."""
        return self.value.text

    def __contains__(self, key: str) -> bool:
        return key in self.value.children

    def __truediv__(self, key: str) -> At:
        return At(self.document, (*self.path, key), self.value.children[key], self.problems)

    def __iter__(self) -> Iterator[At]:
        """The entries of a mapping or the items of a list."""
        return (self / key for key in self.value.children)

    def get(self, key: str, default: Any = None) -> Any:
        return self.value.children[key].data if key in self else default

    def all(self, key: str) -> list[At]:
        """The items of a list, or the one value that may stand for a list; none without the key."""
        if key not in self:
            return []
        value = self / key
        return list(value) if isinstance(value.data, list) else [value]

    def read(self, notation: Callable[[str], T]) -> T | None:
        """The text as a value, or None and a problem."""
        try:
            return notation(self.text)
        except ValueError as problem:
            self.problem(str(problem))
            return None

    def read_at(self, key: str, notation: Callable[[str], T]) -> T | None:
        return (self / key).read(notation) if key in self else None

    def read_all(self, key: str, notation: Callable[[str], T]) -> tuple[T, ...]:
        if key not in self:
            return ()
        return tuple(value for item in self.all(key) if (value := item.read(notation)) is not None)

    def problem(self, message: str) -> None:
        self.problems.append(Problem(self.document.file, self.value.line, self.value.column, message))
        if len(self.problems) > MAX_PROBLEMS:
            raise EnoughError
