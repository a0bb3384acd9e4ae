"""A machine that lacks something: one clear message, and nothing left behind."""

from __future__ import annotations

from kernel.machine import SCRATCH, Machine


def test_without_nft(machine: Machine) -> None:
    machine.ok(
        f"mkdir {SCRATCH}/bin && for tool in sh env ip python3; do ln -s $(command -v $tool) {SCRATCH}/bin/; done"
    )
    with machine.untouched():
        done = machine.run(f"labctl=$(command -v labctl); PATH={SCRATCH}/bin $labctl up two-containers")
    assert done.status == 1
    assert done.stderr.splitlines() == [
        "labctl: nft is not installed",
        "Install it: apt-get install nftables",
        "The lab two-containers was removed again; nothing is left of it.",
    ]
