"""docs/parity.md: what was compared, what differs, and why. `make parity` writes it again."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from parity.compose import FOLDER, load
from parity.differences import DIFFERENCES, KINDS, Comparison, compare
from parity.observe import GROUPS, observe
from parity.sides import Docker, Labctl, both

FILES = sorted(FOLDER.glob("*.yaml"))
DOCUMENT = Path(__file__).parents[2] / "docs/parity.md"
PATIENCE = (1.0, 5.0)  # seconds: who does not answer in the first time is asked again if that is what differs
HEAD = """\
# Beside Docker

Each Compose file of [tests/parity/compose](../tests/parity/compose) is brought up twice, on two machines of the same
making: by Docker 20.10 (Debian's, with `--ip6tables`) and by labctl. Then both are looked at in the same way, and what
was seen is compared row by row. `make test-parity` does it again; a row that differs without a reason below fails, and
so does a reason for which no row differs any more. `make parity` writes this page.

What is looked at:

- **links**, **addresses**, **routes**: all that `ip -details` tells of every interface in every container, and of the
  bridges and the pairs' ends on the host, but for timers, counters and the number of queues (it depends on the CPUs);
- **neighbours**: who has learnt whose MAC;
- **sysctls**: every setting below `net.ipv4`, `net.ipv6`, `net.core` and `net.bridge` that is not as in a namespace
  which nobody has touched;
- **files**: `/etc/hosts`, `/etc/resolv.conf`, `/etc/hostname`, the host name; **names**: IPv4 and IPv6 addresses of
  every name, in every container;
- **reach**: ICMP, TCP and UDP from everywhere to every address: containers, the host, a client on the LAN that has a
  route to the containers; whom the other side saw, and with which TTL;
- **ports**: every published port from everywhere, at every address of the host, and at the container's own;
- **mtu**: the largest packet that arrives in one piece.
"""


def measure(docker: Docker, labctl: Labctl, file: Path) -> Comparison:
    """Brings a file up on both sides, and compares."""
    compose = load(file)
    sides = (docker, labctl)
    with ThreadPoolExecutor(2) as pool, ExitStack() as stack:
        list(pool.map(lambda side: stack.enter_context(side.up(compose)), sides))
        for patience in PATIENCE:
            rows = [pool.submit(observe, side, compose, patience) for side in sides]
            found = compare(file.stem, *(each.result() for each in rows))
            if not found.unexplained:
                break
    return found


def document(comparisons: Iterable[Comparison]) -> str:
    found = list(comparisons)
    totals = sum((each.reasons for each in found), Counter[str]())
    rows, different = (sum(sum(counter.values()) for counter in each) for each in _counters(found))
    verdict = f"{rows} rows were compared; {rows - different} are equal, {different} differ for a reason."
    return "\n".join([HEAD, "## The result", "", verdict, "", *_table(found), *_reasons(totals), ""])


def _counters(found: list[Comparison]) -> tuple[list[Counter[str]], list[Counter[str]]]:
    return [each.rows for each in found], [each.different for each in found]


def _table(found: list[Comparison]) -> Iterator[str]:
    yield "Rows of each group, with those that differ after a minus:"
    yield ""
    yield f"| file | {' | '.join(GROUPS)} | differ by |"
    yield f"| --- |{' ---: |' * len(GROUPS)} --- |"
    for each in found:
        cells = [_cell(each.rows[group], each.different[group]) for group in GROUPS]
        numbers = {difference.name: number for number, difference in enumerate(DIFFERENCES, start=1)}
        reasons = sorted(numbers[name] for name in each.reasons)
        yield f"| {each.file} | {' | '.join(cells)} | {', '.join(map(str, reasons))} |"


def _cell(rows: int, different: int) -> str:
    return f"{rows} −{different}" if different else str(rows)


def _reasons(totals: Counter[str]) -> Iterator[str]:
    for kind, title in KINDS.items():
        own = [(number, each) for number, each in enumerate(DIFFERENCES, start=1) if each.kind == kind]
        if own:
            yield from ("", f"## {title}", "", "| | what | why | rows | source |", "| ---: | --- | --- | ---: | --- |")
        for number, each in own:
            yield f"| {number} | {each.name} | {each.reason} | {totals[each.name]} | {each.source} |"


def documented() -> dict[str, set[str]]:
    """The reasons by which each file differs, as the page tells them."""
    lines = re.findall(r"^\| ([a-z0-9-]+) \|.*\| ([0-9, ]*) \|$", DOCUMENT.read_text(), re.MULTILINE)
    return {file: {DIFFERENCES[int(n) - 1].name for n in numbers.split(", ") if n} for file, numbers in lines}


def main() -> None:
    with both() as (docker, labctl):
        found = []
        for file in FILES:
            found.append(measure(docker, labctl, file))
            print(f"{file.stem}: {sum(found[-1].rows.values())} rows", *found[-1].unexplained, sep="\n  ", flush=True)
    DOCUMENT.write_text(document(found))


if __name__ == "__main__":
    main()
