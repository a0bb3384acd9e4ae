"""Every test of this folder needs a real kernel, and proves that it left nothing behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kernel.machine import Machine, obstacle


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.kernel)
            if obstacle():
                item.add_marker(pytest.mark.skip(reason=obstacle()))


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A private machine; at the end its labs are taken down, and nothing of them may be left."""
    with Machine() as machine:
        yield machine
        machine.prove_clean()
