"""`python -m benchmarks`: measures, prints tables, and writes every sample as JSON and a picture if asked to."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import NoReturn

from benchmarks import aims, machine, packages, plot, report, work
from benchmarks.contestants import ISOLATED, LABCTL, nodes, slug, two_containers
from benchmarks.networks import Network
from benchmarks.room import Room


def main() -> int:
    """Exit status 1 when one of labctl's own commands failed."""
    options = _arguments()
    signal.signal(signal.SIGTERM, _terminated)
    if os.geteuid():
        return _say("the benchmark builds networks in private namespaces and needs root: sudo make bench", 2)
    if options.setup:
        packages.setup()
    described = machine.described()
    for key, value in described.items():
        _print(f"{key:10} {value}")
    works = work.chosen(options.quick, options.only)
    with tempfile.TemporaryDirectory(prefix="labctl-bench-", ignore_cleanup_errors=True) as folder:
        smallest = _smallest(Path(folder) / "smallest")
        for number, each in enumerate(works):
            place = Path(folder) / str(number)
            place.mkdir()
            _say(f"{each.name} …")
            work.measure(each, place, options.quick, options.contestants)
            _print("", *report.table(each, smallest))
            for name in each.failed:
                _say(f"{each.name}: {name}: {each.notes[name]}")
    judged = list(aims.judged({each.name: each for each in works}))
    if judged:
        _print("", *report.aims_table(judged))
    if options.json:
        options.json.write_text(json.dumps(report.as_json(works, described, smallest, judged), indent=2) + "\n")
    if options.plot:
        options.plot.write_text(plot.picture(works))
    return int(any(name in each.failed for each in works for name in (LABCTL, ISOLATED)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks", description="labctl beside what people use for the same work, and a floor in C, in one run"
    )
    names = [each.name for each in work.chosen(False)]
    known = [slug(name) for name in two_containers() | nodes(Network(1))]
    parser.add_argument("--quick", action="store_true", help="few rounds and small networks: a look, not a measurement")
    parser.add_argument("--only", type=_ListOf(names), default=(), metavar="TABLES", help=", ".join(names))
    parser.add_argument("--contestants", type=_ListOf(known), default=(), metavar="NAMES", help=", ".join(known))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw time against the number of nodes, as SVG")
    parser.add_argument(
        "--setup", action="store_true", help="first unpack the others' packages into .cache (about 150 MB)"
    )
    return parser.parse_args()


class _ListOf:
    """The type of an option that takes names with commas between."""

    def __init__(self, known: list[str]) -> None:
        self._known = known

    def __call__(self, text: str) -> tuple[str, ...]:
        names = tuple(text.split(","))
        if unknown := [name for name in names if name not in self._known]:
            raise argparse.ArgumentTypeError(f"no '{unknown[0]}'; known are {', '.join(self._known)}")
        return names


def _smallest(folder: Path) -> int:
    """The peak of a command that needs next to nothing, in kilobytes: what is below cannot be seen."""
    with Room(folder) as room:
        return max(room.run(["true"]).rss for _ in range(3))


def _terminated(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _print(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def _say(line: str, status: int = 0) -> int:
    sys.stderr.write(f"benchmarks: {line}\n")
    return status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(_say("interrupted; its namespaces are gone", 130))
