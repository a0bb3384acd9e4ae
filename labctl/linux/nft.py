"""nftables by its own tool: a whole table in one transaction (`nft -f -`), and the table as the kernel has it."""

from __future__ import annotations

import subprocess

from labctl.errors import LabError


def load(text: str) -> str:
    """Carries out an nft script in the calling thread's network namespace; answers nft's complaint, or nothing."""
    done = _nft("-f", "-", text=text)
    return done.stderr.strip() if done.returncode else ""


def listing(table: str) -> str:
    """The table `inet <table>` without its counters' values; empty when there is none."""
    done = _nft("-s", "list", "table", "inet", table)
    return done.stdout if done.returncode == 0 else ""


def delete(table: str) -> None:
    """Removes a table; one that is already gone is as good."""
    _nft("-f", "-", text=f"table inet {table}\ndelete table inet {table}\n")


def _nft(*words: str, text: str = "") -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(["nft", *words], input=text, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise LabError("nft is not installed", "Install it: apt-get install nftables") from None
