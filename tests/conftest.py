"""What the whole run adds up to."""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says how often something was made to go wrong, and on how many random topologies the laws were tried."""
    totals: dict[str, int] = {}
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, number in getattr(report, "user_properties", ()):
            if report.when == "call" and isinstance(number, int):
                totals[name] = totals.get(name, 0) + number
    for name, number in totals.items():
        terminalreporter.write_line(f"{name}: {number}")
