"""labctl's own frozen classes do what those of `dataclasses` do."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl import fields
from labctl.state import Published


def made(module: Any) -> list[Any]:
    """The same classes by one module or the other."""

    @module.dataclass(frozen=True)
    class Point:
        x: int
        y: int = 2
        names: tuple[str, ...] = ()

        @property
        def sum(self) -> int:
            return self.x + self.y

        @cached_property
        def twice(self) -> int:
            return 2 * self.x

    @module.dataclass(frozen=True)
    class Partial:
        a: int
        b: list[int] = module.field(default_factory=list, hash=False)
        c: str = module.field(default="c", compare=False, repr=False)

    @module.dataclass(frozen=True, order=True)
    class Version:
        major: int
        minor: int

    @module.dataclass(frozen=True)
    class Empty:
        pass

    @module.dataclass
    class Loose:
        a: int = 1

    return [Point, Partial, Version, Empty, Loose]


def test_ports_of_a_node_have_hashes_of_their_own() -> None:
    """Or sets of them take time with the square."""
    here, there = ip_address("0.0.0.0"), ip_address("10.0.0.2")
    assert len({hash(Published("web", "tcp", here, port, there, port)) for port in range(1000)}) == 1000


OURS, THEIRS = made(fields), made(dataclasses)
NAMES = ["x", "y", "names", "a", "b", "c", "major", "z"]
values = st.one_of(st.integers(0, 3), st.just("text"))
calls = st.tuples(st.lists(values, max_size=4), st.dictionaries(st.sampled_from(NAMES), values))
Call = tuple[list[Any], dict[str, Any]]


def outcome(function: Any, *arguments: Any, **named: Any) -> Any:
    """What comes of it, or of which kind its error is."""
    try:
        return function(*arguments, **named)
    except (fields.FrozenInstanceError, dataclasses.FrozenInstanceError):
        return "frozen"
    except (TypeError, AttributeError) as error:
        return type(error)


def told(module: Any, made: Any, one: Call, other: Call) -> list[Any]:
    """What two instances of a class tell of themselves and each other."""
    a, b = (outcome(made, *values, **named) for values, named in (one, other))
    if not isinstance(a, made) or not isinstance(b, made):
        return [a if isinstance(a, type) else "made", b if isinstance(b, type) else "made"]
    compared = [outcome(getattr(a, way), b) for way in ("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__")]
    replaced = outcome(module.replace, a, **one[1] | other[1])
    hashes = [outcome(hash, each) if isinstance(outcome(hash, each), type) else "a number" for each in (a, b)]
    equal = hashes[0] != "a number" or (hash(a) == hash(b)) >= (a == b)
    shown = [(repr(each), list(vars(each).items())) for each in (a, b, replaced) if isinstance(each, made)]
    return [shown, compared, replaced if isinstance(replaced, type) else "replaced", hashes, equal]


@given(calls, calls)
def test_as_dataclasses(one: Call, other: Call) -> None:
    for ours, theirs in zip(OURS, THEIRS, strict=True):
        assert told(fields, ours, one, other) == told(dataclasses, theirs, one, other)
    assert OURS[2](1, 2) != THEIRS[2](1, 2)


@pytest.mark.parametrize("kind", [OURS, THEIRS], ids=["ours", "theirs"])
def test_frozen(kind: list[Any]) -> None:
    point, loose = kind[0](1), kind[4]()
    assert outcome(setattr, point, "x", 3) == outcome(delattr, point, "x") == "frozen"
    assert point.twice == 2
    assert point == kind[0](1), "what is cached is no part of it"
    loose.a = 3
    assert repr(loose).endswith("Loose(a=3)")


def test_matched_by_position() -> None:
    match OURS[0](5, 6):
        case OURS_POINT(x, y):
            assert (x, y) == (5, 6)
        case _:
            pytest.fail("no match")


OURS_POINT = OURS[0]


def test_factories_are_called_each_time() -> None:
    one, other = OURS[1](1), OURS[1](1)
    assert one.b == []
    assert one.b is not other.b
