"""Laws on the real kernel, for random pairs of topologies: what `up` makes of a running lab is what it makes of none."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from strategies import pairs

from kernel.machine import Machine, wait_until

EXAMPLES = os.environ.get("LABCTL_EXAMPLES", "")
LAWS = settings(
    max_examples=int(EXAMPLES or 40) // 2,  # of a shared lab, and as many of an isolated one
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
DRIVER = Path(__file__).with_name("driver.py")


class Driver:
    """labctl in a private machine, a verb at a time; the machine is made anew after a failure."""

    def __init__(self) -> None:
        self._machine: Machine | None = None

    def __call__(self, verb: str, *arguments: Any) -> Any:
        if self._machine is None:
            self._machine = Machine().__enter__()
            self._process = self._machine.start(f"exec {sys.executable} {DRIVER}")
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([verb, *arguments]) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert "error" not in answer, f"{verb}: {answer['error']}"
        return answer["result"]

    def close(self) -> None:
        if self._machine:
            self._machine.__exit__(None, None, None)
        self._machine = None


@pytest.fixture(scope="module")
def drivers() -> Iterator[tuple[Driver, Driver]]:
    both = Driver(), Driver()
    yield both
    for driver in both:
        driver.close()


def as_meant(driver: Driver, text: str) -> None:
    seen = driver("seen", text)
    assert seen["observed"] == seen["desired"]
    assert seen["recorded"] == seen["desired"]
    assert seen["plan"] == []


def converge(drivers: tuple[Driver, Driver], before: str, after: str, isolated: bool) -> None:
    """One machine's lab goes from file to file; the other's is built from the second one, with the same numbers."""
    running, fresh = drivers
    bare = [driver("view", []) for driver in drivers]
    running("up", before, isolated)
    as_meant(running, before)
    running("up", after, isolated)
    as_meant(running, after)
    fresh("again", after, isolated, running("record"))
    as_meant(fresh, after)
    same(lambda: (running("view", []), fresh("view", [])))
    for driver in drivers:
        assert driver("down")
    same(lambda: (bare, [driver("view", []) for driver in drivers]))


def same(look: Callable[[], tuple[Any, Any]]) -> None:
    """Two views are equal; link-local addresses come a moment after the carrier."""
    try:
        wait_until(lambda: one_is_the_other(*look()), 2.0)
    except pytest.fail.Exception:
        one, other = look()
        assert one == other


def one_is_the_other(one: Any, other: Any) -> bool:
    return bool(one == other)


@pytest.mark.parametrize("isolated", [False, True], ids=["shared", "isolated"])
def test_a_changed_file_gives_what_a_new_lab_gives(drivers: tuple[Driver, Driver], isolated: bool) -> None:
    @LAWS
    @given(pairs())
    def law(pair: tuple[str, str]) -> None:
        try:
            converge(drivers, *pair, isolated)
        except BaseException:
            for driver in drivers:
                driver.close()
            raise

    law()
