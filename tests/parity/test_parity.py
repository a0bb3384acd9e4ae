"""Beside a real Docker engine: a Compose file makes the same with labctl as with Docker, but for what is declared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from parity.differences import DIFFERENCES
from parity.report import FILES, documented, measure
from parity.sides import Docker, Labctl, both

AGAIN = "`make parity` writes docs/parity.md again"


@pytest.fixture(scope="session")
def sides() -> Iterator[tuple[Docker, Labctl]]:
    with both() as found:
        yield found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_makes_what_it_makes_with_docker(
    sides: tuple[Docker, Labctl], file: Path, record_property: Callable[[str, object], None]
) -> None:
    found = measure(*sides, file)
    assert found.unexplained == []
    assert set(found.reasons) == documented()[file.stem], AGAIN
    record_property("parity: rows equal", (found.rows - found.different).total())
    for name, number in found.reasons.items():
        record_property(f"parity: rows that differ, {name}", number)


def test_every_file_is_in_the_document() -> None:
    assert list(documented()) == [file.stem for file in FILES], AGAIN


def test_every_declared_difference_occurs() -> None:
    occurring = set().union(*documented().values())
    assert [each.name for each in DIFFERENCES if each.name not in occurring] == [], "delete it"
