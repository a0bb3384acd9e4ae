"""docs/from-container-to-lan.md: each of its screens is what its commands print, chapter by chapter.

Run as a program it writes the page's screens anew: python tests/kernel/test_sequel.py
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # as pytest does

from kernel.machine import ROOT, SCRATCH, Machine, needs, wait_until

PAGE = ROOT / "docs/from-container-to-lan.md"
SCREENS = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)
OPENING, LAN, *CHAPTERS = re.split(r"^(?=## )", PAGE.read_text(), flags=re.MULTILINE)
TOOLS = ["curl", "tcpdump", "ss", "ping", "sysctl"]
DAEMONS = {"Three tiers": ["nginx", "redis-server", "redis-cli"]}

# What is another one each time, or on another machine, and what stands for it.
CHANGING = {
    r"\d+\.\d\d s\b": "N s",
    r"\d+ (ms|milliseconds)\b": "N ms",
    r"\d+\.\d+ ms\b": "N ms",
    r"(?m)^rtt .*": "rtt",
    r"packets \d+ bytes \d+": "packets N",
    r"\d\d/[A-Z][a-z]{2}/\d{4}.\d\d:\d\d:\d\d( \+0000)?": "TIME",
    r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[emerg\] \d+#\d+": "TIME",
    r"curl/[\d.]+": "curl",
    r"(Couldn't|Could not) connect": "cannot connect",  # as curl is older or newer
    r"\d+ operations": "N operations",
    r"\S*/topologies/": "",
    r"by app-\d": "by app-N",
    r"( |\t)+": " ",
}

COMING = re.compile(r"^(?!lo ).* UNKNOWN ", re.MULTILINE)  # a carrier of which the kernel tells a moment later


def title(chapter: str) -> str:
    return chapter.splitlines()[0].removeprefix("## ")


def replayed(machine: Machine, text: str) -> str:
    """The same text, with what its commands print now."""

    def screen(found: re.Match[str]) -> str:
        commands = re.findall(r"^# (.*)$", found[0], re.MULTILINE)
        shown = [f"# {command}\n{printed(machine, command)}" for command in commands]
        return re.sub(r"\n(?=\n\Z)", "", "".join(each if each.count("\n") == 1 else f"{each}\n" for each in shown))

    return SCREENS.sub(screen, text)


def printed(machine: Machine, command: str) -> str:
    """What a command prints, errors included. What it starts in the background is there when it returns."""
    if command.startswith("cat "):
        wait_until(lambda: len(machine.ok("cat /proc/net/packet").splitlines()) == 1)  # tcpdump has all it waits for
    if "-brief address" in command:
        wait_until(lambda: not COMING.search(machine.ok(command)))
    before = background(machine)
    output = machine.run(f"exec 2>&1; cd {SCRATCH}; {command}").stdout
    if command.endswith("&"):
        wait_until(lambda: background(machine) != before)
    return output


def background(machine: Machine) -> str:
    """The servers of the client, and whoever sees all packets."""
    return machine.run("grep ' 0003 ' /proc/net/packet; ip netns exec client ss -Hltn").stdout


def lasting(text: str) -> list[str]:
    for changing, name in CHANGING.items():
        text = re.sub(changing, name, text)
    return [line.rstrip() for line in text.splitlines()]


def prepare(machine: Machine) -> None:
    machine.ok("sysctl -qw net.ipv6.conf.default.accept_dad=0")  # else a link-local address comes a moment later


@needs(*TOOLS)
@pytest.mark.parametrize("chapter", CHAPTERS, ids=title)
def test_chapter(machine: Machine, chapter: str) -> None:
    for tool in DAEMONS.get(title(chapter), []):
        if needs(tool).args[0]:
            pytest.skip(f"not installed: {tool}")
    if "# tcpdump" in chapter and os.geteuid() != 0:
        pytest.skip("tcpdump becomes another user, of whom an ordinary user's namespace has none")
    prepare(machine)
    assert lasting(replayed(machine, LAN)) == lasting(LAN)
    machine.settle()
    assert lasting(replayed(machine, chapter)) == lasting(chapter)


def rewrite() -> None:
    text = OPENING
    for chapter in [LAN, *CHAPTERS]:
        with Machine() as machine:
            prepare(machine)
            lan = replayed(machine, LAN)
            text += lan if chapter == LAN else replayed(machine, chapter)
    text = text.replace(str(ROOT), "/root/labctl")
    PAGE.write_text(re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE))


if __name__ == "__main__":
    rewrite()
