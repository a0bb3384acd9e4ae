"""The project's own hygiene: style, types, limits, and what is not Python: scripts, workflow, virtual machine."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
LABCTL = sorted((ROOT / "labctl").rglob("*.py"))
BENCHMARKS = sorted((ROOT / "benchmarks").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
FOLDERS = (ROOT / ".ci", ROOT / "benchmarks/scripts")
FILES = [file for folder in FOLDERS for file in folder.iterdir() if file.is_file()]
SCRIPTS = sorted(file for file in FILES if file.read_bytes().startswith(b"#!"))
FILE_LIMIT = 350
FUNCTION_LIMIT = 40


def must_pass(*command: str | Path, **environment: str) -> None:
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert done.returncode == 0, done.stdout


def tool(name: str) -> str:
    """A program beside this Python, or on the machine's PATH."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if not found:
        pytest.skip(f"{name} is not installed")
    return found


def functions(file: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{file.relative_to(ROOT)}:{node.lineno} {node.name}", (node.end_lineno or 0) - node.lineno + 1


@pytest.mark.parametrize("arguments", ["check", "format --check"])
def test_ruff(arguments: str) -> None:
    must_pass(tool("ruff"), *arguments.split())


def test_mypy() -> None:
    must_pass(tool("mypy"))


def test_files_are_short() -> None:
    lengths = {
        str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file in [*LABCTL, *BENCHMARKS, *TESTS]
    }
    assert {file: lines for file, lines in lengths.items() if lines > FILE_LIMIT} == {}


def test_functions_are_short() -> None:
    lengths = {name: lines for file in [*LABCTL, *BENCHMARKS] for name, lines in functions(file)}
    assert {name: lines for name, lines in lengths.items() if lines > FUNCTION_LIMIT} == {}


def test_lock_is_what_pyproject_allows() -> None:
    locked = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / ".ci/requirements.txt").read_text(), re.MULTILINE))
    declared = [Requirement(requirement) for requirement in requires("labctl") or []]
    assert {wanted.name.lower() for wanted in declared} <= set(locked)
    assert [wanted for wanted in declared if locked[wanted.name.lower()] not in wanted.specifier] == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_script_is_sound(script: Path) -> None:
    must_pass("sh", "-n", script)
    assert os.access(script, os.X_OK)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_script_passes_shellcheck(script: Path) -> None:
    must_pass(tool("shellcheck"), script)


def test_workflow_is_what_github_reads() -> None:
    workflows = sorted((ROOT / ".github/workflows").glob("*.yml"))
    must_pass(tool("check-jsonschema"), "--builtin-schema", "vendor.github-workflows", *workflows)


def test_vagrantfile_is_valid(tmp_path: Path) -> None:
    # A home of its own: Vagrant writes there, and into the project's .vagrant, even when it only looks.
    home = {name: str(tmp_path) for name in ("HOME", "VAGRANT_HOME", "VAGRANT_DOTFILE_PATH")}
    must_pass(tool("vagrant"), "validate", "--ignore-provider", **home)


def test_wheel_holds_what_labctl_reads(tmp_path: Path) -> None:
    offline = {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path)
    must_pass(sys.executable, "-m", "pip", "wheel", *options, ROOT, **offline)
    [wheel] = tmp_path.glob("labctl-*.whl")
    names = set(ZipFile(wheel).namelist())
    shipped = {f"labctl/{file.relative_to(ROOT)}" for file in (ROOT / "topologies").rglob("*") if file.is_file()}
    sources = {str(file.relative_to(ROOT)) for file in LABCTL}
    assert names >= {"labctl/schema.json", "labctl/py.typed"} | shipped | sources
