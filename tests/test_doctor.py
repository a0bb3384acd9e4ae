"""`labctl doctor`: whole screens (files in views/), and what a table of single facts (test_findings.py) cannot say.

After a wanted change: `python tests/test_doctor.py` writes the screens anew; read the difference before committing it.
"""

from __future__ import annotations

import errno
import json
import re
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from labctl.conflicts import HostRoute
from labctl.doctor import findings, refusal
from labctl.facts import Chain, Facts, Finding, Host, Kernel, Privileges, Refused, Tools, UserNamespaces
from labctl.interference import networks_in_order
from labctl.linux.surroundings import chains
from labctl.view.doctor import doctor, doctor_data

VIEWS = Path(__file__).parent / "views"
SHIPPED = {"two-containers": (ip_network("172.17.0.0/16"),)}
DOCS = Path(__file__).parents[1] / "docs"
FORWARD = Chain("ip", "filter", "FORWARD", "policy drop")

EVERYTHING = Facts(
    Privileges(missing=("CAP_SYS_ADMIN",)),
    Kernel("6.8.0-51-generic", absent=("netem",), max_net_namespaces=100),
    Tools(nft="", missing=("brctl", "traceroute")),
    Host(
        (FORWARD, Chain("ip6", "filter", "FORWARD", "policy drop"), Chain("inet", "edge", "fwd", "last rule reject")),
        ("iptables", "ip6tables"),
        frozenset({"dockerd", "NetworkManager", "systemd-network"}),
        networks=(("/etc/systemd/network/80-all.network", "[Match]\nName=*\n[Network]\nDHCP=yes\n"),),
        rp_filter={"all": 1, "default": 1},
        routes=(HostRoute(ip_network("172.17.0.0/16"), "docker0"), HostRoute(ip_network("192.168.178.0/24"), "eth0")),
        neighbours={4: 1024, 6: 1024},
        backlog=1000,
        run="ext4",
        damaged=("torn",),
    ),
)
ALICE = Privileges("alice", 1000, users=UserNamespaces(apparmor=1), refused=Refused("uid_map", errno.EPERM))
USER = Facts(ALICE, host=EVERYTHING.host)  # of a machine that would interfere, were it not for being isolated
MACHINES = {"doctor-healthy": Facts(), "doctor-everything": EVERYTHING, "doctor-user": USER}


def found(facts: Facts) -> tuple[Finding, ...]:
    return findings(facts, SHIPPED)


def screen(name: str) -> str:
    return doctor(found(MACHINES[name]))


@pytest.mark.parametrize("name", MACHINES)
def test_screen(name: str) -> None:
    shown = screen(name)
    assert shown == (VIEWS / f"{name}.txt").read_text()
    assert [line for line in shown.splitlines() if len(line) > 80] == []
    assert re.sub("\x1b\\[[0-9;]*m", "", doctor(found(MACHINES[name]), colour=True)) == shown


def test_a_healthy_machine_has_nothing_but_ok() -> None:
    assert {(finding.level, finding.remedy) for finding in found(Facts())} == {("ok", "")}


def test_every_finding_is_a_sentence_and_has_a_remedy_unless_ok() -> None:
    for finding in found(EVERYTHING):
        assert re.fullmatch(r"\S.+[^.]\.", finding.what), finding
        assert bool(finding.remedy) == (finding.level != "ok"), finding


REFUSALS = [
    (
        UserNamespaces(maximum=0),
        "unshare",
        errno.ENOSPC,
        "switched off here",
        "user.max_user_namespaces=15000",
    ),
    (UserNamespaces(maximum=9), "unshare", errno.ENOSPC, "limit of user namespaces is reached", "lsns --type user"),
    (
        UserNamespaces(),
        "unshare",
        errno.EUSERS,
        "limit of user namespaces is reached",
        "user.max_user_namespaces=60000",
    ),
    (UserNamespaces(clone=0), "unshare", errno.EPERM, "unprivileged_userns_clone = 0", "unprivileged_userns_clone=1"),
    (UserNamespaces(apparmor=1), "unshare", errno.EACCES, "AppArmor keeps", "apparmor_restrict_unprivileged_userns=0"),
    (UserNamespaces(apparmor=1), "uid_map", errno.EPERM, "AppArmor keeps", "profile labctl /usr/bin/python3 flags"),
    (UserNamespaces(in_container=True), "unshare", errno.EPERM, "may not be made in this container", "--privileged"),
    (UserNamespaces(in_container=True), "uid_map", errno.EPERM, "given user ids in this container", "--privileged"),
    (UserNamespaces(in_chroot=True), "unshare", errno.EPERM, "may not be made in a chroot (EPERM)", "systemd-nspawn"),
    (UserNamespaces(known=False, maximum=None), "unshare", errno.EINVAL, "has no user namespaces", "with sudo"),
    (
        UserNamespaces(apparmor=0, clone=1),
        "uid_map",
        errno.EPERM,
        "user namespace (at uid_map: EPERM)",
        "dmesg",
    ),
]


@pytest.mark.parametrize(("users", "step", "number", "message", "hint"), REFUSALS)
def test_refusal(users: UserNamespaces, step: str, number: int, message: str, hint: str) -> None:
    said, remedy = refusal(users, step, number)
    assert message in said
    assert hint in remedy
    assert "\n" not in said
    assert not said.endswith(".")


NETWORKS = [
    ("[Match]\nName=*\n[Network]\nDHCP=yes\n", True),
    ("[Match]\nName=e* veth*\n\n[Network]\nDHCP=yes\n", True),
    ("[Match]\nType=ether\n# Name=en*\n[Network]\nDHCP=yes\n", True),
    ("[Match]\nName=!veth*\n[Network]\nDHCP=yes\n", False),
    ("[Match]\nName=en*\n[Network]\nDHCP=yes\n", False),
    ("[Match]\nPermanentMACAddress=02:00:00:00:00:01\nName=*\n[Network]\nDHCP=yes\n", False),
    ("[Match]\nName=veth*\n[Link]\nUnmanaged=yes\n", False),
    ("[Network]\nDHCP=yes\n", False),
]


@pytest.mark.parametrize(("text", "takes"), NETWORKS)
def test_a_network_file_takes_a_labs_interfaces(text: str, takes: bool) -> None:
    host = Host(services=frozenset({"systemd-network"}), networks=(("/etc/systemd/network/a.network", text),))
    what = "systemd-networkd configures the interfaces of a lab, for they match /etc/systemd/network/a.network."
    assert (what in [finding.what for finding in found(Facts(host=host))]) is takes


def test_the_first_network_file_that_matches_counts() -> None:
    everything, nothing = "[Match]\nName=*\n", "[Match]\nName=veth*\n[Link]\nUnmanaged=yes\n"
    files = [("/etc/n/50-all.network", nothing), ("/usr/n/50-all.network", everything), ("/usr/n/05-a.network", "")]
    assert networks_in_order(files) == (files[2], files[0])
    first = networks_in_order([("/usr/n/80-all.network", everything), ("/etc/n/05-labctl.network", nothing)])
    host = Host(services=frozenset({"systemd-network"}), networks=first)
    assert {finding.level for finding in found(Facts(host=host))} == {"ok"}


def test_a_loose_rp_filter_outweighs_a_strict_one() -> None:
    assert {f.level for f in found(Facts(host=Host(rp_filter={"all": 2, "default": 1})))} == {"ok"}


def test_a_bridge_that_passes_a_strict_firewall_is_a_warning() -> None:
    levels = [f.level for f in found(Facts(host=Host((FORWARD,), bridge_nf=("iptables",)))) if "Frames" in f.what]
    assert levels == ["warning"]


def rule(chain: str, *statements: str) -> dict[str, Any]:
    return {"rule": {"family": "ip", "table": "filter", "chain": chain, "expr": [{word: None} for word in statements]}}


@pytest.mark.parametrize(
    ("policy", "rules", "by"),
    [
        ("drop", [], "policy drop"),
        ("drop", [("match", "accept")], "policy drop"),
        ("accept", [("match", "accept"), ("counter", "reject")], "last rule reject"),
        ("accept", [("log", "drop")], "last rule drop"),
        ("accept", [("drop",), ("match", "accept")], None),
        ("accept", [("match", "drop")], None),
        ("accept", [], None),
    ],
)
def test_chain_that_drops(policy: str, rules: list[tuple[str, ...]], by: str | None) -> None:
    base = {"family": "ip", "table": "filter"}
    ruleset = [
        {"metainfo": {}},
        {"chain": base | {"name": "FORWARD", "type": "filter", "hook": "forward", "policy": policy}},
        {"chain": base | {"name": "INPUT", "type": "filter", "hook": "input", "policy": "drop"}},
        {"chain": base | {"name": "mine"}},
        *(rule("FORWARD", *statements) for statements in rules),
        rule("mine", "drop"),
    ]
    assert [chain.by for chain in chains({"nftables": ruleset})] == ([by] if by else [])


def test_json_has_exactly_the_documented_keys() -> None:
    data = json.loads(json.dumps(doctor_data(found(EVERYTHING))))
    section = (DOCS / "json.md").read_text().partition("## `labctl doctor --json`")[2].partition("\n## ")[0]
    documented = re.findall(r"^\| `([^`]+)`", section, re.MULTILINE)
    assert documented == ["level", "findings", *(f"findings[].{key}" for key in data["findings"][0])]
    assert data["level"] == "problem"
    assert doctor_data(found(Facts()))["findings"][0]["remedy"] is None


if __name__ == "__main__":
    for name in MACHINES:
        (VIEWS / f"{name}.txt").write_text(screen(name))
