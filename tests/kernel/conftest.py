"""Every test of this folder needs a real kernel, and proves that it left nothing behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kernel.machine import Machine, needs, obstacle

TOOLS = {"three-tier": ("nginx", "redis-server", "redis-cli")}  # what a shipped topology runs beside Python


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.kernel)
            if obstacle():
                item.add_marker(pytest.mark.skip(reason=obstacle()))
            for file in topologies(item):
                item.add_marker(needs(*TOOLS.get(file.stem, ())))


def topologies(item: pytest.Item) -> list[Path]:
    """The files that a test is given."""
    drawn = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return [value for value in drawn if isinstance(value, Path)]


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A private machine; at the end its labs are taken down, and nothing of them may be left."""
    with Machine() as machine:
        yield machine
        machine.prove_clean()
