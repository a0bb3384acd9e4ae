"""`python -m benchmarks`: measures, prints tables, and writes every sample as JSON if asked to."""

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

from benchmarks import docker, machine, report, work
from benchmarks.room import Room


def main() -> int:
    """Exit status 1 when one of labctl's own commands failed."""
    options = _arguments()
    signal.signal(signal.SIGTERM, _terminated)
    if os.geteuid():
        return _say("the benchmark builds networks in private namespaces and needs root: sudo make bench", 2)
    if options.setup:
        docker.setup()
    described = machine.described()
    for key, value in described.items():
        _print(f"{key:10} {value}")
    works = work.chosen(options.quick, options.only, options.contestants)
    with tempfile.TemporaryDirectory(prefix="labctl-bench-", ignore_cleanup_errors=True) as folder:
        smallest = _smallest(Path(folder) / "smallest")
        for number, each in enumerate(works):
            place = Path(folder) / str(number)
            place.mkdir()
            _say(f"{each.name} …")
            work.measure(each, place)
            _print("", *report.table(each, smallest))
            for name, why in each.missing.items():
                _say(f"{each.name}: {name}: {why}")
    if options.json:
        options.json.write_text(json.dumps(report.as_json(works, described, smallest), indent=2) + "\n")
    return int(any(name in each.missing for each in works for name in (work.LABCTL, work.ISOLATED)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks", description="labctl beside `ip` commands and Docker, in one run"
    )
    names = [each.name for each in work.chosen(False, None)]
    parser.add_argument("--quick", action="store_true", help="few rounds: a look, not a measurement")
    parser.add_argument("--only", choices=names, help="one table")
    parser.add_argument(
        "--contestants",
        type=lambda text: tuple(text.split(",")),
        default=(),
        metavar="NAMES",
        help="such as labctl,floor",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there")
    parser.add_argument("--setup", action="store_true", help="first unpack Debian's docker.io into .cache (60 MB)")
    return parser.parse_args()


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
