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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says how often something was made to go wrong, and on how many random topologies the laws were tried."""
    totals: dict[str, int] = {}
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, number in getattr(report, "user_properties", ()):
            if report.when == "call" and isinstance(number, int):
                totals[name] = totals.get(name, 0) + number
    for name, number in totals.items():
        terminalreporter.write_line(f"{name}: {number}")


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A private machine; at the end its labs are taken down, and nothing of them may be left."""
    with Machine() as machine:
        yield machine
        machine.prove_clean()
