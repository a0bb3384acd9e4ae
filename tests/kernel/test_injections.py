"""Harm at every step of up, of a changing up and of down: what follows always leads to a clean machine, or to the lab.

Each test is a scenario with one way to do harm, at one step after the other (saboteur.py). LABCTL_INJECTIONS=all harms
every step in every way, refusals with each of five errnos; without it each way takes its share of the steps, and a step
that is refused has one errno, by turns.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import pytest

from kernel.machine import Machine, each_way

ALL = os.environ.get("LABCTL_INJECTIONS") == "all"
REFUSED = [f"error-{name}" for name in ("EPERM", "EEXIST", "ENOMEM", "ENOSPC", "EBUSY")] if ALL else ["error"]
HARM = ["kill-down", "kill-up", "signal", *REFUSED]
EVERY = {"": 8, "--isolated": 12, "rootless": 12}  # the shares
PATIENCE = 1200.0  # seconds for all steps of one test


@each_way
@pytest.mark.timeout(PATIENCE)
@pytest.mark.parametrize("way", HARM)
@pytest.mark.parametrize("scenario", ["up", "change", "down"])
def test_harm_at_every_step(
    machine: Machine, record_property: Callable[[str, object], None], scenario: str, way: str, option: str
) -> None:
    if option == "rootless":
        machine.become_user()
    every = 1 if ALL else EVERY[option]
    steps = f"{1 + HARM.index(way) % every}:{every}"
    words = f"{scenario} {way} {'isolated' if option else ''} {steps}"
    found = json.loads(machine.script("saboteur.py", words, PATIENCE))
    record_property("injections", found["injections"])
    assert found["failures"] == []
    assert found["injections"] >= found["steps"] // every > 2
