"""The record: what is written is what is read; a damaged or newer one is refused with a way out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from labctl.desired import Context, desired
from labctl.errors import LabError
from labctl.leases import Taken, lease
from labctl.record import Leases, Record, dumps, loads
from labctl.state import File, State
from labctl.topology import load

GOOD = sorted((Path(__file__).parent / "topologies" / "good").glob("*.yaml"))


def record(file: Path) -> Record:
    topology = load(file.read_bytes(), file.name)
    leases = lease(topology, Leases(), Taken())
    found = {"net.ipv4.ip_forward": "0"}
    return Record(
        topology.name, str(file), True, "x-", leases, found, "listed", True, desired(topology, Context(leases))
    )


@pytest.mark.parametrize("file", GOOD, ids=lambda file: file.stem)
def test_what_is_written_is_what_is_read(file: Path) -> None:
    before = record(file)
    after = loads(dumps(before), "lab.json")
    assert after.state == State.of(item for item in before.state.items if not isinstance(item, File))
    assert (after.leases, after.found, after.prefix) == (before.leases, before.found, before.prefix)
    assert after.host_links == before.host_links


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"version": 99}',
        '{"version": 1}',
        '{"version": 1, "leases": {}, "state": [["Nonsense"]]}',
        "[" * 100_000,
    ],
)
def test_what_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(LabError, match=r"lab\.json"):
        loads(text, "lab.json")


@pytest.mark.parametrize("change", [{"leases": {"group": "x"}}, {"found": None}, {"isolated": "yes"}, {"lab": 7}])
def test_a_field_of_another_type_is_refused(change: dict[str, object]) -> None:
    data = json.loads(dumps(record(GOOD[0]))) | change
    with pytest.raises(LabError, match="damaged"):
        loads(json.dumps(data), "lab.json")


def test_another_version_is_named() -> None:
    data = json.loads(dumps(record(GOOD[0]))) | {"version": 1}
    with pytest.raises(LabError, match="another version"):
        loads(json.dumps(data), "lab.json")
