"""`labctl exec` and `labctl shell`: a command inside a node."""

from __future__ import annotations

import os
import sys

from labctl.linux import entrance

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

FAILED, NOT_EXECUTABLE, NOT_FOUND = 125, 126, 127  # docker's: the tool failed, the command cannot run, is not there


def run(node: str, command: Sequence[str], environment: Sequence[str] = (), directory: str | None = None) -> NoReturn:
    """Becomes the command, inside the node: the terminal, signals and exit status are the command's own."""
    command = command[1:] if command and command[0] == "--" else command
    if not command:
        from labctl.errors import UsageError

        raise UsageError("exec needs a command", f"For example: labctl exec {node} -- ip route")
    try:
        lab, name = entrance.enter(node) or _by_record(node)
    except OSError as error:
        _fail(FAILED, f"cannot enter {node}: {error.strerror or error}; is the lab still up? (labctl ps)")
    try:
        if directory:
            os.chdir(directory)
    except OSError as error:
        _fail(FAILED, f"cannot change to {directory}: {error.strerror}")
    words = [variable.partition("=") for variable in environment]
    inside = {"LABCTL_LAB": lab, "LABCTL_NODE": name}
    _become(command, os.environ | inside | {key: value for key, _, value in words})


def _by_record(node: str) -> tuple[str, str]:
    """The long way: an ordinary user's labs, the host of one, and whatever is wrong."""
    from labctl.cli.choose import choose_node
    from labctl.errors import LabError
    from labctl.linux.place import Place
    from labctl.linux.rootless import admit
    from labctl.linux.services import enter

    try:
        admit()
        record, name = choose_node(node)
        enter(Place(record.lab, record.isolated), name)
    except LabError as error:
        _fail(FAILED, str(error))
    return record.lab, name


def _become(command: Sequence[str], environment: dict[str, str]) -> NoReturn:
    try:
        os.execvpe(command[0], list(command), environment)
    except FileNotFoundError:
        _fail(NOT_FOUND, f"{command[0]}: no such command")
    except OSError as error:
        _fail(NOT_EXECUTABLE, f"{command[0]}: {error.strerror}")


def shell(node: str) -> NoReturn:
    """An interactive shell whose prompt tells where one is."""
    program = os.environ.get("SHELL", "/bin/sh")
    run(node, [program], [f"PS1={node}:\\w# "])


def _fail(status: int, message: str) -> NoReturn:
    print(f"labctl: {message}", file=sys.stderr)
    sys.exit(status)
