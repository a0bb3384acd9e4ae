"""`labctl doctor` as text: findings by topic, the worst of each last, and a verdict. And as JSON-able data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from labctl.doctor import level
from labctl.facts import Finding
from labctl.view.page import BOLD, CYAN, DIM, GREEN, INDENT, RED, WIDTH, YELLOW, Page, wrapped

TITLES = {"privileges": "Privileges", "kernel": "Kernel", "tools": "Tools", "host": "This host"}
COLOURS = {"ok": GREEN, "note": CYAN, "warning": YELLOW, "problem": RED}
MARGIN = " " * (len(INDENT) + max(map(len, COLOURS)) + 2)


def doctor(findings: Sequence[Finding], *, colour: bool = False) -> str:
    page = Page(colour)
    blocks = []
    for topic, title in TITLES.items():
        found = sorted((f for f in findings if f.topic == topic), key=lambda f: list(COLOURS).index(f.level))
        blocks.append([page.heading(title), *(line for finding in found for line in _finding(finding, page))])
    worst = level(tuple(findings))
    blocks.append([page.paint(_verdict(findings), f"{BOLD};{COLOURS[worst]}" if worst != "note" else BOLD)])
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def doctor_data(findings: Sequence[Finding]) -> dict[str, Any]:
    rows = [{"topic": f.topic, "level": f.level, "what": f.what, "remedy": f.remedy or None} for f in findings]
    return {"level": level(tuple(findings)), "findings": rows}


def _finding(finding: Finding, page: Page) -> Iterator[str]:
    mark = INDENT + page.paint(finding.level, COLOURS[finding.level])
    gap = " " * (len(MARGIN) - len(INDENT) - len(finding.level))
    first, *rest = wrapped(finding.what, WIDTH - len(MARGIN), "")
    yield mark + gap + first
    yield from (MARGIN + line for line in rest)
    for number, line in enumerate(_remedy(finding.remedy)):
        yield f"{MARGIN}{' ' if number else page.paint('→', DIM)} {line}"


def _remedy(text: str) -> Iterator[str]:
    """Prose is wrapped; what is set in is to be copied, and never broken."""
    for line in text.splitlines():
        yield from [line] if line.startswith(INDENT) else wrapped(line, WIDTH - len(MARGIN) - 2, "")


def _verdict(findings: Sequence[Finding]) -> str:
    """One line."""
    problems, warnings = (sum(f.level == level for f in findings) for level in ("problem", "warning"))
    if problems:
        what = f"{problems} problems above are" if problems > 1 else "problem above is"
        return f"No lab can be built here until the {what} solved."
    if warnings:
        what = f"{warnings} warnings above are" if warnings > 1 else "warning above is"
        return f"Labs can be built here; the {what} worth a look."
    return "Labs can be built here."
