"""Tests beside a Docker engine need a real kernel too."""

from __future__ import annotations

from pathlib import Path

import pytest
from kernel.machine import obstacle


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent) and "sides" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.kernel)
            if obstacle():
                item.add_marker(pytest.mark.skip(reason=obstacle()))
