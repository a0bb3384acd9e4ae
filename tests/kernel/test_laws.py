"""Laws on the real kernel, for random pairs of topologies: a changed lab is what a new one would be.

changes/<case>/ is a pair that once was not, reduced to what matters; `# gap: <reason>` on after.yaml's first line
says that it still is not. LABCTL_EXAMPLES is the number of random pairs, other ones each time.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from edits import pairs
from hypothesis import HealthCheck, Phase, assume, given, settings
from strategies import SYSCTLS

from kernel.gaps import gaps
from kernel.machine import ROOT, Machine, wait_until

EXAMPLES = os.environ.get("LABCTL_EXAMPLES", "")
LAWS = settings(
    max_examples=max(1, int(EXAMPLES or 40) // 2),  # of a shared lab, and as many of an isolated one
    derandomize=not EXAMPLES,
    phases=tuple(Phase) if EXAMPLES else (Phase.generate,),  # making a failure smaller takes minutes
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
PATH = f"{ROOT}:{ROOT}/tests"
CASES = sorted(folder for folder in Path(__file__).with_name("changes").iterdir() if folder.is_dir())
View = dict[str, Any]


class Driver:
    """labctl in a private machine, a verb at a time; a machine in which something failed is not used again."""

    def __init__(self) -> None:
        self._machine: Machine | None = None
        self.bare: View = {}

    def __call__(self, verb: str, *arguments: Any) -> Any:
        if self._machine is None:
            self._machine = Machine().__enter__()
            self._process = self._machine.start(f"PYTHONPATH={PATH} exec {sys.executable} -m kernel.driver")
            self.bare = self.view()
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([verb, *arguments]) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert "error" not in answer, f"{verb}: {answer['error']}"
        return answer["result"]

    def view(self) -> View:
        found: View = self("view", list(SYSCTLS))
        return found

    def end(self, clean: bool) -> None:
        """The machine's end; where nothing failed it is, at last, as it was at first."""
        machine, self._machine = self._machine, None
        if machine:
            try:
                if clean:
                    self._process.communicate(timeout=10)  # the end of its input ends it
                    self._process.stdin = self._process.stdout = self._process.stderr = None
                    machine.prove_clean()
            finally:
                machine.__exit__(None, None, None)


Drivers = tuple[Driver, Driver]


@pytest.fixture(scope="module")
def drivers() -> Iterator[Drivers]:
    both = Driver(), Driver()
    yield both
    for driver in both:
        driver.end(clean=True)


def converges(drivers: Drivers, before: str, after: str, isolated: bool) -> None:
    """One machine's lab goes from file to file; the other's is built from the second one, with the same numbers."""
    running, fresh = drivers
    try:
        as_meant(running, "up", before, isolated)
        as_meant(running, "up", after, isolated)
        as_meant(fresh, "again", after, isolated, running("record"))
        same(lambda: (running.view(), fresh.view()))
        for driver in drivers:
            assert driver("down")
            assert driver.view() == driver.bare
    except BaseException:
        for driver in drivers:
            driver.end(clean=False)
        raise


def as_meant(driver: Driver, verb: str, text: str, *arguments: Any) -> None:
    """After `up` all is as the file says, and nothing is left to do."""
    driver(verb, text, *arguments)
    seen = driver("seen", text)
    assert seen["observed"] == seen["desired"]
    assert seen["recorded"] == seen["desired"]
    assert seen["plan"] == []


def same(look: Callable[[], tuple[View, View]]) -> None:
    """Two views become equal: link-local addresses come a moment after the carrier."""
    found: list[tuple[View, View]] = []

    def equal() -> bool:
        found[:] = [look()]
        one, other = found[0]
        assert one | {"network": None} == other | {"network": None}
        return bool(one == other)

    try:
        wait_until(equal, 3.0)
    except pytest.fail.Exception:
        assert found[0][0]["network"] == found[0][1]["network"]


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("isolated", [False, True], ids=["shared", "isolated"])
def test_a_changed_lab_is_a_new_lab(
    drivers: Drivers, record_property: Callable[[str, object], None], isolated: bool
) -> None:
    @LAWS
    @given(pairs())
    def law(pair: tuple[str, str]) -> None:
        assume(not gaps(*pair))
        tried.append(pair)
        converges(drivers, *pair, isolated)

    tried: list[tuple[str, str]] = []
    law()
    record_property("random pairs of topologies", len(tried))


@pytest.mark.parametrize("isolated", [False, True], ids=["shared", "isolated"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case(drivers: Drivers, case: Path, isolated: bool, request: pytest.FixtureRequest) -> None:
    before, after = ((case / name).read_text() for name in ("before.yaml", "after.yaml"))
    kind, _, reason = after.partition("\n")[0].partition(": ")
    if kind == "# gap":
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    converges(drivers, f"name: lab\n{before}", f"name: lab\n{after}", isolated)
