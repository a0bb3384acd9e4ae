"""What a supervisor wrote down of a service, and the words for it."""

from __future__ import annotations

import pytest

from labctl.picture import Status
from labctl.state import Service
from labctl.status import Report, parse

SERVICE = Service("node", "main", ("sleep", "1"))
RUNNING = "state=running digest=abc pid=7 begun=42 mnt=mnt:[4026532290] ready=no"


def test_the_last_whole_line_counts() -> None:
    text = f"state=waiting digest=abc\n{RUNNING}\nstate=exited code=0 dig"
    assert parse(text, watched=True) == Report(
        "running", "abc", "7", "42", "mnt:[4026532290]", ready="no", watched=True
    )


@pytest.mark.parametrize("text", ["", "\n", "state", "nonsense\n", "watched=yes\n"])
def test_what_is_not_told_is_empty(text: str) -> None:
    assert parse(text, watched=False) == Report()


@pytest.mark.parametrize(
    ("report", "pids", "state", "text"),
    [
        (None, (), "exited", "exited"),
        (None, (7,), "running", "running"),
        (Report("running", pid="7", ready="no", watched=True), (7,), "running", "running (not ready)"),
        (Report("running", pid="7", ready="yes", watched=True), (7,), "running", "running"),
        (Report("running", pid="7"), (), "exited", "exited"),  # nobody has seen how
        (Report("exited", code="0"), (), "exited", "exited (0)"),
        (Report("exited", code="0", watched=True), (9,), "running", "running"),  # it has gone into the background
        (Report("exited", code="SIGKILL"), (), "killed", "killed (SIGKILL)"),
        (Report("restarting", code="3", watched=True), (), "restarting", "restarting (3)"),
        (Report("restarting", code="3"), (), "exited", "exited (3)"),
        (Report("waiting", watched=True), (), "waiting", "waiting"),
    ],
)
def test_how_it_is_told(report: Report | None, pids: tuple[int, ...], state: str, text: str) -> None:
    status = Status(SERVICE, pids, report)
    assert (status.state, status.text) == (state, text)


def test_exit_status_and_signal() -> None:
    exited, killed = (Status(SERVICE, (), Report("exited", code=code)) for code in ("3", "SIGTERM"))
    assert (exited.exit_status, exited.signal) == (3, "")
    assert (killed.exit_status, killed.signal) == (None, "SIGTERM")
    assert Status(SERVICE, (7,), Report("running", code="3")).exit_status is None


def test_what_a_service_waits_for_is_no_part_of_its_digest() -> None:
    waiting = Service("node", "main", ("sleep", "1"), after=(("db", "main"),))
    assert waiting.digest == SERVICE.digest
    assert Service("node", "main", ("sleep", "1"), restart="always").digest != SERVICE.digest
