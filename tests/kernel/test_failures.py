"""A machine that lacks something: one clear message, and nothing left behind."""

from __future__ import annotations

from kernel.machine import Machine

HIDE = "mount --bind /dev/null"


def test_without_nft(machine: Machine) -> None:
    machine.ok(f"for nft in /usr/local/sbin/nft /usr/sbin/nft; do [ ! -e $nft ] || {HIDE} $nft; done")
    machine.settle()
    with machine.untouched():
        done = machine.run("labctl up two-containers")
    assert done.status == 1
    assert done.stderr.splitlines() == [
        "labctl: nft is not installed",
        "Install it: apt-get install nftables",
        "The lab two-containers was removed again; nothing is left of it.",
    ]
