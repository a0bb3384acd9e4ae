"""How the settings of a process are written: restart, ready, user. Like notation.py, for `run:`."""

from __future__ import annotations

import re

from labctl.syntax import quoted

RESTART = r"no|always|unless-stopped|on-failure(:[1-9][0-9]{0,8})?"
PORT = r"(tcp|udp) +([0-9]{1,5})"
USER = r"[A-Za-z0-9_][A-Za-z0-9_.-]*\$?(:[A-Za-z0-9_][A-Za-z0-9_.-]*\$?)?"
LAST_ID = 2**32 - 2  # what follows means "none" (setresuid(2))


def restart(text: str) -> str:
    if not re.fullmatch(RESTART, text):
        choice = "'no', 'on-failure', 'on-failure:3', 'always' or 'unless-stopped'"
        raise ValueError(f"'restart' cannot be {quoted(text)}; write {choice}")
    return text


def ready(text: str) -> str | tuple[str, ...]:
    """`tcp 80` and `udp 53` as they are, any other text as the words of a shell command."""
    if not text.strip():
        raise ValueError("the command is empty; write what to run, or remove it")
    if text.split(maxsplit=1)[:1] not in (["tcp"], ["udp"]):
        return ("/bin/sh", "-c", text)
    found = re.fullmatch(PORT, text.strip())
    if not found or not 0 < int(found[2]) < 65536:
        raise ValueError(f"{quoted(text)} is not a port; write one such as tcp 80 or udp 53, or a command")
    return f"{found[1]} {int(found[2])}"


def user(text: str) -> str:
    """NAME, UID, or either with :GROUP or :GID, as docker takes it."""
    if not re.fullmatch(USER, text) or any(map(_beyond, text.split(":"))):
        raise ValueError(f"{quoted(text)} is not a user; write a name such as nobody, an id, or either with a :group")
    return text


def _beyond(part: str) -> bool:
    """Whether it is a number that no user or group can have. Python refuses to read very long ones."""
    return part.isdigit() and (len(part) > 20 or int(part) > LAST_ID)
