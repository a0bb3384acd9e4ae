"""Finding a topology by what was typed: a file of the user's first, then one that comes with labctl."""

from __future__ import annotations

from pathlib import Path

import pytest

from labctl import shipped
from labctl.document import read
from labctl.errors import UsageError
from labctl.shipped import folder, locate, names
from labctl.topology import load


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(file: str) -> str:
    with pytest.raises(UsageError) as raised:
        locate(file)
    return str(raised.value)


@pytest.mark.parametrize("name", names())
def test_shipped_topologies_load(name: str) -> None:
    file = f"{folder()}/{name}.yaml"
    assert load(read(file), file).name == name
    assert read(file).decode().startswith("# yaml-language-server: $schema=")


def test_two_containers_is_shipped() -> None:
    assert "two-containers" in names()


@pytest.mark.parametrize("file", ["two-containers", "two-containers.yaml", "two-containers.yml"])
@pytest.mark.usefixtures("elsewhere")
def test_a_bare_name_is_looked_up(file: str) -> None:
    assert locate(file) == f"{folder()}/two-containers.yaml"
    assert locate(file).startswith("/")


@pytest.mark.parametrize("file", ["two-containers", "two-containers.yaml"])
def test_a_file_here_comes_first(file: str, elsewhere: Path) -> None:
    (elsewhere / file).touch()
    assert locate(file) == file


def test_a_directory_here_does_not(elsewhere: Path) -> None:
    (elsewhere / "two-containers").mkdir()
    assert locate("two-containers") == f"{folder()}/two-containers.yaml"
    (elsewhere / "labs").mkdir()
    assert locate("labs") == "labs"  # whoever reads it says that it is a directory


@pytest.mark.parametrize("file", ["./two-containers.yaml", "labs/two-containers", "/no/such/two-containers.yaml", "-"])
@pytest.mark.usefixtures("elsewhere")
def test_a_path_is_what_it_says(file: str) -> None:
    assert locate(file) == file


@pytest.mark.parametrize("file", ["two-container", "two_containers.yaml", "Two-Containers", "two-containres.yml"])
@pytest.mark.usefixtures("elsewhere")
def test_did_you_mean(file: str) -> None:
    assert refusal(file) == f"{file}: no such file, nor a shipped topology; did you mean 'two-containers'?"


@pytest.mark.parametrize("file", ["zzz", "zzz.yaml", "two-containers.txt.gz", "x" * 5000, "\N{SNOWMAN}", "a\0b"])
@pytest.mark.usefixtures("elsewhere")
def test_no_such_topology(file: str) -> None:
    assert refusal(file).startswith(f"{file}: no such file, nor a shipped topology; ")


def test_otherwise_all_are_named(elsewhere: Path) -> None:
    assert refusal("zzz").endswith(f"; the shipped topologies are {', '.join(names())}")
    assert list(elsewhere.iterdir()) == []


def test_in_a_wheel_they_are_inside_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "labctl" / "topologies").mkdir(parents=True)
    (tmp_path / "labctl" / "topologies" / "one.yaml").touch()
    monkeypatch.setattr(shipped, "PACKAGE", f"{tmp_path}/labctl")
    assert names() == ["one"]
    assert locate("one") == f"{tmp_path}/labctl/topologies/one.yaml"
