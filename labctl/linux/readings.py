"""A file, a sysctl, a program, its output: read for information only, and nothing where that is not possible."""

from __future__ import annotations

PATIENCE = 20.0  # seconds for a program


def text(path: str) -> str:
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def number(sysctl: str) -> int | None:
    try:
        return int(text(f"/proc/sys/{sysctl.replace('.', '/')}"))
    except ValueError:
        return None


def output(*command: str) -> str | None:
    """What a program that only reads prints; None where it is missing or fails."""
    import subprocess  # 2 ms, and not for `up` or `down`

    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=PATIENCE)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else done.stdout
