"""What labctl uses of `dataclasses`, made at a twentieth of its cost at start.

Importing `dataclasses` takes 8 ms (it brings inspect, ast and tokenize), and every class made by it 0.4 ms, in which
it compiles five functions: together a quarter of the time in which `up` builds a small lab. Here nothing is
compiled. Type checkers are shown the original; tests/test_fields.py compares the two.
"""

from __future__ import annotations

from operator import attrgetter

__all__ = ["FrozenInstanceError", "dataclass", "field", "replace"]

TYPE_CHECKING = False  # typing alone would take 3 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from dataclasses import FrozenInstanceError, dataclass, field, replace
    from typing import Any
else:

    class FrozenInstanceError(AttributeError):
        """A field of a frozen class was set."""

    def field(*, default=..., default_factory=None, compare=True, hash=None, repr=True):
        """A field's default, and what it takes part in."""
        return _Field(default, default_factory, compare, compare if hash is None else hash, repr)

    def dataclass(cls=None, /, *, frozen=False, order=False):
        """A class whose fields are its annotations: they make its constructor, equality, hash, order and repr."""
        return _made(cls, frozen, order) if cls else lambda cls: _made(cls, frozen, order)

    def replace(instance, /, **changes):
        """The same with other values."""
        names = type(instance).__match_args__
        return type(instance)(**{name: getattr(instance, name) for name in names} | changes)


TELLING = 2  # fields that a hash is made of, the first that take part in it: at a third of the time of all


class _Field:
    def __init__(
        self, default: Any, factory: Any = None, compare: bool = True, hashed: bool = True, shown: bool = True
    ) -> None:
        self.default = default
        self.factory = factory
        self.compare = compare
        self.hashed = hashed
        self.shown = shown


def _made(cls: Any, frozen: bool, order: bool) -> Any:
    own = vars(cls)
    fields = {name: _field(own.get(name, ...)) for name in own.get("__annotations__", ())}
    for name, each in fields.items():
        if each.default is not ...:
            setattr(cls, name, each.default)
        elif name in own:
            delattr(cls, name)
    setattr(cls, "__match_args__", tuple(fields))  # noqa: B010 - mypy knows better
    cls.__init__ = _constructor(cls.__name__, fields)
    cls.__repr__ = _repr([name for name, each in fields.items() if each.shown])
    key = _values([name for name, each in fields.items() if each.compare])
    cls.__eq__ = lambda self, other: key(self) == key(other) if other.__class__ is self.__class__ else NotImplemented
    for comparison in ("__lt__", "__le__", "__gt__", "__ge__") if order else ():
        setattr(cls, comparison, _comparison(comparison, key))
    cls.__hash__ = None
    if frozen:
        hashed = _values([name for name, each in fields.items() if each.hashed][:TELLING])
        cls.__hash__ = lambda self: hash(hashed(self))
        cls.__setattr__ = cls.__delattr__ = _refuse
    return cls


def _field(default: Any) -> _Field:
    return default if isinstance(default, _Field) else _Field(default)


def _values(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    """From an instance to a tuple of its values."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda self: tuple(getattr(self, name) for name in names)


def _constructor(title: str, fields: dict[str, Any]) -> Callable[..., None]:
    names, number = tuple(fields), len(fields)
    defaults = {name: each.default for name, each in fields.items()}  # in the fields' order, as vars() tells them
    factories = [(name, each.factory) for name, each in fields.items() if each.factory]
    needed = [name for name, each in fields.items() if each.default is ... and not each.factory]
    least = names.index(needed[-1]) + 1 if needed else 0
    rests = [{name: defaults[name] for name in names[given:]} for given in range(number + 1)]

    def constructor(self: Any, *values: Any, **more: Any) -> None:
        found, given = self.__dict__, len(values)
        if not more and least <= given <= number and (given == number or not factories):
            found.update(zip(names, values))  # noqa: B905
            if given < number:
                found.update(rests[given])
            return
        found.update(defaults)
        found.update(zip(names, values))  # noqa: B905
        if more:
            found.update(more)
        if given > number or len(found) != number or not more.keys().isdisjoint(names[:given]):
            raise TypeError(f"{title} takes each of {', '.join(names)} once, not {given} values and {[*more]}")
        for name, factory in factories:
            if found[name] is ...:
                found[name] = factory()
        if given < least and (missing := [name for name in needed if found[name] is ...]):
            raise TypeError(f"{title} needs {', '.join(missing)} too")

    return constructor


def _comparison(name: str, key: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    def comparison(self: Any, other: Any) -> Any:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return getattr(key(self), name)(key(other))

    return comparison


def _repr(names: list[str]) -> Callable[[Any], str]:
    return lambda self: f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"


def _refuse(self: Any, name: str, *_: Any) -> None:
    raise FrozenInstanceError(f"cannot assign to {name}: a {type(self).__name__} does not change")
